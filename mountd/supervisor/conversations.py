"""The control socket: who speaks to it, and which requests are the supervisor's own.

A request is looked at before it is taken (MSG_PEEK). `stop` and `upgrade` are the supervisor's; every other connection goes
to the worker as it came, with all that was sent. While no worker serves, a connection waits a little for the next one, and
is then told so.

Invariants: only the mount's owner and root are heard; at most 16 connections wait here, for a bounded time, and those that
say nothing keep nobody out.
"""

import contextlib
import json
import os
import selectors
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

_MOST = 16
_BACKLOG = 128  # a client that waits with a limit is refused at once when this is full
_REQUEST_S = 10.0
_SILENT_S = 1.0  # by then a client that means to speak has spoken
_PATIENCE_S = 4.0  # less than a probe waits, so that it hears why
_LOOK_BYTES = 4096
_AGAIN_S = 0.02
_PEER = struct.Struct("3i")  # struct ucred: pid, uid, gid


@dataclass(slots=True)
class Conversation:
    """One connection, and since when it waits."""

    connection: socket.socket
    since_s: float = field(default_factory=time.monotonic)

    def fileno(self) -> int:
        """The connection's descriptor."""
        return self.connection.fileno()

    def answer(self, told: dict[str, Any]) -> None:
        """Send the one answer, and hang up."""
        with contextlib.suppress(OSError):  # whoever asked has gone
            self.connection.sendall(json.dumps(told).encode() + b"\n")
        self.connection.close()


Take = Callable[[dict[str, Any], Conversation], None]
Hand = Callable[[socket.socket], bool]
WhyNot = Callable[[], str]


class Conversations:
    """Listens on `listener`.

    `take(request, conversation)` is called for the supervisor's own requests; `hand(connection)` gives others to the worker,
    False while there is none; `why_not()` is the line for those who waited in vain, `is_hopeless()` that none will come.
    """

    def __init__(
        self,
        listener: socket.socket,
        selector: selectors.BaseSelector,
        take: Take,
        hand: Hand,
        why_not: WhyNot,
        is_hopeless: Callable[[], bool],
    ) -> None:
        self._listener, self._selector = listener, selector
        self._take, self._hand, self._why_not, self._is_hopeless = take, hand, why_not, is_hopeless
        self._unheard: list[Conversation] = []  # have not said what they want
        self._waiting: list[Conversation] = []  # wait for a worker
        listener.setblocking(False)
        selector.register(listener, selectors.EVENT_READ, self._accept)

    def next_s(self) -> float | None:
        """How many seconds until `tick` is to be called; None: it need not."""
        return _AGAIN_S if self._unheard or self._waiting else None

    def tick(self) -> None:
        """Look at those who wait."""
        now_s = time.monotonic()
        for each in list(self._unheard):
            self._look(each, now_s)
        for each in list(self._waiting):
            if self._hand(each.connection):
                self._waiting.remove(each)
                each.connection.close()
            elif now_s - each.since_s >= _PATIENCE_S or self._is_hopeless():
                self._waiting.remove(each)
                each.answer({"error": "MountPointError", "message": self._why_not()})

    def close(self) -> None:
        """Listen no more, and hang up on those who wait."""
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(self._listener)
        self._listener.close()
        for each in (*self._unheard, *self._waiting):
            each.connection.close()

    def _accept(self) -> None:
        if len(self._unheard) + len(self._waiting) >= _MOST:
            if not self._unheard or time.monotonic() - self._unheard[0].since_s < _SILENT_S:
                time.sleep(_AGAIN_S)  # the others wait in the kernel
                return
            self._unheard.pop(0).connection.close()  # the longest silent makes room for one that may speak
        try:
            connection, _ = self._listener.accept()
        except OSError:
            time.sleep(_AGAIN_S)  # went away, or no descriptor is free: then it stays readable
            return
        if _peer_uid(connection) not in {0, os.geteuid()}:
            connection.close()
            return
        conversation = Conversation(connection)
        self._unheard.append(conversation)
        self._look(conversation, conversation.since_s)

    def _look(self, conversation: Conversation, now_s: float) -> None:
        connection = conversation.connection
        try:
            data = connection.recv(_LOOK_BYTES, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            data = None
        except OSError:
            data = b""
        is_whole = data is not None and (b"\n" in data or len(data) == _LOOK_BYTES)
        if not is_whole and data != b"" and now_s - conversation.since_s < _REQUEST_S:
            return  # more will come
        self._unheard.remove(conversation)
        if not is_whole or data is None:
            connection.close()
            return
        request = _parsed(data)
        if request.get("do") in ("stop", "upgrade"):  # it may be anything, also what has no hash
            self._take(request, conversation)
        elif self._hand(connection):
            connection.close()
        else:
            conversation.since_s = now_s
            self._waiting.append(conversation)


def listen(address: str, mode: int) -> socket.socket:
    """A socket at `address`, in the place of one that is there."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(address)  # noqa: PTH108  # an address is a text
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(address)
    os.chmod(address, mode)  # noqa: PTH101  # as above
    listener.listen(_BACKLOG)
    return listener


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        return dict(json.loads(data.partition(b"\n")[0]))
    except (ValueError, TypeError, RecursionError):
        return {}


def _peer_uid(connection: socket.socket) -> int:
    told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    return int(_PEER.unpack(told)[1])
