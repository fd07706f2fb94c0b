"""The control socket of a mount: who is heard, and who has to wait."""

import json
import selectors
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mountd.supervisor.conversations import Conversations, listen

_STATUS = b'{"do": "status"}\n'


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A control socket whose worker answers everything by the request itself."""
    selector, over = selectors.DefaultSelector(), threading.Event()

    def hand(connection: socket.socket) -> bool:
        connection.sendall(connection.recv(4096))
        return True

    listener = listen(str(tmp_path / "control"), 0o600)
    conversations = Conversations(listener, selector, lambda _, __: None, hand, lambda: "none", lambda: False)

    def run() -> None:
        while not over.is_set():
            for key, _ in selector.select(0.02):
                key.data()
            conversations.tick()
        conversations.close()

    thread = threading.Thread(target=run)
    thread.start()
    yield str(tmp_path / "control")
    over.set()
    thread.join()
    selector.close()


def ask(address: str) -> bytes:
    with socket.socket(socket.AF_UNIX) as asker:
        asker.settimeout(5)  # half of what a silent one may stay
        asker.connect(address)
        asker.sendall(_STATUS)
        return asker.makefile("rb").readline()


def test_connections_that_say_nothing_keep_nobody_out(address: str) -> None:
    silent = [socket.socket(socket.AF_UNIX) for _ in range(40)]
    try:
        for each in silent:
            each.settimeout(5)
            each.connect(address)
        assert json.loads(ask(address)) == {"do": "status"}
        silent[-1].sendall(_STATUS)  # who came late may still speak
        assert silent[-1].recv(100) == _STATUS
    finally:
        for each in silent:
            each.close()
