"""Stores that outlive their credential: one that is refused or near its end is looked up again, or replaced by hand.

A `CredentialProvider` has the credential of one source as it is now. It looks it up again where it came from (`origins`)
when a store refuses it, which those who were refused wait for, and, on a thread of its own, when its SAS token is near its
end. `RenewingReader`, `RenewingLister` and `RenewingWriter` stand before a store of each kind: they open it anew when the
provider has another credential, ask once more what was refused, and explain a refusal by what the token itself tells.

Invariants: the provider's lock protects its fields and is never held while anything is looked up; what cannot be looked up
leaves the old credential in place; a place is looked into once in `PAUSE_S` at most, however many readers are refused.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Generic, TypeVar

from mountd.errors import AccessDeniedError, MountdError
from mountd.stores.base import (
    Buffer,
    Lister,
    ObjectInfo,
    Page,
    Part,
    PartLister,
    TimedReader,
    Within,
    Writer,
    check_process,
)
from mountd.stores.credentials import IDENTITIES, Credential, sas
from mountd.stores.credentials.origins import COMMAND_LIMIT_S, from_option
from mountd.stores.parts import gather

_LOG = logging.getLogger(__name__)
PAUSE_S: Final = 5.0
_NEAR: Final = timedelta(minutes=5)  # a request that begins now should still be allowed when it is repeated

T = TypeVar("T")
Store = TypeVar("Store")


class CredentialProvider:
    """The credential of one source, as it is now. Thread-safe."""

    def __init__(
        self,
        credential: Credential | None,
        look_up: Callable[[str], Credential] = from_option,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lock = threading.Lock()  # protects all below
        self._credential, self._look_up, self._clock = credential, look_up, clock
        self._looked_s: float | None = None
        self._looking: threading.Event | None = None

    @property
    def kept(self) -> Credential | None:
        """What it has now; nothing is looked up."""
        return self._credential

    def current(self) -> Credential | None:
        """What to use now. Near the end of its token it is looked up again, which is only waited for if that has ended."""
        credential = self._credential
        if credential is not None and credential.origin and (end := sas.ends_at(credential)) is not None:
            left = end - datetime.now(UTC)
            if left < _NEAR:
                self._look(wait=left <= timedelta(0))
        return self._credential

    def renewed(self, refused: Credential | None) -> bool:
        """After a store has refused that credential: True if there is another one now."""
        if refused is not None and refused.origin and self._credential == refused:
            self._look(wait=True)
        return self._credential != refused

    def replace(self, credential: Credential) -> None:
        """Use this one from now on."""
        with self._lock:
            self._credential = credential

    def _look(self, *, wait: bool) -> None:
        """Look the credential up where it came from, unless that was done a moment ago, or is being done."""
        with self._lock:
            old, looking = self._credential, self._looking
            is_due = self._looked_s is None or self._clock() - self._looked_s >= PAUSE_S
            if old is None or (looking is None and not is_due):
                return
            if looking is None:
                self._looking = done = threading.Event()
        if looking is not None:
            if wait:
                looking.wait(COMMAND_LIMIT_S)
        elif wait:
            self._look_up_now(old, done)
        else:
            threading.Thread(target=self._look_up_now, args=(old, done), name="credential", daemon=True).start()

    def _look_up_now(self, old: Credential, done: threading.Event) -> None:
        found = None
        try:
            found = self._look_up(old.origin)
        except MountdError as error:
            _LOG.warning("a credential cannot be looked up again: %s", error)
        finally:
            with self._lock:
                if found is not None and self._credential == old:
                    self._credential = found
                self._looked_s, self._looking = self._clock(), None
            done.set()


class _Renewing(Generic[Store]):
    """A store as the provider's credential opens it."""

    def __init__(self, provider: CredentialProvider, open_store: Callable[[Credential | None], Store]) -> None:
        """Open it once.

        Raises:
            MountdError: as `open_store` raises it.
        """
        self._provider, self._open, self._process_id = provider, open_store, os.getpid()
        credential = provider.kept  # not looked up here: whoever opens a mount waits for it
        self._opened = credential, open_store(credential)  # replaced as a pair; two threads may both do it, to no harm

    @property
    def store(self) -> Store:
        """The store as it was opened last."""
        return self._opened[1]

    def ask(self, call: Callable[[Store], T], verb: sas.Verb) -> T:
        """What `call` returns of the store, asked once more if the credential was refused and there is another.

        Raises:
            MountdError: as `call` raises it; a refusal says why, as far as the token tells.
        """
        credential = self._provider.current()
        try:
            return call(self._opened_with(credential))
        except AccessDeniedError as error:
            if not self._provider.renewed(credential):
                raise _explained(error, credential, verb) from None
        credential = self._provider.current()
        try:
            return call(self._opened_with(credential))
        except AccessDeniedError as error:
            raise _explained(error, credential, verb) from None

    def _opened_with(self, credential: Credential | None) -> Store:
        opened = self._opened
        if opened[0] != credential:
            check_process(self._process_id)  # a fork must not open one either
            self._opened = opened = credential, self._open(credential)
        if credential is not None and credential.kind in IDENTITIES:
            from mountd.stores.credentials.identity import identity_of

            identity_of(credential).token()  # here, where its failure is told as it is, and not inside an SDK
        return opened[1]


class RenewingReader:
    """A TimedReader that opens its store anew when the credential is another."""

    def __init__(
        self, provider: CredentialProvider, open_store: Callable[[Credential | None], TimedReader], deadline_s: float
    ) -> None:
        self._renewing, self._deadline_s = _Renewing(provider, open_store), deadline_s

    def __repr__(self) -> str:
        return f"RenewingReader({self._renewing.store!r})"

    @property
    def url(self) -> str:
        """The base URL that the keys are relative to."""
        return self._renewing.store.url

    @property
    def in_place(self) -> bool:
        """False: the bytes come over the network."""
        return self._renewing.store.in_place

    def read(self, key: str, offset: int, size: int, etag: str) -> Buffer:
        """Exactly `size` bytes at `offset` of the object whose ETag is `etag`."""
        return self.read_within(key, offset, size, etag, Within(self._deadline_s))

    def read_within(self, key: str, offset: int, size: int, etag: str, within: Within) -> Buffer:
        """As `read`, in less time."""
        if not size:
            return self._renewing.store.read_within(key, offset, size, etag, within)
        begun_s = time.monotonic()

        def call(store: TimedReader) -> Buffer:
            left_s = within.seconds - (time.monotonic() - begun_s)
            return store.read_within(key, offset, size, etag, Within(left_s, within.attempt_s, within.took))

        return self._renewing.ask(call, "read")


class RenewingLister:
    """A Lister that opens its store anew for a listing that is refused at its start, if there is another credential."""

    def __init__(self, provider: CredentialProvider, open_store: Callable[[Credential | None], Lister]) -> None:
        self._renewing = _Renewing(provider, open_store)

    @property
    def url(self) -> str:
        """The base URL that the keys are relative to."""
        return self._renewing.store.url

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield every object whose key starts with `prefix`; refused midway, it ends with the refusal."""
        listing, first = self._renewing.ask(lambda store: _begun(store.list(prefix)), "list")
        if first is not None:
            yield first
            yield from listing


class RenewingPartLister:
    """A PartLister that opens its store anew also when the credential ends in the middle of a listing."""

    def __init__(self, provider: CredentialProvider, open_store: Callable[[Credential | None], PartLister]) -> None:
        self._renewing = _Renewing(provider, open_store)

    @property
    def url(self) -> str:
        """The base URL that the keys are relative to."""
        return self._renewing.store.url

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield every object whose key starts with `prefix`."""
        for _, page in gather(self, [Part(prefix)]):
            yield from page.objects

    def list_part(self, part: Part, idle: int) -> Page:
        """The next page of `part`."""
        return self._renewing.ask(lambda store: store.list_part(part, idle), "list")


class RenewingWriter:
    """A Writer that opens its store anew when the credential is another."""

    def __init__(self, provider: CredentialProvider, open_store: Callable[[Credential | None], Writer]) -> None:
        self._renewing = _Renewing(provider, open_store)

    @property
    def url(self) -> str:
        """The base URL that the keys are relative to."""
        return self._renewing.store.url

    def write(self, key: str, source: Path | bytes, *, overwrite: bool = False) -> ObjectInfo:
        """Store a file or bytes under `key`."""
        return self._renewing.ask(lambda store: store.write(key, source, overwrite=overwrite), "write")

    def delete(self, key: str) -> None:
        """Remove `key`; a key that is not there is no error."""
        self._renewing.ask(lambda store: store.delete(key), "delete")


def _begun(listing: Iterator[ObjectInfo]) -> tuple[Iterator[ObjectInfo], ObjectInfo | None]:
    """The listing after its first object, and that object: the request has been answered."""
    return listing, next(listing, None)


def _explained(error: AccessDeniedError, credential: Credential | None, verb: sas.Verb) -> AccessDeniedError:
    why = sas.why_refused(credential, verb)
    name, found, _ = str(error).partition(": access denied")
    return AccessDeniedError(f"{name}: access denied: {why}") if why and found else error
