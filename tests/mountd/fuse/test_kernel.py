"""The driver over a socket pair that stands in for the device: one packet, one request."""

import errno
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import pytest

from mountd.errors import FuseUnavailableError
from mountd.fuse import protocol
from mountd.fuse.kernel import Driver
from mountd.fuse.operations import Operations, Parts
from mountd.fuse.protocol import Opcode, Request


class FakeOperations:
    """Answers with what the test says; READ waits, as the real ones may have it."""

    def __init__(self, method: Callable[[Request], Parts]) -> None:
        self._method = method

    def answer(self, request: Request) -> Parts | None:
        return None if request.opcode == Opcode.READ else self._method(request)

    def wait_and_read(self, request: Request) -> Parts:
        return self._method(request)


class Kernel:
    """The other end of the device."""

    def __init__(self, end: socket.socket) -> None:
        self._end, self._unique = end, 0

    def ask(self, opcode: int) -> int:
        """Send a request; return the errno of the answer to it."""
        self._unique += 2
        self._end.send(struct.pack("<IIQQIIIHH", 40, opcode, self._unique, 1, 0, 0, 0, 0, 0))
        _, code, unique = struct.unpack_from("<IiQ", self._end.recv(1 << 16))
        assert unique == self._unique
        return -int(code)


@contextmanager
def served(method: Callable[[Request], Parts]) -> Iterator[Kernel]:
    kernel_end, device = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    kernel_end.settimeout(10)
    closed = threading.Event()
    driver = Driver(device.fileno(), cast("Operations", FakeOperations(method)), closed.set, waiting_threads=2)
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
    driver = Driver(reading, cast("Operations", None), lambda: None)
    with pytest.raises(FuseUnavailableError, match="threads"):
        driver.start()
    os.close(reading)
    os.close(writing)
