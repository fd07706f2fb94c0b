"""Where bytes are, as a user names it: a URL becomes a kind of store, its address and a prefix.

    file:///data/digits/                                     a local folder
    https://ACCOUNT.blob.core.windows.net/CONTAINER/PREFIX/  Azure blobs (also wasbs://CONTAINER@ACCOUNT.blob.…/PREFIX/)
    http://127.0.0.1:10000/ACCOUNT/CONTAINER/PREFIX/         Azure blobs, path-style (emulators)
    https://host/folder/file.csv                             one file of a web server

A host that is an address, is `localhost` or has a port is path-style if its first two segments could be an account and a
container by Azure's rules for names; else it is a web server.

Invariants: nobody is contacted; a URL with a credential in it is refused, and no error repeats its query; two spellings
of one place become one canonical URL, because it is part of every cache key.
"""

import ipaddress
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, quote, unquote, unquote_to_bytes, urlsplit

from mountd.errors import BadInputError
from mountd.log import redact

Kind = Literal["file", "blob", "https", "memory"]

PATH_SAFE = "/-._~!$'()*,;:@&=+"  # what a path may hold unquoted; '+' is no space there
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
_CONTAINER = re.compile(r"\$root|\$web|\$logs|(?=.{3,63}$)[a-z0-9]+(?:-[a-z0-9]+)*")
_BLOB_HOST = re.compile(r"([a-z0-9]{3,24})(?:-secondary)?\.(?:z\d+\.)?blob\.[a-z0-9.-]+")
_LATER_HOST = re.compile(r"[a-z0-9-]+\.(?:z\d+\.)?(dfs|file)\.(?:core\.|storage\.|fabric\.)[a-z0-9.-]+")
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Source:
    """A place as a user named it.

    `store_url` is canonical, without credential, and ends in `/`. `prefix` is '' or ends in `/`, unquoted. `file` is the
    name of the one file that the source is, for https. `open_ended` is True if the text had no `/` at its end: then the
    last segment may be a folder or one object, and only the store knows.
    """

    kind: Kind
    store_url: str
    prefix: str = ""
    file: str = ""
    open_ended: bool = False
    endpoint: str = ""  # of a blob store: everything before the container, no `/` at the end
    account: str = ""
    container: str = ""

    @property
    def base_url(self) -> str:
        """The URL for `open_reader` and its sisters."""
        return self.store_url + quote(self.prefix, safe=PATH_SAFE)


def file_url(path: Path) -> str:
    """The base URL of a local folder: absolute, quoted, ends in `/`."""
    quoted = quote(os.fsencode(path.absolute().as_posix()), safe=PATH_SAFE).strip("/")
    return f"file:///{quoted}/" if quoted else "file:///"


def local_path(source: Source) -> Path:
    """The folder that a `file` source names."""
    return Path(os.fsdecode(unquote_to_bytes(source.store_url.removeprefix("file://"))))


def parse_source(text: str) -> Source:
    """What kind of place `text` names, in canonical form.

    Raises:
        BadInputError: no URL, a scheme that is not supported, no container, or a credential inside the URL.
    """
    if text[:5].lower() == "file:":
        return _file(text)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise BadInputError(
            "the source is not a URL: its host or port cannot be read; check brackets and port"
        ) from None
    _refuse_secrets(parts)
    scheme = parts.scheme.lower()
    if scheme == "memory":
        prefix, open_ended = _folder(unquote(parts.path).lstrip("/"))
        return Source("memory", f"memory://{parts.netloc}/", prefix, open_ended=open_ended)
    if scheme in {"wasb", "wasbs"}:
        return _wasb(parts)
    if scheme in {"http", "https"}:
        return _web(parts, scheme, port)
    raise BadInputError(_no_scheme(text, scheme))


def _folder(path: str) -> tuple[str, bool]:
    """(prefix that is empty or ends in `/`, whether the text left that open)."""
    open_ended = bool(path) and not path.endswith("/")
    return (path + "/" if open_ended else path), open_ended


def _file(text: str) -> Source:
    # Read by hand: in a file URL '?', '#' and line breaks are characters of a name, and `urlsplit` would drop them.
    host, slash, rest = text[len("file:") :].removeprefix("//").partition("/")
    if not text[len("file:") :].startswith("//") or not slash or host not in {"", "localhost"}:
        raise BadInputError(f"{shown(text)}: a file URL is absolute and names no host; write file:///FOLDER")
    raw = unquote_to_bytes(os.fsencode(rest))
    if b"\0" in raw:
        raise BadInputError(f"{shown(text)}: holds a NUL")
    clean = quote(os.path.normpath(b"/" + raw.lstrip(b"/")), safe=PATH_SAFE)
    return Source("file", f"file://{clean.rstrip('/')}/", open_ended=bool(rest) and not rest.endswith("/"))


def _wasb(parts: SplitResult) -> Source:
    container, _, host = parts.netloc.rpartition("@")
    found = _BLOB_HOST.fullmatch(host.lower())
    if not container or found is None:
        raise BadInputError(f"{_bare(parts)}: write wasbs://CONTAINER@ACCOUNT.blob.core.windows.net/PREFIX/")
    path = parts.path.lstrip("/")
    return _blob(f"https://{host.lower()}", found[1], f"{container}/{path}" if path else container, parts)


def _web(parts: SplitResult, scheme: str, port: int | None) -> Source:
    host = (parts.hostname or "").lower()
    if not host:
        raise BadInputError(f"{_bare(parts)}: names no host")
    if found := _LATER_HOST.fullmatch(host):
        service = {"dfs": "Data Lake (dfs)", "file": "Azure Files"}[found[1]]
        raise BadInputError(f"{_bare(parts)}: {service} comes with a later version; {_other_way(found[1])}")
    literal = f"[{host}]" if ":" in host else host
    address = literal if port in {None, _DEFAULT_PORTS[scheme]} else f"{literal}:{port}"
    endpoint, path = f"{scheme}://{address}", parts.path.lstrip("/")
    if found := _BLOB_HOST.fullmatch(host):
        if scheme == "http":
            raise BadInputError(f"{_bare(parts)}: use https for Azure; plain http would show the data to the network")
        return _blob(endpoint, found[1], path, parts)
    account, _, rest = path.partition("/")
    own = _is_own(host)
    if (own or port is not None) and _ACCOUNT.fullmatch(account) and _CONTAINER.fullmatch(rest.partition("/")[0]):
        return _blob(f"{endpoint}/{account}", account, rest, parts)
    if scheme == "http" and not _is_loopback(host):
        raise BadInputError(f"{_bare(parts)}: use https; plain http is accepted from this machine only")
    folder, _, name = unquote(parts.path).rpartition("/")
    return Source("https", f"{endpoint}{quote(folder, safe=PATH_SAFE)}/", file=name)


def _blob(endpoint: str, account: str, path: str, parts: SplitResult) -> Source:
    container, _, rest = path.partition("/")
    if not _CONTAINER.fullmatch(container):
        raise BadInputError(
            f"{_bare(parts)}: names no container; write https://ACCOUNT.blob.core.windows.net/CONTAINER/"
        )
    prefix, open_ended = _folder(unquote(rest))
    return Source(
        "blob",
        f"{endpoint}/{container}/",
        prefix,
        open_ended=open_ended,
        endpoint=endpoint,
        account=account,
        container=container,
    )


def _is_own(host: str) -> bool:
    """True for hosts that no public service has: addresses and `localhost`."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return True


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_own(host) and ipaddress.ip_address(host).is_loopback)


def _refuse_secrets(parts: SplitResult) -> None:
    container_first = parts.scheme.lower().startswith(("wasb", "abfs"))
    if parts.password is not None or (parts.username is not None and not container_first):
        raise BadInputError(
            f"{_bare(parts)}: a user name or password in a URL is not accepted; give it by --credential"
        )
    if parts.query and "sig=" in parts.query:
        raise BadInputError(
            f"{_bare(parts)}: holds a SAS token; put what follows the '?' in AZURE_STORAGE_SAS_TOKEN and leave it out"
        )
    if parts.query or parts.fragment:
        raise BadInputError(f"{_bare(parts)}: a '?' or '#' in a source is not supported; in a name write %3F or %23")


def _bare(parts: SplitResult) -> str:
    """The URL without whatever may hold a secret: user, password, query, fragment."""
    host = parts.netloc.rpartition("@")[2]
    return shown(f"{parts.scheme}://{host}{parts.path}")


def shown(text: str) -> str:
    """`text` for an error message: quoted, short, without a secret."""
    return repr(redact(text)[:200])


def _other_way(service: str) -> str:
    return (
        "use the account's blob address (ACCOUNT.blob.core.windows.net)"
        if service == "dfs"
        else "copy it to a container"
    )


def _no_scheme(text: str, scheme: str) -> str:
    if scheme in {"abfs", "abfss"}:
        return f"{scheme}:// comes with a later version; {_other_way('dfs')}"
    if not scheme:
        folder = redact(file_url(Path(text)))[:200]
        return f"{shown(text)} is no URL; for a local folder write {folder}" if text else "the source is empty"
    return f"{shown(scheme + ':')} is no scheme that Moorage knows; use file, https, http or wasbs"
