"""Where bytes are, as a user names it: a URL becomes a kind of store, its address and a prefix.

    file:///data/digits/                                     a local folder
    https://ACCOUNT.blob.core.windows.net/CONTAINER/PREFIX/  Azure blobs (also wasbs://CONTAINER@ACCOUNT.blob.…/PREFIX/)
    http://127.0.0.1:10000/ACCOUNT/CONTAINER/PREFIX/         Azure blobs, path-style (emulators)
    abfss://FILESYSTEM@ACCOUNT.dfs.core.windows.net/PREFIX/  Azure Data Lake (also https://ACCOUNT.dfs.…/FILESYSTEM/PREFIX/)
    abfs://FILESYSTEM@127.0.0.1:10000/ACCOUNT/PREFIX/        Azure Data Lake, path-style; abfss:// by https
    https://ACCOUNT.file.core.windows.net/SHARE/PREFIX/      an Azure file share
    azfile://127.0.0.1:10004/ACCOUNT/SHARE/PREFIX/           an Azure file share, path-style; azfiles:// by https
    https://host/folder/file.csv                             one file of a web server

A host that is an address, is `localhost` or has a port is path-style if its first two segments could be an account and a
container by Azure's rules for names; else it is a web server. Of a Data Lake and of a file share the address does not tell
that, and the scheme does.

Invariants: nobody is contacted; a URL with a credential in it is refused, and no error repeats its query; two spellings
of one place become one canonical URL, because it is part of every cache key.
"""

import ipaddress
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, quote, unquote, unquote_to_bytes, urlsplit

from mountd.errors import BadInputError
from mountd.log import redact

Kind = Literal["file", "blob", "datalake", "share", "https", "memory"]

PATH_SAFE = "/-._~!$'()*,;:@&=+"  # what a path may hold unquoted; '+' is no space there
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
_CONTAINER = re.compile(r"\$root|\$web|\$logs|(?=.{3,63}$)[a-z0-9]+(?:-[a-z0-9]+)*")
_BLOB_HOST = re.compile(r"([a-z0-9]{3,24})(?:-secondary)?\.(?:z\d+\.)?blob\.[a-z0-9.-]+")
_LAKE_HOST = re.compile(r"([a-z0-9]{3,24})\.(?:z\d+\.)?dfs\.(?:core|storage|fabric)\.[a-z0-9.-]+")
_SHARE = re.compile(r"(?=.{3,63}$)[a-z0-9]+(?:-[a-z0-9]+)*")
_FILE_HOST = re.compile(r"([a-z0-9]{3,24})\.(?:z\d+\.)?file\.(?:core|storage)\.[a-z0-9.-]+")
_LAKE_FORM = "abfss://FILESYSTEM@ACCOUNT.dfs.core.windows.net/PREFIX/"
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
    endpoint: str = ""  # of an Azure store: everything before the container, no `/` at the end
    account: str = ""
    container: str = ""  # or file system, or share

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


def as_blobs(lake: Source) -> Source:
    """A Data Lake's place by its account's endpoint for blobs, which serves the same files; errors still name the lake."""
    return replace(lake, kind="blob", endpoint=lake.endpoint.replace(".dfs.", ".blob.", 1))


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
    if scheme in {"abfs", "abfss"}:
        return _abfs(parts, scheme, port)
    if scheme in {"azfile", "azfiles"}:
        return _azfile(parts, scheme, port)
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
    address = _address(host, port, scheme)
    endpoint, path = f"{scheme}://{address}", parts.path.lstrip("/")
    blob, lake, share = (service.fullmatch(host) for service in (_BLOB_HOST, _LAKE_HOST, _FILE_HOST))
    if (blob or lake or share) and scheme == "http":
        raise BadInputError(f"{_bare(parts)}: use https for Azure; plain http would show the data to the network")
    if blob:
        return _blob(endpoint, blob[1], path, parts)
    if lake:
        filesystem, _, path = path.partition("/")
        return _lake(f"abfss://{filesystem}@{address}/", endpoint, lake[1], filesystem, path)
    if share:
        return _share(endpoint, endpoint, share[1], path)
    account, _, rest = path.partition("/")
    own = _is_own(host)
    if (own or port is not None) and _ACCOUNT.fullmatch(account) and _CONTAINER.fullmatch(rest.partition("/")[0]):
        return _blob(f"{endpoint}/{account}", account, rest, parts)
    if scheme == "http" and not _is_loopback(host):
        raise BadInputError(f"{_bare(parts)}: use https; plain http is accepted from this machine only")
    folder, _, name = unquote(parts.path).rpartition("/")
    return Source("https", f"{endpoint}{quote(folder, safe=PATH_SAFE)}/", file=name)


def _abfs(parts: SplitResult, scheme: str, port: int | None) -> Source:
    host, filesystem, path = (parts.hostname or "").lower(), parts.username or "", parts.path.lstrip("/")
    if lake := _LAKE_HOST.fullmatch(host):  # by https under either name: so do the other programs that know these two
        address = _address(host, port, "https")
        return _lake(f"abfss://{filesystem}@{address}/", f"https://{address}", lake[1], filesystem, path)
    account, _, path = path.partition("/")
    if not filesystem or not (_is_own(host) or port is not None) or not _ACCOUNT.fullmatch(account):
        raise BadInputError(f"{_bare(parts)}: write {_LAKE_FORM}, or {scheme}://FILESYSTEM@HOST:PORT/ACCOUNT/PREFIX/")
    web = {"abfs": "http", "abfss": "https"}[scheme]
    # A name's port is kept in any case: it is by its port that the name is known for an emulator's.
    address = f"{_address(host, port, web) if _is_own(host) else f'{host}:{port}'}/{account}"
    return _lake(f"{scheme}://{filesystem}@{address}/", f"{web}://{address}", account, filesystem, path)


def _lake(store_url: str, endpoint: str, account: str, filesystem: str, path: str) -> Source:
    if not _CONTAINER.fullmatch(filesystem):
        raise BadInputError(f"{shown(store_url + path)}: {_no_name('file system', filesystem, _LAKE_FORM)}")
    prefix, open_ended = _below(store_url, path)
    return Source("datalake", store_url, prefix, "", open_ended, endpoint, account, filesystem)


def _below(store_url: str, path: str) -> tuple[str, bool]:
    """As `_folder`, of a store with real directories."""
    names = [name for name in unquote(path).split("/") if name]  # a hierarchy has no empty names
    if {".", ".."} & set(names):
        raise BadInputError(f"{shown(store_url + path)}: a path with a segment '.' or '..'; name the folder itself")
    return "".join(f"{name}/" for name in names), bool(names) and not path.endswith("/")


def _azfile(parts: SplitResult, scheme: str, port: int | None) -> Source:
    host, web = (parts.hostname or "").lower(), {"azfile": "http", "azfiles": "https"}[scheme]
    if _FILE_HOST.fullmatch(host):
        return _web(parts, web, port)
    account, _, path = parts.path.lstrip("/").partition("/")
    if not host or not _ACCOUNT.fullmatch(account):
        raise BadInputError(f"{_bare(parts)}: write {scheme}://HOST:PORT/ACCOUNT/SHARE/PREFIX/")
    known = web == "https" or _is_own(host)
    if not known and port is None:
        plain = "azfile is plain http, which would show the data to the network"
        raise BadInputError(f"{_bare(parts)}: use azfiles; {plain}")
    # A name's port is kept in any case: it is by its port that the name is known for an emulator's.
    address = f"{_address(host, port, web) if known else f'{host}:{port}'}/{account}"
    return _share(f"{scheme}://{address}", f"{web}://{address}", account, path)


def _no_name(what: str, name: str, form: str) -> str:
    """What to say of a name that no container, file system or share has."""
    if not name:
        return f"names no {what}; write {form}"
    return f"a {what}'s name has 3 to 63 lower case letters, digits and single '-'; check {name[:80]!r}"


def _share(named: str, endpoint: str, account: str, path: str) -> Source:
    share, _, rest = path.partition("/")
    if not _SHARE.fullmatch(share):
        form = "https://ACCOUNT.file.core.windows.net/SHARE/"
        raise BadInputError(f"{shown(f'{named}/{path}')}: {_no_name('share', share, form)}")
    prefix, open_ended = _below(f"{named}/{share}/", rest)
    return Source("share", f"{named}/{share}/", prefix, "", open_ended, endpoint, account, share)


def _address(host: str, port: int | None, web: str) -> str:
    literal = f"[{host}]" if ":" in host else host
    return literal if port in {None, _DEFAULT_PORTS[web]} else f"{literal}:{port}"


def _blob(endpoint: str, account: str, path: str, parts: SplitResult) -> Source:
    container, _, rest = path.partition("/")
    if not _CONTAINER.fullmatch(container):
        form = "https://ACCOUNT.blob.core.windows.net/CONTAINER/"
        raise BadInputError(f"{_bare(parts)}: {_no_name('container', container, form)}")
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


def _no_scheme(text: str, scheme: str) -> str:
    if not scheme:
        folder = redact(file_url(Path(text)))[:200]
        return f"{shown(text)} is no URL; for a local folder write {folder}" if text else "the source is empty"
    return f"{shown(scheme + ':')} is no scheme that Moorage knows; use file, https, http, wasbs, abfss or azfiles"
