"""Files of web servers: what one HEAD tells of a file, and reads of it through obstore.

Nothing can be listed, no credential is sent. Whatever is particular about a web server's reads (no ranges, no ETags) is in
`objects`, as it can be true of any server.

Invariant: an error names the address as the user typed it, and nothing of the server's own text.
"""

from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

import obstore
import requests
from obstore.store import HTTPStore

from mountd.errors import BadInputError
from mountd.stores.base import ObjectInfo
from mountd.stores.clients import NO_RETRIES, TURNED_AWAY, Clients, Translated
from mountd.stores.objects import ObjectReader, identity, is_addressable
from mountd.stores.retry import Deadline, TransientError, parse_retry_after, retry
from mountd.stores.source import PATH_SAFE, Source

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ClientConfig, ObjectStore

_REMEDY = "Moorage sends no credential to web servers; use a public address or an Azure container"


class HttpsLister:
    """A Lister of a web server, which has no listings: it answers for one exact file, by HEAD."""

    def __init__(self, source: Source, *, deadline_s: float) -> None:
        self._source, self._deadline_s = source, deadline_s
        self._clients = _clients(source, deadline_s)

    @property
    def url(self) -> str:
        """The base URL that the keys are relative to."""
        return self._source.base_url

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the file whose key is exactly `prefix`.

        Raises:
            BadInputError: no exact key was given; a web server cannot be listed.
            NotFoundError: there is no such file.
        """
        self._clients.check_process()
        if not prefix or not is_addressable(prefix):
            raise BadInputError(
                f"{self.url}{prefix}: a web server cannot be listed; name one file, without '/' at the end"
            )
        name = self.url + prefix
        deadline, least_s = Deadline(self._deadline_s), self._clients.least_s
        meta = retry(name, lambda limit_s: self._head(name, prefix, limit_s), deadline, least_s=least_s)
        modified_ns = int(meta["last_modified"].timestamp()) * 1_000_000_000
        yield ObjectInfo(prefix, meta["size"], identity("", meta), modified_ns)

    def _head(self, name: str, key: str, limit_s: float) -> "ObjectMeta":
        client = self._clients.within(limit_s)
        with Translated(name, _REMEDY, pinned=False):
            return obstore.head(client, key)


def open_https(source: Source, *, deadline_s: float, on_retry: Callable[[], None] | None = None) -> ObjectReader:
    """A reader of a web server's files below `source`."""

    @cache
    def session() -> requests.Session:
        made = requests.Session()
        made.auth = _no_credential
        return made

    def ask_byte(key: str, offset: int, limit_s: float) -> None:
        _ask_byte(session(), source.base_url + quote(key, safe=PATH_SAFE), offset, limit_s)

    clients = _clients(source, deadline_s)
    return ObjectReader(source, clients, deadline_s=deadline_s, remedy=_REMEDY, on_retry=on_retry, ask_byte=ask_byte)


def _clients(source: Source, deadline_s: float) -> Clients:
    # obstore quotes the path itself, and would double a '/' at the end.
    parts = urlsplit(source.store_url)
    address = f"{parts.scheme}://{parts.netloc}{unquote(parts.path)}".rstrip("/")

    def make(options: "ClientConfig") -> "ObjectStore":
        if parts.scheme == "http":
            options["allow_http"] = True
        return HTTPStore(address, client_options=options, retry_config=NO_RETRIES)

    return Clients(make, deadline_s)


def _no_credential(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request  # requests would else look for one in ~/.netrc


def _ask_byte(session: requests.Session, url: str, offset: int, limit_s: float) -> None:
    """Raise TransientError if the server still turns requests away; whatever else it says, the read itself will hear."""
    headers = {"Range": f"bytes={offset}-{offset}", "Accept-Encoding": "identity"}
    try:
        # Each of the two is a limit of its own; the body, which may be the whole file, is never read.
        response = session.get(url, headers=headers, timeout=(limit_s / 2, limit_s / 2), stream=True)
    except requests.RequestException:
        return
    with response:
        if response.status_code in TURNED_AWAY:
            header = response.headers.get("Retry-After")
            raise TransientError(f"HTTP {response.status_code}", parse_retry_after(header))
