"""The contracts of a mount's processes, from both sides."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from mountd.contract import starting
from mountd.contract.starting import Order
from mountd.errors import DefectError, MountPointError
from mountd.processes import ProcessId
from mountd.stores.credentials import Credential


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_an_order_arrives_as_it_was_sent(ends: tuple[socket.socket, socket.socket]) -> None:
    order = Order(
        manifest=Path("/m"),
        mountpoint=Path("/mnt"),
        source="https://x/",
        settings={"memory": "100MiB"},
        credentials={"https://x/": Credential("key", "c2VjcmV0")},
        lifeline=True,
        foreground=True,
        print_status=True,
        mark="A=b",
        owner=ProcessId(5, 6),
        owns_manifest=True,
        log_level="DEBUG",
        output=starting.Output("https://x/", "p/", Path("/spool")),
        umask=0o027,
    )
    starting.send_order(ends[0], order)
    assert starting.receive_order(ends[1]) == order


def test_an_order_shows_no_secret() -> None:
    order = Order(Path("/m"), Path("/mnt"), "x", credentials={"u": Credential("key", "TOPSECRET")})
    assert "TOPSECRET" not in repr(order)


@pytest.mark.parametrize("sent", [b"", b'{"version": 99}\n', b"{}\n"])
def test_another_version_or_no_order_is_refused(ends: tuple[socket.socket, socket.socket], sent: bytes) -> None:
    ends[0].sendall(sent)
    ends[0].close()
    with pytest.raises(DefectError, match="no order of version 3"):
        starting.receive_order(ends[1])


def test_an_error_arrives_as_the_class_it_was(ends: tuple[socket.socket, socket.socket]) -> None:
    starting.send_error(ends[1], MountPointError("/mnt: not empty"))
    with pytest.raises(MountPointError, match="/mnt: not empty"):
        starting.receive_answer(ends[0])


def test_an_error_of_an_unknown_class_is_a_defect(ends: tuple[socket.socket, socket.socket]) -> None:
    ends[1].sendall(json.dumps({"error": "FutureError", "message": "x"}).encode() + b"\n")
    with pytest.raises(DefectError):
        starting.receive_answer(ends[0])


def test_a_supervisor_that_ends_without_a_word_is_told_apart(ends: tuple[socket.socket, socket.socket]) -> None:
    ends[1].close()
    with pytest.raises(EOFError):
        starting.receive_answer(ends[0])
