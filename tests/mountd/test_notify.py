"""Notifications: a socket of the test's own plays the service manager."""

import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mountd.notify import notify, ready, stopping


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, dict[str, str]]]:
    # A folder of its own: tmp_path may be longer than the 107 bytes of a socket's address.
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        address = f"{folder}/notify"
        channel.bind("\0" + address[1:] if request.param == "abstract" else address)
        channel.settimeout(5)
        yield channel, {"NOTIFY_SOCKET": "@" + address[1:] if request.param == "abstract" else address}


def test_ready_is_one_datagram_with_a_status(manager: tuple[socket.socket, dict[str, str]]) -> None:
    channel, environ = manager
    assert ready("4 files at /mnt/x", environ)
    assert channel.recv(4096) == b"READY=1\nSTATUS=4 files at /mnt/x"


def test_a_line_break_in_a_status_cannot_forge_a_message(manager: tuple[socket.socket, dict[str, str]]) -> None:
    channel, environ = manager
    assert notify("STATUS=odd\nSTOPPING=1", environ=environ)
    assert channel.recv(4096) == b"STATUS=odd STOPPING=1"


def test_stopping(manager: tuple[socket.socket, dict[str, str]]) -> None:
    channel, environ = manager
    assert stopping(environ)
    assert channel.recv(4096) == b"STOPPING=1"


@pytest.mark.parametrize("address", ["", "relative", "vsock:1:2"])
def test_without_a_manager_nothing_is_sent(address: str) -> None:
    assert not ready("up", {})
    assert not ready("up", {"NOTIFY_SOCKET": address})


def test_a_manager_that_is_gone_is_no_error(tmp_path: Path) -> None:
    assert not ready("up", {"NOTIFY_SOCKET": str(tmp_path / "gone")})
