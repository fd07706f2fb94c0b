"""What has drifted: a manifest against its sources as they are now, by listing them, without reading a byte of data.

The listing streams past the manifest, in which each key is looked up; a bit for each entry remembers that it was seen, so
ten million files cost a megabyte. A web server cannot be listed: there each file is asked for by name.

Of what changed or is gone in a store that keeps versions it is asked whether the frozen one is among them: a request for
each such file, some at a time.

A manifest does not know by which pattern it was frozen. So what its sources hold beside it is told only to those who ask.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Literal

from mountd.dataset import paths
from mountd.dataset.manifest import Entry, Manifest
from mountd.errors import NotFoundError
from mountd.stores import registry
from mountd.stores.base import Lister, ObjectInfo
from mountd.stores.credentials import Credential

_DEADLINE_S = 60.0
_ASKED_AT_ONCE = 8
_CONTROL = ".moorage/"


@dataclass(frozen=True, slots=True)
class Drift:
    """One file that is not as it was frozen; ETag and size are empty and None where there is none.

    `kept`: whether the store keeps what was frozen as a version or snapshot, so that it is still read; None if not asked.
    """

    kind: Literal["changed", "gone", "new"]
    path: str
    frozen_etag: str = ""
    found_etag: str = ""
    frozen_size: int | None = None
    found_size: int | None = None
    kept: bool | None = None


def diff(
    manifest: Path, credentials: Mapping[str, Credential], *, new: bool = False, deadline_s: float = _DEADLINE_S
) -> Iterator[Drift]:
    """Yield what differs between `manifest` and its sources: changed, then gone; with `new` also what came since.

    Each page of a listing comes within `deadline_s`; `credentials` go by the URL of a source.

    Raises:
        ManifestError: it is none, or damaged.
        AccessDeniedError, StoreUnreachableError: as a store says.
    """
    with Manifest.open(manifest) as opened:
        drifts = _drifts(opened, credentials, new=new, deadline_s=deadline_s)
        yield from _with_kept(opened, credentials, drifts, deadline_s)


def _drifts(
    opened: Manifest, credentials: Mapping[str, Credential], *, new: bool, deadline_s: float
) -> Iterator[Drift]:
    seen = _Seen()
    folders = _folders(opened)
    by_name: dict[int, Lister] = {}
    for number, url in enumerate(opened.sources):
        lister = registry.open_lister(url, credentials.get(url), deadline_s=deadline_s)
        if registry.parse_source(url).kind == "https":
            by_name[number] = lister
        else:
            yield from _listed(opened, number, lister, sorted(folders.get(number, ())), seen, new=new)
    yield from _asked_by_name(opened, by_name, seen)
    for path, entry in opened.files():
        if entry.inode not in seen:
            yield Drift("gone", path, frozen_etag=entry.etag, frozen_size=entry.size)


def _with_kept(
    manifest: Manifest, credentials: Mapping[str, Credential], drifts: Iterator[Drift], deadline_s: float
) -> Iterator[Drift]:
    """`drifts` with what their stores keep, in the same order."""
    stores = [registry.open_keeping(url, credentials.get(url), deadline_s=deadline_s) for url in manifest.sources]

    def asked(drift: Drift) -> Callable[[], Drift]:
        entry = None if drift.kind == "new" else manifest.find(drift.path)
        keeps = None if entry is None else stores[entry.source]
        if entry is None or keeps is None:
            return lambda: drift
        key = manifest.key(entry)
        return lambda: replace(drift, kept=keeps(key, drift.frozen_etag))

    with ThreadPoolExecutor(_ASKED_AT_ONCE, "versions") as pool:
        while some := [asked(drift) for drift in islice(drifts, _ASKED_AT_ONCE * 4)]:
            yield from pool.map(lambda ask: ask(), some)


def compare(older: Path, newer: Path) -> Iterator[Drift]:
    """Yield what differs between two manifests, in the order of the tree; nobody is asked, and memory does not grow.

    Raises:
        ManifestError: one is none, or damaged.
    """
    with Manifest.open(older) as old, Manifest.open(newer) as new:
        left, right = _in_order(old), _in_order(new)
        gone, came = next(left, None), next(right, None)
        while gone is not None or came is not None:
            if came is None or (gone is not None and gone[0] < came[0]):
                assert gone is not None  # noqa: S101  # for mypy: one of the two is there
                yield Drift("gone", gone[1], frozen_etag=gone[2].etag, frozen_size=gone[2].size)
                gone = next(left, None)
            elif gone is None or came[0] < gone[0]:
                yield Drift("new", came[1], found_etag=came[2].etag, found_size=came[2].size)
                came = next(right, None)
            else:
                was, now = gone[2], came[2]
                if (was.etag, was.size) != (now.etag, now.size) or old.sources[was.source] != new.sources[now.source]:
                    yield Drift("changed", came[1], was.etag, now.etag, was.size, now.size)
                gone, came = next(left, None), next(right, None)


def _in_order(manifest: Manifest) -> Iterator[tuple[bytes, str, Entry]]:
    """(sort key, path, entry) of each file: a manifest's own order is that of paths whose `/` is less than any character."""
    return ((paths.encode(path).replace(b"/", b"\0"), path, entry) for path, entry in manifest.files())


class _Seen:
    """The inodes that were met: a bit for each."""

    def __init__(self) -> None:
        self._bits = bytearray()

    def add(self, inode: int) -> None:
        place = inode >> 3
        if place >= len(self._bits):
            self._bits.extend(bytes(place + 1 - len(self._bits)))
        self._bits[place] |= 1 << (inode & 7)

    def __contains__(self, inode: int) -> bool:
        place = inode >> 3
        return place < len(self._bits) and bool(self._bits[place] >> (inode & 7) & 1)


def _folders(manifest: Manifest) -> dict[int, set[str]]:
    """For each source the folders of the tree that its keys lie below: '' where path and key are the same."""
    found: dict[int, set[str]] = {}
    for path, entry in manifest.files():
        key = manifest.key(entry)
        if path.endswith(key):  # as the freeze makes them
            found.setdefault(entry.source, set()).add(path.removesuffix(key))
    return found


def _listed(
    manifest: Manifest, number: int, lister: Lister, folders: list[str], seen: _Seen, *, new: bool
) -> Iterator[Drift]:
    try:
        for info in lister.list():
            if info.is_directory or info.key.endswith("/") or info.key.startswith(_CONTROL):
                continue
            is_known = False
            for folder in folders:
                entry = manifest.find(folder + info.key)
                if entry is None or entry.is_directory or entry.source != number:
                    continue
                is_known = True
                seen.add(entry.inode)
                yield from _changed(folder + info.key, entry, info)
            if new and not is_known:
                yield Drift("new", info.key, found_etag=info.etag, found_size=info.size)
    except NotFoundError:
        return  # the container or folder is gone, and so is all that was in it


def _asked_by_name(manifest: Manifest, listers: Mapping[int, Lister], seen: _Seen) -> Iterator[Drift]:
    for path, entry in manifest.files() if listers else ():
        lister = listers.get(entry.source)
        if lister is None:
            continue
        key = manifest.key(entry)
        try:
            found = next((info for info in lister.list(key) if info.key == key), None)
        except NotFoundError:
            found = None
        if found is not None:
            seen.add(entry.inode)
            yield from _changed(path, entry, found)


def _changed(path: str, entry: Entry, info: ObjectInfo) -> Iterator[Drift]:
    if (entry.etag, entry.size) != (info.etag, info.size):
        yield Drift("changed", path, entry.etag, info.etag, entry.size, info.size)
