"""The driver over a socket pair that stands in for the device: one packet, one request."""

import errno
import os
import queue
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mountd.dataset.manifest import FrozenFile, Manifest, write_manifest
from mountd.errors import FuseUnavailableError
from mountd.fuse import protocol
from mountd.fuse.kernel import SERVICE_THREADS, Driver
from mountd.fuse.operations import Later, Operations, Parts
from mountd.fuse.protocol import InitFlag, Opcode, Owner, Request
from mountd.fuse.table import InFlightTable
from mountd.stores.memory import MemoryStore
from tests.support.content import content
from tests.support.reading import open_reading


class FakeOperations:
    """Answers with what the test says; a READ is answered later, by another thread."""

    def __init__(self, method: Callable[[Request], Parts]) -> None:
        self._method = method

    def answer(self, request: Request, later: Later) -> Parts | None:
        parts = self._method(request)
        if request.opcode != Opcode.READ:
            return parts
        threading.Thread(target=later, args=(parts,)).start()
        return None


class Kernel:
    """The other end of the device."""

    def __init__(self, end: socket.socket) -> None:
        self._end, self._unique = end, 0

    def ask(self, opcode: int) -> int:
        """Send a request; return the errno of the answer to it."""
        self._unique += 2
        self.send(struct.pack("<IIQQIIIHH", 40, opcode, self._unique, 1, 0, 0, 0, 0, 0))
        _, code, unique = struct.unpack_from("<IiQ", self._end.recv(1 << 16))
        while unique != self._unique:  # an answer to something else that the test has sent
            _, code, unique = struct.unpack_from("<IiQ", self._end.recv(1 << 16))
        return -int(code)

    def send(self, packet: bytes) -> None:
        """Send what may or may not be a request."""
        self._end.send(packet)


@contextmanager
def served(method: Callable[[Request], Parts]) -> Iterator[Kernel]:
    with driven(cast("Operations", FakeOperations(method))) as kernel:
        yield kernel


@contextmanager
def driven(operations: Operations) -> Iterator[Kernel]:
    kernel_end, device = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    kernel_end.settimeout(10)
    closed = threading.Event()
    table = InFlightTable.create()
    driver = Driver(device.fileno(), table, operations, closed.set, resend=False)
    driver.start()
    try:
        yield Kernel(kernel_end)
    finally:
        driver.stop()
        for _ in range(2):  # each wakes one service thread, which then sees that it is over
            kernel_end.send(bytes(40))
        assert closed.wait(10)
        kernel_end.close()
        device.close()


@pytest.mark.warns
@pytest.mark.parametrize("opcode", [Opcode.LOOKUP, Opcode.READ])
def test_no_memory_for_an_answer_is_eio_and_the_mount_goes_on(opcode: Opcode) -> None:
    left = [MemoryError()] * 4

    def method(request: Request) -> Parts:
        if left:
            raise left.pop()
        return [protocol.header(request.unique, 0)]

    with served(method) as kernel:
        assert [kernel.ask(opcode) for _ in range(6)] == [errno.EIO] * 4 + [0, 0]


REQUESTS = st.builds(
    lambda opcode, unique, node, body, cut: (
        struct.pack("<IIQQIIIHH", 40 + len(body), opcode, unique, node, 0, 0, 0, 0, 0) + body[: len(body) - cut]
    ),
    st.integers(0, 60) | st.sampled_from(Opcode),
    st.integers(0, 2**63).map(lambda n: 2 * n + 1 & 2**64 - 1),  # odd, where those that the test waits for are even
    st.integers(0, 9) | st.integers(0, 2**64 - 1),
    st.binary(max_size=60)
    | st.builds(
        lambda offset, size: struct.pack("<QQIIQII", 0, offset, size, 0, 0, 0, 0),
        st.integers(0, 2**64 - 1),
        st.integers(0, 1 << 17),
    ),
    st.integers(0, 3),
)


@pytest.mark.warns
@settings(max_examples=40, deadline=None)
@given(packets=st.lists(st.binary(min_size=1, max_size=200) | REQUESTS, max_size=30))
def test_no_packet_however_broken_ends_a_service_thread(
    tmp_path_factory: pytest.TempPathFactory, packets: list[bytes]
) -> None:
    path, store = tmp_path_factory.mktemp("m") / "m", MemoryStore("kernel")
    info = store.put("d/f", content("d/f", 0, 200_000))
    write_manifest(path, [store.url], [FrozenFile("d/f", info.size, info.etag, 1)])
    with Manifest.open(path) as manifest, open_reading(store) as reading:
        operations = Operations(reading.files(manifest), Owner(0, 0), sum(InitFlag), lambda: b"status")
        with driven(operations) as kernel:
            for packet in packets:
                kernel.send(packet)
            assert [kernel.ask(Opcode.GETATTR) for _ in range(2 * SERVICE_THREADS)] == [0] * 2 * SERVICE_THREADS


@pytest.mark.warns
def test_no_memory_to_put_an_answer_together_is_eio_and_no_hang(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gate, store = threading.Event(), MemoryStore("kernel")
    info = store.put("f", content("f", 0, 1000))
    write_manifest(tmp_path / "m", [store.url], [FrozenFile("f", info.size, info.etag, 1)])
    monkeypatch.setattr(store, "read", lambda *_: gate.wait(10) and content("f", 0, 1000))
    told: queue.SimpleQueue[Parts] = queue.SimpleQueue()
    body = struct.pack("<QQIIQII", 0, 0, 1000, 0, 0, 0, 0)
    with Manifest.open(tmp_path / "m") as manifest, open_reading(store) as reading:
        operations = Operations(reading.files(manifest), Owner(0, 0), 0, bytes)
        assert operations.answer(Request(Opcode.READ, 6, 2, body), told.put) is None
        monkeypatch.setattr(protocol, "header", _no_memory)
        gate.set()
        assert [bytes(each) for each in told.get(timeout=10)] == [protocol.failure(6, errno.EIO)]


def _no_memory(*_: object) -> bytes:
    raise MemoryError


@pytest.mark.warns
@pytest.mark.parametrize("opcode", [Opcode.LOOKUP, Opcode.READ])
def test_an_answer_that_the_kernel_refuses_is_eio_and_no_hang(opcode: Opcode) -> None:
    with served(lambda request: [protocol.header(request.unique, 1 << 22), bytes(1 << 22)]) as kernel:
        assert kernel.ask(opcode) == errno.EIO  # EMSGSIZE here


def test_a_mount_that_may_not_have_its_threads_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    reading, writing = os.pipe()
    monkeypatch.setattr(threading.Thread, "start", refuse)
    driver = Driver(reading, InFlightTable.create(), cast("Operations", None), lambda: None, resend=False)
    with pytest.raises(FuseUnavailableError, match="threads"):
        driver.start()
    os.close(reading)
    os.close(writing)
