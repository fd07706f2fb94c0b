"""Requests to one Azure file share through Microsoft's SDK, and what its answers mean in our words.

The SDK's own retries are off; one deadline, in `retry`, covers a request. Trailing dots are kept in names, which the service
cuts off otherwise. With a token the service wants to know that the caller means to see every file, whatever its access
list says (`backup`); a share's keys and SAS tokens always mean that.

Invariant: messages are made of statuses and service codes only, because the SDK's texts hold URLs and signatures.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from azure.core.exceptions import AzureError, HttpResponseError, ServiceRequestError, ServiceResponseError

from mountd.errors import (
    AccessDeniedError,
    BadInputError,
    DataChangedError,
    DestinationExistsError,
    NotFoundError,
)
from mountd.stores.azure_blob import WRONG_MD5, _network_reason, _sdk_credential, _transport
from mountd.stores.base import Within, check_process
from mountd.stores.credentials import REMEDY, Credential, refuse_anonymous, resolve
from mountd.stores.retry import Deadline, TransientError, parse_retry_after, retry
from mountd.stores.source import Source

if TYPE_CHECKING:
    from azure.storage.fileshare import ShareDirectoryClient, ShareFileClient

T = TypeVar("T")
Timeouts = dict[str, Any]  # keywords for the SDK's transport

_CONNECT_S = 5.0
_TRANSIENT = {408, 429, 500, 502, 503, 504}
_BUSY = {
    "SharingViolation",
    "FileLockConflict",
    "DeletePending",
    "ClientCacheFlushDelay",
}  # a Windows client has it open


class NotThereError(NotFoundError):
    """No such file or folder; the share is there."""


class NoParentError(NotThereError):
    """Nor is the folder that it would be in."""


class OtherKindError(DestinationExistsError):
    """A file lies where a folder is meant, or the reverse."""


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
        share_client = _sdk()
        found = resolve(credential, source.account)
        refuse_anonymous(source.base_url, found)
        self._deadline_s, self._on_retry, self._process_id = deadline_s, on_retry, os.getpid()
        self._client = share_client(
            source.endpoint,
            source.container,
            # A SAS token goes in as text: only so does the SDK also sign the old name in a rename.
            credential=found.secret if found.kind == "sas" else _sdk_credential(found, source.account),
            token_intent="backup" if found.kind == "azure_default" else None,
            allow_trailing_dot=True,
            allow_source_trailing_dot=True,
            transport=_transport(),
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

    def ask(
        self, name: str, attempt: Callable[[Timeouts], T], *, pinned: bool = False, within: Within | None = None
    ) -> T:
        """What `attempt` gives, asked again while that may help; `name` is what errors call the thing."""
        check_process(self._process_id)
        within = within or Within(self._deadline_s)
        deadline = Deadline(min(within.seconds, self._deadline_s))
        limit_s = min(within.attempt_s, max(1.0, self._deadline_s / 4))

        def translated(limit_s: float) -> T:
            with _translated(name, pinned=pinned):
                # The SDK takes no sum of the two: together they end with the time that is left.
                connect_s = min(_CONNECT_S, limit_s / 2)
                return attempt({"connection_timeout": connect_s, "read_timeout": limit_s - connect_s})

        return retry(name, translated, deadline, attempt_limit_s=limit_s, on_retry=self._on_retry, took=within.took)


def _sdk() -> Callable[..., Any]:
    try:
        from azure.storage.fileshare import ShareClient
    except ImportError:
        raise BadInputError("file shares need a package more: pip install 'moorage[fileshare]'") from None
    return ShareClient


@contextmanager
def _translated(name: str, *, pinned: bool) -> Iterator[None]:
    try:
        yield
    except HttpResponseError as error:
        raise _answered(name, error, pinned=pinned) from None
    except (ServiceRequestError, ServiceResponseError) as error:
        raise TransientError(_network_reason(error)) from None
    except AzureError as error:
        wrong = str(error).startswith("MD5 mismatch")
        raise TransientError(WRONG_MD5 if wrong else f"the SDK failed ({type(error).__name__})") from None


def _answered(name: str, error: HttpResponseError, *, pinned: bool) -> Exception:
    status = error.status_code or 0
    code = getattr(error, "error_code", None)  # set by the storage SDK, as an enum where it knows the code
    code = str(getattr(code, "value", code) or "")
    said = f"HTTP {status} {code}".rstrip()
    if status in _TRANSIENT or code in _BUSY:
        return TransientError(said, parse_retry_after(getattr(error.response, "headers", {}).get("Retry-After")))
    if status < 400:  # none at all when the SDK itself finds an answer at fault
        return TransientError("a broken answer")
    if status in {401, 403}:
        return AccessDeniedError(
            f"{name}: access denied, the credential is refused or lacks the right ({said}); {REMEDY}"
        )
    return _refused(name, code, said, pinned=pinned)


def _refused(name: str, code: str, said: str, *, pinned: bool) -> Exception:
    missing = code in {"ResourceNotFound", "ParentNotFound"} or (said.startswith("HTTP 404") and not code)
    if pinned and (missing or code in {"InvalidRange", "ResourceTypeMismatch"}):
        return DataChangedError(f"{name}: changed or gone since it was frozen; freeze the source again")
    match code:
        case "ShareNotFound":
            return NotFoundError(f"{name}: no such share; create it or check its name")
        case "ParentNotFound":
            return NoParentError(f"{name}: no such file, and no folder where it would be")
        case "ResourceAlreadyExists":
            return DestinationExistsError(f"{name}: exists already; choose another place, or allow overwriting")
        case "ResourceTypeMismatch":
            return OtherKindError(f"{name}: a file lies where a folder is meant, or the reverse; check the address")
    return (
        NotThereError(f"{name}: no such file") if missing else BadInputError(f"{name}: the store refuses it ({said})")
    )
