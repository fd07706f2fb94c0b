"""Requests to one Data Lake file system through Microsoft's SDK, and what its answers mean in our words.

The SDK's own retries are off; one deadline, in `retry`, covers a request. The SDK sends listings and changes to the
account's endpoint for Data Lake and asks for properties at the one for blobs, whose address it makes of the first.

Invariants: messages are made of statuses and service codes only, because the SDK's texts hold URLs and signatures; a listing
tells only paths below the directory that was asked for, each file with its ETag.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote

from azure.core.exceptions import HttpResponseError
from azure.core.pipeline.transport import RequestsTransport
from azure.storage.filedatalake import FileSystemClient

from mountd.errors import DestinationExistsError, NotFoundError
from mountd.stores.azure_sdk import Timeouts, error_code, exists, sdk_credential, sdk_translated, timeouts_of, transport
from mountd.stores.base import check_process
from mountd.stores.credentials import Credential, resolve
from mountd.stores.retry import Deadline, TransientError, retry
from mountd.stores.source import Source
from mountd.stores.writing import NotThereError, OtherKindError

if TYPE_CHECKING:
    from azure.storage.filedatalake import DataLakeFileClient, FileProperties, PathProperties

T = TypeVar("T")

_HEAD_BYTES: Final = 1024  # of a listing: what stands before its first entry
_MISSING: Final = {"PathNotFound", "SourcePathNotFound", "BlobNotFound", "ResourceNotFound"}
_OTHER_KIND: Final = {"PathConflict", "InvalidDestinationPath", "InvalidSourceOrDestinationResourceType"}
_GOING: Final = {"FilesystemBeingDeleted", "SourcePathIsBeingDeleted", "DestinationPathIsBeingDeleted"}


class LakeRequests:
    """A file system's client with a deadline; thread-safe, for the process that made it. Paths are from its root."""

    def __init__(self, source: Source, credential: Credential | None, deadline_s: float) -> None:
        """Contact nobody yet.

        Raises:
            AccessDeniedError: the credential is not for this account, or is malformed.
        """
        found = resolve(credential, source.account)
        self._source, self._deadline_s, self._process_id = source, deadline_s, os.getpid()
        self._anonymous = found.kind == "anonymous"
        # A SAS token goes in with the address: only so does the SDK also sign the old name in a rename.
        is_sas = found.kind == "sas"
        self._address = f"{source.endpoint}?{found.secret}" if is_sas else source.endpoint
        self._credential = None if is_sas else sdk_credential(found, source.account)
        self._transport = transport()
        self._client = self._opened(self._transport)

    def file(self, path: str) -> "DataLakeFileClient":
        """The SDK's client of a file."""
        return self._client.get_file_client(path)

    def rename(self, old: str, new: str, **options: Any) -> None:
        """Give a file another name; `options` are the SDK's."""
        # The SDK unquotes the old name once before it quotes it.
        self.file(quote(old)).rename_file(f"{self._source.container}/{new}", **options)

    def delete(self, path: str) -> None:
        """Remove a file or an empty directory; one that is not there is no error."""
        with suppress(NotFoundError):
            self.ask(path, lambda timeouts: self.file(path).delete_file(**timeouts))

    def stat(self, path: str) -> "FileProperties":
        """What the service says of a file or directory.

        Raises:
            NotThereError: there is none.
        """
        return self.ask(path, lambda timeouts: self.file(path).get_file_properties(**timeouts))

    def page(self, folder: str, token: str, *, recursive: bool) -> tuple[list["PathProperties"], str]:
        """One page of the listing of a directory ('' is the root), and the token of the next, '' after the last.

        Raises:
            NotThereError: there is no such path.
            OtherKindError: it is a file.
        """

        def attempt(timeouts: Timeouts) -> tuple[list["PathProperties"], str]:
            # `get_paths` takes no limits of time: they come with a client of the page's own, on the same connections.
            once = RequestsTransport(session=self._transport.session, session_owner=False, **timeouts)
            client = self._opened(once, raw_response_hook=_check_list)
            pages = client.get_paths(folder or None, recursive=recursive).by_page(token or None)
            found, following = list(next(pages)), pages.continuation_token or ""  # type: ignore[attr-defined]  # a PageIterator
            _check(found, f"{folder}/" if folder else "")
            if following and following == token:
                raise TransientError("the listing does not come to an end")
            return found, following

        return self.ask(folder, attempt)

    def ask(self, path: str, attempt: Callable[[Timeouts], T], deadline_s: float = float("inf")) -> T:
        """What `attempt` gives, asked again while that may help, up to the store's deadline; errors call it by `path`."""
        check_process(self._process_id)
        name = self._source.store_url + path

        def translated(limit_s: float) -> T:
            with sdk_translated(name, pinned=False, anonymous=self._anonymous), _translated(name):
                return attempt(timeouts_of(limit_s))

        deadline = Deadline(min(deadline_s, self._deadline_s))
        return retry(name, translated, deadline, attempt_limit_s=max(1.0, self._deadline_s / 4))

    def _opened(self, own_transport: RequestsTransport, **options: Any) -> FileSystemClient:
        return FileSystemClient(
            self._address,
            self._source.container,
            credential=self._credential,
            transport=own_transport,
            retry_total=0,
            logging_enable=False,
            **options,
        )


def _check_list(response: Any) -> None:
    """Refuse what is no listing: of another document the SDK makes an empty one, which is also the last."""
    answer = response.http_response
    if answer.status_code < 300 and b'"paths"' not in answer.body()[:_HEAD_BYTES]:
        raise TransientError("an answer came that is no listing")


def _check(found: "list[PathProperties]", start: str) -> None:
    for each in found:
        if not each.name.startswith(start):
            raise TransientError("the listing tells of another directory")
        if not each.is_directory and not each.etag:
            raise TransientError("the listing tells no ETag")


@contextmanager
def _translated(name: str) -> Iterator[None]:
    """Translate the codes that only a Data Lake has; the others are left to `sdk_translated`."""
    try:
        yield
    except HttpResponseError as error:
        code = error_code(error)
        if code in {"FilesystemNotFound", "ContainerNotFound"}:
            raise NotFoundError(f"{name}: no such file system; create it or check its name") from None
        if code in _MISSING and error.status_code == 404:
            raise NotThereError(f"{name}: no such file or folder") from None
        if code == "PathAlreadyExists":
            raise DestinationExistsError(exists(name)) from None
        if code in _OTHER_KIND:
            text = f"{name}: a file lies where a folder is meant, or the reverse; rename one, or check the address"
            raise OtherKindError(text) from None
        if code in _GOING:
            raise TransientError(f"HTTP {error.status_code} {code}") from None
        raise
