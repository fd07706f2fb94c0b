"""Uploads: all or nothing, conflicts before the first byte, and the store's listing as the witness."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mountd.errors import (
    BadInputError,
    CorruptDataError,
    DestinationExistsError,
    HostilePathError,
    NotFoundError,
    StoreUnreachableError,
)
from mountd.stores.base import ObjectInfo
from mountd.stores.local import LocalStore
from mountd.stores.memory import MemoryStore
from mountd.uploading.uploader import upload
from tests.support.content import content, make_tree

SIZES = {"a.bin": 100, "deep/b.bin": 70_000, "deep/er/c.bin": 0, "ünï.bin": 5}


@pytest.fixture
def store(request: pytest.FixtureRequest) -> MemoryStore:
    return MemoryStore(request.node.nodeid)


@pytest.fixture
def files(tmp_path: Path) -> list[tuple[Path, str]]:
    make_tree(tmp_path / "made", SIZES)
    return [(tmp_path / "made" / path, path) for path in SIZES]


def keys(store: MemoryStore) -> dict[str, int]:
    return {info.key: info.size for info in store.list()}


class Odd:
    """A writer and lister that passes everything on, except what a test replaces."""

    def __init__(self, inner: MemoryStore) -> None:
        self.inner = inner
        self.url = inner.url
        self.write_hook: Callable[[str], None] = lambda _: None
        self.listed: Callable[[Iterator[ObjectInfo]], Iterator[ObjectInfo]] = iter
        self.writes: list[str] = []

    def write(self, key: str, source: Path | bytes, *, overwrite: bool = False) -> ObjectInfo:
        self.write_hook(key)
        self.writes.append(key)
        return self.inner.write(key, source, overwrite=overwrite)

    def delete(self, key: str) -> None:
        self.inner.delete(key)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return self.listed(self.inner.list(prefix))


def test_every_file_arrives_with_its_own_bytes(store: MemoryStore, files: list[tuple[Path, str]]) -> None:
    told: list[tuple[int, int]] = []
    uploaded = upload(files, store, store, prefix="run/1/", progress=lambda done, total: told.append((done, total)))
    assert (uploaded.files, uploaded.size_bytes) == (4, sum(SIZES.values()))
    assert [info.key for info in uploaded.objects] == ["run/1/" + path for path in SIZES]
    for info, (path, size) in zip(uploaded.objects, SIZES.items(), strict=True):
        assert bytes(store.read(info.key, 0, size, info.etag)) == content(path, 0, size)
    assert told[0] == (0, sum(SIZES.values()))
    assert told[-1] == (sum(SIZES.values()), sum(SIZES.values()))
    assert told == sorted(told)


def test_to_a_local_folder(tmp_path: Path, files: list[tuple[Path, str]]) -> None:
    folder = tmp_path / "store"
    folder.mkdir()
    local = LocalStore(folder, f"file://{folder}/")
    upload(files, local, local, prefix="models/")
    for path, size in SIZES.items():
        assert (folder / "models" / path).read_bytes() == content(path, 0, size)


def test_progress_is_told_by_the_calling_thread(store: MemoryStore, files: list[tuple[Path, str]]) -> None:
    tellers: set[int] = set()
    upload(files, store, store, progress=lambda _, __: tellers.add(threading.get_ident()))
    assert tellers == {threading.get_ident()}


def test_nothing_to_upload_asks_nobody(store: MemoryStore) -> None:
    odd = Odd(store)
    odd.listed = lambda _: pytest.fail("the store was asked")
    assert upload([], odd, odd).objects == ()


def test_conflicts_are_found_before_the_first_byte(store: MemoryStore, files: list[tuple[Path, str]]) -> None:
    for path in SIZES:
        store.put(path, b"old")
    odd = Odd(store)
    with pytest.raises(DestinationExistsError, match=r"a\.bin, deep/b\.bin, deep/er/c\.bin and 1 more: exists"):
        upload(files, odd, odd)
    assert odd.writes == []
    assert set(keys(store).values()) == {3}


def test_overwriting_replaces(store: MemoryStore, files: list[tuple[Path, str]]) -> None:
    store.put("a.bin", b"old")
    upload(files, store, store, overwrite=True)
    assert keys(store) == SIZES


@pytest.mark.parametrize(
    ("there", "named"),
    [("deep", "deep"), ("a.bin/below", "a.bin"), ("deep/er/c.bin/x/y", "deep/er/c.bin")],
)
def test_a_file_never_becomes_a_folder_nor_the_other_way(
    store: MemoryStore, files: list[tuple[Path, str]], there: str, named: str
) -> None:
    store.put(there, b"bytes")
    with pytest.raises(DestinationExistsError, match=f": {named}: would be a file and a folder at once"):
        upload(files, store, store, overwrite=True)
    assert keys(store) == {there: 5}


def test_directory_markers_in_the_store_are_no_conflict(store: MemoryStore, files: list[tuple[Path, str]]) -> None:
    store.put("deep/", b"")
    store.put("deep/er", b"", is_directory=True)
    assert upload(files, store, store).files == 4


def test_the_files_themselves_must_make_a_tree(store: MemoryStore, tmp_path: Path) -> None:
    source = tmp_path / "x"
    source.write_bytes(b"x")
    with pytest.raises(DestinationExistsError, match="a: would be a file and a folder"):
        upload([(source, "a"), (source, "a/b")], store, store)
    with pytest.raises(BadInputError, match="'a': two files"):
        upload([(source, "a"), (source, "a")], store, store)
    assert keys(store) == {}


@pytest.mark.parametrize("key", ["../x", "/x", "a//b", "", ".", "a/\0"])
def test_hostile_keys_are_refused(store: MemoryStore, tmp_path: Path, key: str) -> None:
    (tmp_path / "x").write_bytes(b"x")
    with pytest.raises(HostilePathError):
        upload([(tmp_path / "x", key)], store, store)
    assert keys(store) == {}


def test_what_is_no_readable_file_is_refused_before_anything(store: MemoryStore, files: list[tuple[Path, str]]) -> None:
    folder = files[0][0].parent
    with pytest.raises(NotFoundError, match="gone: no such file"):
        upload([*files, (folder / "gone", "gone")], store, store)
    with pytest.raises(BadInputError, match="deep: not a plain file"):
        upload([*files, (folder / "deep", "folder")], store, store)
    with pytest.raises(BadInputError, match=r"\.moorage/ in a store is for"):
        upload([*files, (files[0][0], ".moorage/x")], store, store)
    with pytest.raises(BadInputError, match="not UTF-8"):
        upload([*files, (files[0][0], "\udcff")], store, store)
    assert keys(store) == {}


def test_a_failure_takes_back_what_was_written_but_not_what_was_there(
    store: MemoryStore, files: list[tuple[Path, str]]
) -> None:
    store.put("a.bin", b"old")
    odd = Odd(store)

    def fail_last(key: str) -> None:
        if key == "ünï.bin":
            raise StoreUnreachableError("the store is gone")

    odd.write_hook = fail_last
    with pytest.raises(StoreUnreachableError, match="the store is gone"):
        upload(files, odd, odd, overwrite=True, threads=1)
    assert odd.writes == ["a.bin", "deep/b.bin", "deep/er/c.bin"]
    assert keys(store) == {"a.bin": 100}


def test_an_object_that_someone_replaced_meanwhile_is_not_taken_back(
    store: MemoryStore, files: list[tuple[Path, str]]
) -> None:
    odd = Odd(store)

    def fail_last(key: str) -> None:
        if key == "ünï.bin":
            store.put("a.bin", b"theirs")
            raise StoreUnreachableError("the store is gone")

    odd.write_hook = fail_last
    with pytest.raises(StoreUnreachableError):
        upload(files, odd, odd, threads=1)
    assert keys(store) == {"a.bin": 6}


def test_a_file_that_changes_under_way_is_named(store: MemoryStore, files: list[tuple[Path, str]]) -> None:
    odd = Odd(store)

    def change(key: str) -> None:
        if key == "a.bin":
            files[0][0].write_bytes(bytes(100))

    odd.write_hook = change
    with pytest.raises(CorruptDataError, match=r"a\.bin: changed while it was uploaded"):
        upload(files, odd, odd)
    assert keys(store) == {}


@pytest.mark.parametrize("field", ["size", "md5"])
def test_a_listing_that_tells_another_object_is_corruption(
    store: MemoryStore, files: list[tuple[Path, str]], field: str
) -> None:
    odd = Odd(store)
    other = {"size": 1} if field == "size" else {"md5": bytes(16)}
    odd.listed = lambda infos: (replace(info, **other) if info.key == "deep/b.bin" else info for info in infos)
    with pytest.raises(CorruptDataError, match=r"deep/b\.bin: the store lists another object"):
        upload(files, odd, odd)


def test_an_object_that_the_listing_does_not_show_is_not_uploaded(
    store: MemoryStore, files: list[tuple[Path, str]]
) -> None:
    odd = Odd(store)
    odd.listed = lambda infos: (info for info in infos if info.key != "a.bin")
    with pytest.raises(CorruptDataError, match=r"a\.bin: written, but the store does not list it"):
        upload(files, odd, odd)


@settings(deadline=None)  # files are made
@given(
    st.sets(st.sampled_from(["a", "b", "a/b", "b/c", "a/b/c", "d"]), min_size=1),
    st.sets(st.sampled_from(["a", "a/b", "b", "d/e"])),
)
def test_an_upload_either_adds_every_key_or_none(
    tmp_path_factory: pytest.TempPathFactory, new: set[str], old: set[str]
) -> None:
    source = tmp_path_factory.mktemp("u") / "x"
    source.write_bytes(b"new bytes")
    store = MemoryStore(str(source))
    for key in old:
        store.put(key, b"old")
    before = keys(store)
    clash = bool(new & old) or any(
        a != b and f"{b}/".startswith(f"{a}/") for a in new | old for b in new | old if {a, b} & new
    )
    try:
        upload([(source, key) for key in new], store, store)
    except DestinationExistsError:
        assert clash
        assert keys(store) == before
    else:
        assert not clash
        assert keys(store) == before | dict.fromkeys(new, 9)
