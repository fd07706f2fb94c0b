"""Ownership of an output's place: one spool at a time may write below a prefix.

A control object `owner-N.json` names the owner, and until when it may write. Whoever finds none, or finds that the last one
has run out, makes the next number, with the condition that it is not there: the store lets one of two do that. The owner
renews its object three times before it runs out, and writes nothing once it has; the same spool takes up its own again
after a kill.

Invariants: a number is made once and never by two; clocks of two machines may differ by `_SLACK_S`. The lock protects the
number and the end; no request is made under it.
"""

import json
import os
import socket
import threading
import time
from contextlib import suppress
from typing import Any, Final

from mountd.errors import BadInputError, DestinationExistsError, MountdError, NotFoundError, StoreUnreachableError
from mountd.uploading.destination import Destination

LASTS_S: Final = 60.0
_RENEWED_EVERY_S: Final = 20.0
_SLACK_S: Final = 30.0
_OBJECT_BYTES: Final = 512  # of one length, so that it can be read without a listing


class Ownership:
    """The right of `owner` to write below the destination's prefix, from `take` to `release`."""

    def __init__(self, destination: Destination, owner: str) -> None:
        self._destination, self._owner = destination, owner
        self._lock = threading.Lock()
        self._number = 0
        self._until_s = 0.0  # monotonic
        self._end = threading.Event()
        self._renewing: threading.Thread | None = None

    def take(self) -> None:
        """Become the owner, and stay it.

        Raises:
            BadInputError: another process writes there; names it.
            MountdError: as the store raises it.
        """
        number, told = self._last()
        if told is not None and told["owner"] != self._owner:
            if time.time() < told["until"] + _SLACK_S:
                raise self._taken(told)
            told = None
        number = number if told is not None else number + 1
        try:
            self._write(number, overwrite=told is not None)
        except DestinationExistsError:
            raise self._taken(self._last()[1] or {}) from None
        for old in range(1, number):
            self._destination.delete_control(_name(old))
        self._renewing = threading.Thread(target=self._renew, name="ownership", daemon=True)
        self._renewing.start()

    def check(self) -> None:
        """See that the right has not run out.

        Raises:
            StoreUnreachableError: it could not be renewed in time.
        """
        with self._lock:
            over = time.monotonic() > self._until_s
        if over:
            name = self._destination.named("")
            raise StoreUnreachableError(f"{name}: the right to write there ran out; it is asked for again")

    def release(self) -> None:
        """Let others write; what the store refuses runs out by itself."""
        self._stop()
        with self._lock:
            number, self._number, self._until_s = self._number, 0, 0.0
        if number:
            with suppress(MountdError):
                self._destination.delete_control(_name(number))

    def release_what_is_left(self) -> None:
        """As `release`, for a process of the same owner that was killed before it could."""
        with suppress(MountdError):
            number, told = self._last()
            if told is not None and told["owner"] == self._owner:
                self._destination.delete_control(_name(number))

    def _stop(self) -> None:
        self._end.set()
        if self._renewing is not None:
            self._renewing.join()

    def _last(self) -> tuple[int, dict[str, Any] | None]:
        """The highest number and what it says; (0, None) where there is none."""
        numbers = [int(info.key[len("owner-") : -len(".json")]) for info in self._destination.controls("owner-")]
        if not numbers:
            return 0, None
        try:
            data = self._destination.read_control(_name(max(numbers)), _OBJECT_BYTES)
            told: dict[str, Any] = json.loads(data)
        except NotFoundError:
            return max(numbers), None
        except ValueError:
            name = self._destination.control_key(_name(max(numbers)))
            raise BadInputError(f"{self._destination.url}{name}: damaged; remove it if nobody writes there") from None
        return max(numbers), told

    def _write(self, number: int, *, overwrite: bool) -> None:
        begun_s = time.monotonic()
        told = {
            "owner": self._owner,
            "host": socket.gethostname()[:100],
            "pid": os.getpid(),
            "until": time.time() + LASTS_S,
        }
        self._destination.write_control(_name(number), _padded(told), overwrite=overwrite)
        with self._lock:
            self._number, self._until_s = number, begun_s + LASTS_S

    def _renew(self) -> None:
        while not self._end.wait(_RENEWED_EVERY_S):
            with self._lock:
                number = self._number
            try:
                last, told = self._last()
                if last == number and (told is None or told["owner"] == self._owner):
                    self._write(number, overwrite=True)
            except MountdError:
                continue  # it is tried again in time, and `check` says when it was not enough

    def _taken(self, told: dict[str, Any]) -> BadInputError:
        who = f"process {told.get('pid', '?')} on {told.get('host', 'another machine')}"
        return BadInputError(
            f"{self._destination.named('')}: {who} writes there; wait for its end (or, if it died, a minute and a half)"
        )


def _name(number: int) -> str:
    return f"owner-{number}.json"


def _padded(told: dict[str, Any]) -> bytes:
    return json.dumps(told).encode().ljust(_OBJECT_BYTES)
