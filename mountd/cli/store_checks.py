"""What a doctor looks at between this machine and a store: credential, name, connection, clock, one page of a listing.

A store is asked for what anybody may ask (a HEAD without credential, for its clock) and for the first page of the listing,
with the credential. Where the environment names a proxy for it, the proxy is what is connected to, by the clients
themselves; then name and connection are not looked at here.

Invariant: no finding holds a secret; of a SAS token nothing but its dates is read.
"""

import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mountd.cli.findings import Check, Finding, fail, ok, warn
from mountd.dataset.manifest import Manifest, is_manifest
from mountd.errors import AccessDeniedError, BadInputError, StoreUnreachableError
from mountd.log import redact
from mountd.stores import registry
from mountd.stores.blob.named import named_version
from mountd.stores.credentials import Credential, sas
from mountd.stores.source import Source, as_blobs, parse_source

_LIMIT_S, _CONNECT_S, _LIST_S = 15.0, 5.0, 8.0
_PORTS = {"http": 80, "https": 443}
_SKEW = timedelta(minutes=5)  # Azure refuses a signed request at 15
_SOON = timedelta(hours=12)


def credential_checks(credential: Credential | None, origin: str) -> list[Check]:
    """Which credential there is, and whether a SAS token is still good."""
    return [Check("credential", _CONNECT_S, partial(_credential, credential, origin))]


def source_checks(text: str, credential: Credential | None) -> list[Check]:
    """All that can be asked of the stores of a source, or of a manifest's.

    Raises:
        MountdError: the source is none.
    """
    if is_manifest(Path(text)):
        with Manifest.open(Path(text)) as manifest:
            sources = [parse_source(url) for url in manifest.sources]
    else:
        sources = [parse_source(named_version(text)[0])]
    checks: list[Check] = []
    for source in sources:
        if source.kind in {"blob", "datalake", "share", "https"}:
            checks += [Check("connection", _LIMIT_S, partial(_connection, each)) for each in _endpoints(source)]
            checks.append(Check("store clock", _LIMIT_S, partial(_clock, source)))
        checks.append(Check("listing", _LIMIT_S, partial(_listing, source, credential)))
    return checks


def _credential(credential: Credential | None, origin: str) -> Iterator[Finding]:
    if credential is None:
        yield ok("credential", f"credential: none in {origin}")
        return
    text = f"credential: {credential.kind} from {credential.origin or origin}"
    yield _dated(text, sas.begins_at(credential), sas.ends_at(credential), datetime.now(UTC))


def _dated(text: str, begin: datetime | None, end: datetime | None, now: datetime) -> Finding:
    if end is not None and end <= now:
        expired = f"the SAS token expired at {end:%Y-%m-%d %H:%M} UTC; make a new one"
        return fail("credential", f"{text}: {expired}", AccessDeniedError.exit_code)
    if begin is not None and begin > now:
        later = f"the SAS token is good from {begin:%Y-%m-%d %H:%M} UTC on only; is the clock right?"
        return warn("credential", f"{text}: {later}")
    if end is not None and end - now < _SOON:
        return warn(
            "credential", f"{text}: the SAS token expires at {end:%Y-%m-%d %H:%M} UTC; a long job will outlive it"
        )
    return ok("credential", f"{text}, good until {end:%Y-%m-%d %H:%M} UTC" if end is not None else text)


def _connection(source: Source) -> Iterator[Finding]:
    if _proxy(source):
        yield ok("connection", f"connection: {_address(source)[0]} is asked through the proxy of the environment")
        return
    host, port = _address(source)
    begun_s = time.monotonic()
    try:
        addresses = {str(each[4][0]) for each in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    except OSError as error:
        text = f"connection: {host} has no address ({error.strerror}); check the name, and this machine's DNS"
        yield fail("connection", text, StoreUnreachableError.exit_code)
        return
    resolved_s = time.monotonic()
    try:
        socket.create_connection((host, port), _CONNECT_S).close()
    except OSError as error:
        text = (
            f"connection: {host}:{port} ({', '.join(sorted(addresses))}) cannot be reached ({error}); check firewalls"
        )
        yield fail("connection", text, StoreUnreachableError.exit_code)
        return
    told = f"resolved in {_ms(begun_s, resolved_s)}, connected in {_ms(resolved_s)}"
    yield ok("connection", f"connection: {host}:{port} ({', '.join(sorted(addresses))}), {told}")


def _clock(source: Source) -> Iterator[Finding]:
    import requests

    try:
        answer = requests.head(_web_address(source), timeout=_CONNECT_S, allow_redirects=False)
        there = parsedate_to_datetime(answer.headers["Date"])
    except (requests.RequestException, KeyError, ValueError, TypeError) as error:
        yield warn("store clock", f"store clock: not told by {source.store_url} ({redact(type(error).__name__)})")
        return
    yield _compared(there if there.tzinfo else there.replace(tzinfo=UTC), datetime.now(UTC))


def _compared(there: datetime, here: datetime) -> Finding:
    seconds = (here - there).total_seconds()
    text = f"store clock: this machine's is {abs(seconds):.0f} s {'behind' if seconds < 0 else 'ahead'}"
    if abs(here - there) > _SKEW:
        return warn("store clock", f"{text}: signed requests may be refused; set it (timedatectl set-ntp true)")
    return ok("store clock", text)


def _listing(source: Source, credential: Credential | None) -> Iterator[Finding]:
    url, prefix = _to_list(source)
    begun_s = time.monotonic()
    lister = registry.open_lister(url, credential, deadline_s=_LIST_S)
    first = next(iter(lister.list(prefix)), None)
    if first is None:
        yield warn("listing", f"listing: {url}{prefix}: nothing is there; check the address")
    else:
        yield ok("listing", f"listing: {url}{prefix}: the first page in {_ms(begun_s)}")


def _to_list(source: Source) -> tuple[str, str]:
    """A base URL, and the prefix below it that finds the source whether it is a folder or one object."""
    if source.kind == "https":
        if not source.file:
            raise BadInputError(f"{source.store_url}: a web server cannot be listed; name one file of it")
        return source.store_url, source.file
    if source.kind in {"blob", "datalake", "share"} and source.open_ended and source.prefix:
        folder, _, key = source.base_url.rstrip("/").rpartition("/")
        return f"{folder}/", unquote(key)
    return source.base_url, ""


def _address(source: Source) -> tuple[str, int]:
    parts = urlsplit(_web_address(source))
    return parts.hostname or "", parts.port or _PORTS[parts.scheme]


def _web_address(source: Source) -> str:
    return f"{source.endpoint}/{source.container}" if source.endpoint else source.store_url


def _endpoints(source: Source) -> list[Source]:
    """A Data Lake is listed at one address and read at another; a firewall may let only one of them through."""
    blobs = as_blobs(source) if source.kind == "datalake" else source
    return [source] if _address(blobs) == _address(source) else [source, blobs]


def _proxy(source: Source) -> bool:
    from requests.utils import get_environ_proxies

    return urlsplit(_web_address(source)).scheme in get_environ_proxies(_web_address(source))


def _ms(begun_s: float, ended_s: float | None = None) -> str:
    return f"{((time.monotonic() if ended_s is None else ended_s) - begun_s) * 1000:.0f} ms"
