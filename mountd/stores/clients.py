"""What obstore needs around it: clients with timeouts, and exceptions in our words.

obstore's timeouts belong to a client and not to a call, so `Clients` is a ladder of them, and an attempt takes the slowest
that still ends before its limit. Its own retries are off; ours are in `retry`.

Invariants: no client is used in another process than the one that made it (after a fork the call would block for ever,
because obstore's threads live in the parent); of an exception only the status, the service's code and a few known signs
are used, because its text shows URLs.
"""

import os
import re
from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING

from obstore import exceptions as obstore_errors

from mountd.errors import AccessDeniedError, BadInputError, DataChangedError, MountdError, NotFoundError
from mountd.stores.base import check_process
from mountd.stores.retry import NO_ANSWER, NO_HOST, NO_TIME, NO_TRUST, TransientError, TurnedAwayError, attempt_limits_s

if TYPE_CHECKING:
    from collections.abc import Callable

    from obstore.store import ClientConfig, ObjectStore, RetryConfig

_CONNECT_S = 5.0
_STALL_SHARE = 4  # an attempt that stands still for a quarter of the deadline is given up
_LADDER = (
    1.0,
    0.25,
    1 / 16,
    1 / 64,
)  # timeouts of the clients, in deadlines; beside them the learnt ones, see `ATTEMPT_S`
TURNED_AWAY = {429, 503}  # what may come with a Retry-After
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504, 509}

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w{1,80})</Code>")
_SIGNS = (
    ("ConnectionRefused", "the connection was refused"),
    ("dns error", NO_HOST),
    ("InvalidCertificate", NO_TRUST),
    ("ConnectionReset", "the connection was reset"),
    ("kind: Connect", "no connection"),
    ("TimedOut", NO_ANSWER),
    ("kind: Timeout", NO_ANSWER),
    ("kind: Interrupted", "the connection broke off"),
    ("UnexpectedRange", "another range came than was asked for"),
    ("NotPartial", "all of it came in the place of a range"),
)

#: For every client: obstore itself never asks again.
NO_RETRIES: "RetryConfig" = {"max_retries": 0, "retry_timeout": timedelta(0)}


class RangeIgnoredError(Exception):
    """The server answered a range with the whole file."""


class Clients:
    """obstore clients of one place, one a timeout; made on first use, for the process that made this object."""

    def __init__(self, make: "Callable[[ClientConfig], ObjectStore]", deadline_s: float) -> None:
        self._make = make
        self._deadline_s = deadline_s
        self._process_id = os.getpid()
        self._ladder_s = sorted(
            {*(deadline_s * share for share in _LADDER), *attempt_limits_s(deadline_s)}, reverse=True
        )
        self._made: dict[float, ObjectStore] = {}

    def within(self, limit_s: float) -> "ObjectStore":
        """The client with the longest timeout that is not above `limit_s`.

        Raises:
            DefectError: the process has forked since.
            TransientError: the time left is too short for any that there is.
        """
        check_process(self._process_id)
        for timeout_s in self._ladder_s:
            # A hair above, because a deadline that has just begun has microseconds less than it says.
            if timeout_s <= limit_s * 1.02 and (client := self._made.get(timeout_s) or self._try_new(timeout_s)):
                # Two threads may make the same client at once: one of the two is kept, the other does no harm.
                return self._made.setdefault(timeout_s, client)
        raise TransientError(NO_TIME)

    @property
    def least_s(self) -> float:
        """The shortest timeout there is."""
        return self._ladder_s[-1]

    def check_process(self) -> None:
        """Raise DefectError in a forked child."""
        check_process(self._process_id)

    def _try_new(self, timeout_s: float) -> "ObjectStore | None":
        """None where it cannot be made now: it reads the machine's certificates, and no descriptor may be free for that."""
        try:
            return self._new(timeout_s)
        except obstore_errors.GenericError as error:
            if "builder error" not in str(error) or not self._made:
                raise
            return None

    def _new(self, timeout_s: float) -> "ObjectStore":
        options: ClientConfig = {
            "timeout": timedelta(seconds=timeout_s),
            "read_timeout": timedelta(seconds=min(timeout_s, self._deadline_s / _STALL_SHARE)),
            "connect_timeout": timedelta(seconds=min(timeout_s, _CONNECT_S, self._deadline_s / _STALL_SHARE)),
        }
        return self._make(options)


class Translated:
    """Turns what obstore raises into our errors; the original is dropped, because its text shows URLs."""

    def __init__(self, name: str, remedy: str, *, pinned: bool) -> None:
        self._name, self._remedy, self._pinned = name, remedy, pinned

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, MountdError | TransientError) or not isinstance(error, Exception):
            return
        raise self._translation(error) from None

    def _translation(self, error: Exception) -> Exception:
        if isinstance(error, obstore_errors.NotSupportedError):
            return RangeIgnoredError()
        text = str(error)
        if status := _STATUS.search(text):
            code = _CODE.search(text)
            return self._answered(int(status[1]), code[1] if code else "")
        if "StartTooLarge" in text:  # the server answered, and obstore saw that the object ends before the range
            return self._answered(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "")
        if isinstance(error, FileNotFoundError):
            return self._missing("")
        return TransientError(next((said for sign, said in _SIGNS if sign in text), "the answer is not well-formed"))

    def _answered(self, status: int, code: str) -> Exception:
        said = f"HTTP {status} {code}".rstrip()
        if status == HTTPStatus.NOT_FOUND or code == "ResourceTypeMismatch":  # a folder of a share is no file
            return self._missing(code)
        if status in {401, 403} or code == "PublicAccessNotPermitted":
            return AccessDeniedError(f"{self._name}: access denied ({said}); {self._remedy}")
        if status in {412, 416}:
            # With an If-Match a service may answer 412 for an object that is gone, too.
            return DataChangedError(f"{self._name}: changed or gone since it was frozen; freeze the source again")
        if status in TURNED_AWAY:
            return TurnedAwayError(said)
        if status in _TRANSIENT:
            return TransientError(said)
        return BadInputError(f"{self._name}: the store refuses to give it ({said})")

    def _missing(self, code: str) -> MountdError:
        if code in {"ContainerNotFound", "ShareNotFound"}:
            what = code.removesuffix("NotFound").lower()
            return NotFoundError(f"{self._name}: there is no such {what}; check the account and {what} name")
        if self._pinned:
            return DataChangedError(f"{self._name}: gone since it was frozen; freeze the source again")
        return NotFoundError(f"{self._name}: no such object")
