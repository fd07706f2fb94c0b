import errno
import queue
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mountd.dataset.manifest import ROOT, Entry, FrozenFile, Manifest, write_manifest
from mountd.errors import DataChangedError, MountdError, NotFoundError, StoreUnreachableError
from mountd.fuse import protocol
from mountd.fuse.operations import STATUS_ATTRIBUTE, Operations, Parts
from mountd.fuse.protocol import InitFlag, Limits, MalformedRequestError, Opcode, Owner, Request
from tests.support.content import content
from tests.support.reading import Reading, open_reading

URL = "test://store/"
FILES = {"a": 10, "d/b": 200_000, "d/ü": 0, **{f"many/{n:04}": n for n in range(300)}}
ALL_FLAGS = sum(InitFlag)


class Store:
    url, in_place = URL, False

    def __init__(self) -> None:
        self.failure: Exception | None = None

    def read(self, key: str, offset: int, size: int, etag: str) -> bytes:  # noqa: ARG002  # the protocol's
        if self.failure:
            raise self.failure
        return content(key, offset, size)


class Served:
    """The operations over a small tree, with the store behind them."""

    def __init__(self, manifest: Manifest, reading: Reading, store: Store, agreed: int = ALL_FLAGS) -> None:
        self.manifest, self.store = manifest, store
        self.files = reading.files(manifest)
        self.operations = Operations(self.files, Owner(7, 8), agreed, lambda: b"status".ljust(64))

    def ask(self, opcode: int, node: int = ROOT, body: bytes = b"") -> tuple[int, bytes]:
        """(errno, body) of the answer; a READ that must wait is waited for."""
        request = Request(opcode, 42, node, body)
        later: queue.SimpleQueue[Parts] = queue.SimpleQueue()
        parts = self.operations.answer(request, later.put)
        whole = b"".join(map(bytes, parts if parts is not None else later.get(timeout=10)))
        assert later.empty()
        length, error, unique = struct.unpack_from("<IiQ", whole)
        assert (length, unique) == (len(whole), 42)
        return -error, whole[16:]

    def node(self, path: str) -> int:
        entry = self.manifest.find(path)
        assert entry is not None
        return entry.inode


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    path, store = tmp_path / "m", Store()
    files = [FrozenFile(name, size, "e", 3_000_000_007) for name, size in FILES.items()]
    write_manifest(path, [URL], files)
    with (
        Manifest.open(path) as manifest,
        open_reading(store) as reading,
    ):
        yield Served(manifest, reading, store)


def read_body(offset: int, size: int) -> bytes:
    return struct.pack("<QQIIQII", 0, offset, size, 0, 0, 0, 0)


def names_in(body: bytes, *, plus: bool) -> list[tuple[int, int, bytes]]:
    """(inode, next offset, name) of each record."""
    records, position = [], 0
    while position < len(body):
        start = position + (128 if plus else 0)
        inode, offset, length, _ = struct.unpack_from("<QQII", body, start)
        records.append((inode, offset, body[start + 24 : start + 24 + length]))
        position = start + (24 + length + 7) // 8 * 8
    return records


@given(st.binary(max_size=300))
def test_bytes_that_are_no_request_raise_one_error_only(data: bytes) -> None:
    try:
        request = protocol.parse(data)
    except MalformedRequestError:
        return
    assert len(request.body) == len(data) - 40


@pytest.mark.warns
@settings(max_examples=400, deadline=None)
@given(
    opcode=st.integers(0, 60) | st.sampled_from(Opcode),
    node=st.integers(0, 400) | st.integers(0, 2**64 - 1),
    data=st.data(),
)
def test_no_request_however_broken_raises_or_goes_without_an_answer(
    tmp_path_factory: pytest.TempPathFactory, opcode: int, node: int, data: st.DataObject
) -> None:
    body = data.draw(st.binary(max_size=80) | st.builds(read_body, st.integers(0, 2**64 - 1), st.integers(0, 1 << 21)))
    path, store = tmp_path_factory.mktemp("m") / "m", Store()
    write_manifest(path, [URL], [FrozenFile("d/f", 3000, "e", 1)])
    with (
        Manifest.open(path) as manifest,
        open_reading(store) as reading,
    ):
        code, answer = Served(manifest, reading, store).ask(opcode, node, body)
    assert 0 <= code < 4096
    assert not (code and answer)


def test_lookup_tells_attributes_that_hold_for_ever(served: Served) -> None:
    code, body = served.ask(Opcode.LOOKUP, ROOT, b"a\0")
    node, _, entry_s, attribute_s = struct.unpack_from("<QQQQ", body)
    assert (code, node) == (0, served.node("a"))
    assert min(entry_s, attribute_s) == protocol.FOREVER_S
    inode, size, _, _, mtime_s, _, _, nanoseconds, _, mode, _, uid, gid, *_ = struct.unpack_from("<6Q10I", body, 40)
    assert (inode, size, mode, uid, gid) == (node, 10, 0o100444, 7, 8)
    assert (mtime_s, nanoseconds) == (3, 7)


@pytest.mark.warns
def test_what_is_not_there_is_enoent(served: Served) -> None:
    assert served.ask(Opcode.LOOKUP, ROOT, b"nope\0")[0] == errno.ENOENT
    assert served.ask(Opcode.GETATTR, 10_000)[0] == errno.ENOENT
    assert served.ask(Opcode.LOOKUP, ROOT, b"no end")[0] == errno.EINVAL


@pytest.mark.parametrize("plus", [False, True])
@pytest.mark.parametrize("room", [200, 1000, 4096, 1 << 20])
def test_a_listing_pages_through_every_name_once(served: Served, room: int, plus: bool) -> None:  # noqa: FBT001
    opcode = Opcode.READDIRPLUS if plus else Opcode.READDIR
    names, offset = [], 0
    while records := names_in(served.ask(opcode, served.node("many"), read_body(offset, room))[1], plus=plus):
        names += [name for _, _, name in records]
        offset = records[-1][1]
    assert names == [b".", b"..", *(b"%04d" % n for n in range(300))]


@given(
    names=st.lists(st.binary(min_size=1, max_size=255), max_size=40),
    sizes=st.integers(0, 1 << 62),
    mtime_ns=st.integers(-(1 << 62), 1 << 62),
    room=st.integers(408, 5000),  # from the largest record on; the kernel asks for a page at least
)
def test_a_listing_fills_its_room_with_whole_records_and_tells_what_a_lookup_tells(
    names: list[bytes], sizes: int, mtime_ns: int, room: int
) -> None:
    owner = Owner(7, 8)
    rows = [(n + 5, name, n % 2, sizes * (n % 2 == 0), mtime_ns) for n, name in enumerate(names)]
    left = rows
    while left:
        body = protocol.listing_answer(protocol.records_plus(left, owner), room)
        assert len(body) <= room
        told, position = names_in(body, plus=True), 0
        assert told == [(inode, inode + protocol.DOTS, name) for inode, name, *_ in left[: len(told)]]
        for inode, name, directory, size, _ in left[: len(told)]:
            entry = Entry(inode, ROOT, name, bool(directory), size, mtime_ns, "e", None, 0, None, 0, 0)
            assert body[position : position + 128] == protocol.entry_answer(entry, owner)
            position += 128 + (24 + len(name) + 7) // 8 * 8
        left = left[len(told) :]
        assert not left or position + 128 + (24 + len(left[0][1]) + 7) // 8 * 8 > room  # no more would have fitted
    plain = protocol.listing_answer(protocol.records(rows), 1 << 20)
    assert names_in(plain, plus=False) == [(inode, inode + protocol.DOTS, name) for inode, name, *_ in rows]


def test_a_listing_goes_on_from_any_offset_it_ever_gave(served: Served) -> None:
    records = names_in(served.ask(Opcode.READDIR, served.node("many"), read_body(0, 1 << 20))[1], plus=False)
    for position, (_, offset, _) in enumerate(records):
        rest = names_in(served.ask(Opcode.READDIR, served.node("many"), read_body(offset, 1 << 20))[1], plus=False)
        assert rest == records[position + 1 :]


def test_readdirplus_counts_no_lookup_of_the_dots(served: Served) -> None:
    body = served.ask(Opcode.READDIRPLUS, ROOT, read_body(0, 4096))[1]
    assert struct.unpack_from("<Q", body)[0] == 0
    assert struct.unpack_from("<Q", body, 128 + 32)[0] == 0


def test_open_is_answered_enosys_only_where_the_kernel_stops_asking(served: Served) -> None:
    assert served.ask(Opcode.OPEN)[0] == errno.ENOSYS
    assert served.ask(Opcode.OPENDIR)[0] == errno.ENOSYS
    old = Operations(served.files, Owner(0, 0), 0, bytes)
    for opcode in (Opcode.OPEN, Opcode.OPENDIR):
        answer = old.answer(Request(opcode, 1, ROOT, b""), lambda _: None)
        assert answer is not None
        assert struct.unpack_from("<IiQ", bytes(answer[0]))[1] == 0


def test_getxattr_is_never_enosys(served: Served) -> None:
    def ask(name: bytes, room: int) -> tuple[int, bytes]:
        return served.ask(Opcode.GETXATTR, ROOT, struct.pack("<II", room, 0) + name + b"\0")

    assert ask(b"user.other", 100)[0] == errno.ENODATA
    assert ask(STATUS_ATTRIBUTE, 0) == (0, struct.pack("<II", 64, 0))
    assert ask(STATUS_ATTRIBUTE, 10)[0] == errno.ERANGE
    assert ask(STATUS_ATTRIBUTE, 64) == (0, b"status".ljust(64))


@pytest.mark.parametrize("opcode", sorted(protocol.CHANGING))
def test_every_change_is_refused_as_read_only(served: Served, opcode: int) -> None:
    assert served.ask(opcode)[0] == errno.EROFS


@given(offset=st.integers(0, 250_000), size=st.integers(0, 300_000))
@settings(max_examples=60, deadline=None)
def test_a_read_is_never_shorter_than_the_file_allows(
    tmp_path_factory: pytest.TempPathFactory, offset: int, size: int
) -> None:
    path, store = tmp_path_factory.mktemp("m") / "m", Store()
    write_manifest(path, [URL], [FrozenFile("f", 200_000, "e", 1)])
    with (
        Manifest.open(path) as manifest,
        open_reading(store) as reading,
    ):
        served = Served(manifest, reading, store)
        assert served.ask(Opcode.READ, served.node("f"), read_body(offset, size)) == (
            0,
            content("f", offset, max(0, min(size, 200_000 - offset))),
        )


@pytest.mark.warns
@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (DataChangedError("changed"), errno.ESTALE),
        (StoreUnreachableError("down"), errno.EIO),
        (NotFoundError("gone"), errno.ENOENT),
        (ZeroDivisionError("defect"), errno.EIO),
    ],
)
def test_a_failed_read_is_its_errno(
    served: Served, failure: Exception, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    served.store.failure = failure
    assert served.ask(Opcode.READ, served.node("d/b"), read_body(0, 100)) == (code, b"")
    assert len(caplog.records) == (2 if isinstance(failure, ZeroDivisionError) else 1)  # a defect also tells where


def test_every_error_of_the_tree_has_an_errno_and_an_exit_code() -> None:
    def every(kind: type[MountdError]) -> Iterator[type[MountdError]]:
        yield kind
        for each in kind.__subclasses__():
            yield from every(each)

    for kind in every(MountdError):
        assert kind.errno > 0
        assert kind.exit_code in {2, 3, 4, 5, 6, 7, 8, 9, 70}


def test_negotiation_takes_only_what_is_offered_and_asks_for_our_limits() -> None:
    offered = InitFlag.ASYNC_READ | InitFlag.NO_OPEN_SUPPORT | 1 << 30
    request = Request(Opcode.INIT, 1, 0, struct.pack("<IIII", 7, 40, 131072, offered))
    body, agreed = protocol.negotiate(request, Limits(max_background=99))
    assert agreed == InitFlag.ASYNC_READ | InitFlag.NO_OPEN_SUPPORT
    assert len(body) == 64
    major, minor, _, flags, background, _, max_write, _, max_pages = struct.unpack_from("<IIIIHHIIH", body)
    assert (major, minor, flags, background) == (7, 31, agreed, 99)
    assert max_pages * 4096 == max_write == protocol.MAX_READ_BYTES
    with pytest.raises(MalformedRequestError, match=r"FUSE 8\.0"):
        protocol.negotiate(Request(Opcode.INIT, 1, 0, struct.pack("<IIII", 8, 0, 0, 0)), Limits())
