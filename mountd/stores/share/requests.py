"""Requests to one Azure file share through Microsoft's SDK, and what its answers mean in our words.

The SDK's own retries are off; one deadline, in `retry`, covers a request. Trailing dots are kept in names, which the service
cuts off otherwise. With a token the service wants to know that the caller means to see every file, whatever its access
list says (`backup`); a share's keys and SAS tokens always mean that.

Invariant: messages are made of statuses and service codes only, because the SDK's texts hold URLs and signatures.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from azure.core.exceptions import HttpResponseError

from mountd.errors import DataChangedError, DestinationExistsError, NotFoundError
from mountd.stores.azure_sdk import Timeouts, error_code, exists, sdk_credential, sdk_translated, timeouts_of, transport
from mountd.stores.base import Within, check_process
from mountd.stores.credentials import Credential
from mountd.stores.retry import Deadline, TransientError, retry
from mountd.stores.share.access import resolve_for_share
from mountd.stores.source import Source
from mountd.stores.writing import NotThereError, OtherKindError

if TYPE_CHECKING:
    from azure.storage.fileshare import ShareDirectoryClient, ShareFileClient

T = TypeVar("T")

_BUSY: Final = {"SharingViolation", "FileLockConflict", "DeletePending", "ClientCacheFlushDelay"}  # a Windows client's


class NoParentError(NotThereError):
    """Nor is the folder that it would be in."""


class ShareRequests:
    """A share's client with a deadline; thread-safe, for the process that made it."""

    def __init__(
        self, source: Source, credential: Credential | None, deadline_s: float, on_retry: Callable[[], None] | None
    ) -> None:
        """Contact nobody yet.

        Raises:
            AccessDeniedError: there is no credential, or it is for another account.
            BadInputError: the SDK is not installed.
        """
        found = resolve_for_share(source, credential)
        from azure.storage.fileshare import ShareClient

        self._deadline_s, self._on_retry, self._process_id = deadline_s, on_retry, os.getpid()
        own = sdk_credential(found, source.account)
        self._client = ShareClient(
            source.endpoint,
            source.container,
            # A SAS token goes in as text: only so does the SDK also sign the old name in a rename.
            credential=found.secret if found.kind == "sas" else own,
            token_intent="backup" if hasattr(own, "get_token") else None,
            allow_trailing_dot=True,
            allow_source_trailing_dot=True,
            transport=transport(),
            retry_total=0,
            logging_enable=False,
        )

    def file(self, path: str) -> "ShareFileClient":
        """The SDK's client of a file; `path` is from the root of the share."""
        found: ShareFileClient = self._client.get_file_client(path)
        return found

    def directory(self, path: str) -> "ShareDirectoryClient":
        """The SDK's client of a directory; '' is the root."""
        found: ShareDirectoryClient = self._client.get_directory_client(path)
        return found

    def ask(self, name: str, attempt: Callable[[Timeouts], T], *, within: Within | None = None) -> T:
        """What `attempt` gives, asked again while that may help; `name` is what errors call the thing."""
        within = within or Within(self._deadline_s)
        deadline = Deadline(min(within.seconds, self._deadline_s))
        limit_s = min(within.attempt_s, max(1.0, self._deadline_s / 4))
        return retry(
            name,
            lambda limit_s: self.ask_once(name, attempt, limit_s),
            deadline,
            attempt_limit_s=limit_s,
            on_retry=self._on_retry,
            took=within.took,
        )

    def ask_once(self, name: str, attempt: Callable[[Timeouts], T], limit_s: float) -> T:
        """As `ask`, once.

        Raises:
            TransientError: asking again may help.
        """
        check_process(self._process_id)
        with sdk_translated(name, pinned=False, anonymous=False), _translated(name):
            return attempt(timeouts_of(limit_s))


@contextmanager
def _translated(name: str) -> Iterator[None]:
    """Translate the codes that only file shares have; the others are left to `sdk_translated`."""
    try:
        yield
    except HttpResponseError as error:
        code = error_code(error)
        if code in _BUSY:
            raise TransientError(f"HTTP {error.status_code} {code}") from None
        if (kind := _KINDS.get(code)) is not None:
            raise kind[0](f"{name}: {kind[1]}") from None
        raise


_KINDS: Final[dict[str, tuple[type[Exception], str]]] = {
    "ShareNotFound": (NotFoundError, "no such share; create it or check its name"),
    "ResourceNotFound": (NotThereError, "no such file or folder"),
    "ParentNotFound": (NoParentError, "no such file, and no folder where it would be"),
    "ResourceAlreadyExists": (DestinationExistsError, exists("")[2:]),
    "ResourceTypeMismatch": (OtherKindError, "a file lies where a folder is meant, or the reverse; check the address"),
    "InvalidRange": (DataChangedError, "ends before what was asked for; freeze the source again"),
}
