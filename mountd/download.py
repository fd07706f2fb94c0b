"""The path without FUSE: a manifest and its stores become a folder of plain files.

Two passes over the manifest. The first only looks: each path is checked again, what stands in the target is compared, and
nothing is written before it is clear that nothing is in the way and that the disk is large enough. The second fetches, in
ranges of 4 MiB spread over a pool of threads; whichever thread brings a file's last range verifies the file and moves it
to its place. All calls of `progress` come from the calling thread.

A file in the target counts as fetched already if its size and time are the manifest's and it is known whose bytes it has:
either the record of this target (a file `.NAME.moorage-download` beside it) names the same manifest, or the manifest knows
its MD5 and the bytes agree. So a broken-off download goes on where it ended, and a finished one is over at once.

Invariants: a file in the target is whole and verified, or absent; the target ends with exactly the entries of the manifest
and no trace of ours; nothing is written through a symbolic link, nor outside the target; one download fills a target at a
time. Works wherever Python does.
"""

import hashlib
import json
import os
import shutil
import stat
import threading
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mountd.dataset import paths
from mountd.dataset.manifest import Entry, Manifest
from mountd.errors import BadInputError, CorruptDataError, DestinationExistsError, HostilePathError
from mountd.stores import registry
from mountd.units import format_size

if TYPE_CHECKING:
    from mountd.stores.base import RangeReader
    from mountd.stores.credentials import Credential

RANGE_BYTES: Final = 4 << 20
THREADS: Final = 16
_PARTS: Final = ".moorage-download"  # files on their way, inside the target so that a rename is enough
_AHEAD: Final = 4  # tasks that wait for each thread: enough to keep it busy, and a bound for ten million files
_SPARE_BYTES: Final = 16 << 20

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Downloaded:
    """What one call did: `files` and `size_bytes` of the whole target, `fetched_bytes` of this call alone."""

    files: int
    size_bytes: int
    fetched_bytes: int
    seconds: float


@dataclass(slots=True)
class _File:
    """One file on its way; the lock protects `missing_bytes`."""

    entry: Entry
    path: str
    part: Path
    place: Path
    replaces: bool
    missing_bytes: int
    lock: threading.Lock = field(default_factory=threading.Lock)

    def arrived(self, size_bytes: int) -> bool:
        """Count `size_bytes`; True for the call that completes the file."""
        with self.lock:
            self.missing_bytes -= size_bytes
            return self.missing_bytes == 0


@dataclass(slots=True)
class _Survey:
    """What the first pass saw: inodes still to fetch, which of them replace a file, and bytes that are there."""

    wanted: "array[int]" = field(default_factory=lambda: array("q"))
    replaced: dict[int, str] = field(default_factory=dict)
    there_bytes: int = 0


def download(
    manifest: Path,
    target: Path,
    *,
    credentials: "Mapping[str, Credential] | None" = None,
    overwrite: bool = False,
    threads: int = THREADS,
    progress: Progress | None = None,
    deadline_s: float = 60,
    verify_wire: bool = False,
) -> Downloaded:
    """Bring every file of `manifest` into the folder `target`, which is made if need be.

    `credentials` go by the URLs of the manifest's sources. `progress` gets (bytes there, bytes in all). Each read of a
    store ends within `deadline_s`. `verify_wire`: each range is compared with its MD5 as it comes, where the store has one.

    Raises:
        DestinationExistsError: another file is in the way and `overwrite` is False; nothing was written.
        BadInputError: the target cannot be used: a link, inside its own source, not writable, not enough space.
        MountdError: as the stores and the manifest raise it; every file in the target is whole all the same.
    """
    begin = time.monotonic()
    with Manifest.open(manifest) as opened, _translated(target):
        if verify_wire:
            registry.require_verifiable(opened.sources)
        root = _usable(target, opened.sources)
        record = _Record(root)
        survey = _surveyed(opened, root, record, overwrite=overwrite)
        _require_space(root, opened.size_bytes - survey.there_bytes)
        open_reader = partial(registry.open_reader, deadline_s=deadline_s, verified=verify_wire)
        readers = [open_reader(url, (credentials or {}).get(url)) for url in opened.sources]
        root.mkdir(parents=True, exist_ok=True)
        with _alone(root):
            record.write(opened.digest, survey.replaced.values())
            fetched = _fetch_all(opened, root, survey, readers, threads, progress)
            record.write(opened.digest, ())
        return Downloaded(opened.file_count, opened.size_bytes, fetched, time.monotonic() - begin)


class _Record:
    """What is known of a target: the manifest whose files lie there, and those of them that were not yet replaced."""

    def __init__(self, root: Path) -> None:
        self._path = root.parent / f".{root.name[:200]}.moorage-download"
        self.digest, self.doubtful = "", frozenset[str]()
        with suppress(OSError, ValueError, KeyError, TypeError):
            told = json.loads(self._path.read_bytes())
            self.digest, self.doubtful = str(told["digest"]), frozenset(map(str, told["doubtful"]))

    def write(self, digest: str, doubtful: Iterable[str]) -> None:
        """Replace the record. A folder that takes none only costs the knowledge: the next call looks harder."""
        whole = self._path.with_name(self._path.name + ".new")
        with suppress(OSError):
            whole.write_text(json.dumps({"digest": digest, "doubtful": sorted(doubtful)}))
            whole.replace(self._path)


@contextmanager
def _translated(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = error.filename or target
        raise BadInputError(f"{where}: cannot be written ({error.strerror or error}); choose another target") from error


def _usable(target: Path, sources: Sequence[str]) -> Path:
    """The target without links in it, once it is clear that it is a folder outside its own sources."""
    root = target.resolve()
    if root.exists() and not root.is_dir():
        raise DestinationExistsError(f"{target}: is a file; choose a folder as the target")
    for url in sources:
        source = registry.parse_source(url)
        if source.kind == "file" and root.is_relative_to(folder := registry.local_path(source).resolve()):
            raise BadInputError(f"{target}: lies in the source {folder} itself; choose a target outside it")
    return root


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Hold the target: two downloads at once would write into each other's unfinished files.

    Where a system or a file system has no such lock, it goes without.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DestinationExistsError(f"{root}: another download fills it; wait for its end, then go on") from None
        except OSError:
            pass  # over some network file systems
        yield
    finally:
        os.close(descriptor)


def _place(root: Path, path: str) -> Path:
    """Where `path` goes below `root`; the manifest checked it when it was written, and a manifest may be forged."""
    names = [paths.decode(name) for name in paths.split(path)]
    separators = [each for each in (os.sep, os.altsep) if each]
    if names[0] == _PARTS or any(Path(name).drive or any(each in name for each in separators) for name in names):
        raise HostilePathError(f"{path!r}: cannot be a file here; leave it out with a narrower source")
    return root.joinpath(*names)


def _surveyed(manifest: Manifest, root: Path, record: _Record, *, overwrite: bool) -> _Survey:
    survey, in_the_way = _Survey(), list[str]()
    for path, entry in manifest.walk():
        place = _place(root, path)
        manifest.check_place(path, entry)
        there = _look(place)
        if there is None:
            if not entry.is_directory:
                survey.wanted.append(entry.inode)
        elif stat.S_ISDIR(there.st_mode) != entry.is_directory:
            raise DestinationExistsError(f"{place}: {'a file' if entry.is_directory else 'a folder'} is in the way")
        elif entry.is_directory:
            continue
        elif _same(place, there, entry, known=record.digest == manifest.digest and path not in record.doubtful):
            survey.there_bytes += entry.size
        else:
            in_the_way.append(str(place))
            survey.wanted.append(entry.inode)
            survey.replaced[entry.inode] = path
    if in_the_way and not overwrite:
        more = f" and {len(in_the_way) - 3} more" if len(in_the_way) > 3 else ""
        raise DestinationExistsError(
            f"{', '.join(in_the_way[:3])}{more}: in the way, and different; remove or overwrite"
        )
    return survey


def _look(place: Path) -> os.stat_result | None:
    try:
        there = place.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not (stat.S_ISDIR(there.st_mode) or stat.S_ISREG(there.st_mode)):
        raise BadInputError(
            f"{place}: a link or special file in the target; nothing is written through it, so remove it"
        )
    return there


def _same(place: Path, there: os.stat_result, entry: Entry, *, known: bool) -> bool:
    # Some file systems keep times to 100 ns only.
    if there.st_size != entry.size or there.st_mtime_ns // 100 != entry.mtime_ns // 100:
        return False
    return known or (entry.md5 is not None and _md5(place) == entry.md5)


def _require_space(root: Path, needed_bytes: int) -> None:
    existing = next(each for each in (root, *root.parents) if each.is_dir())
    free = shutil.disk_usage(existing).free
    wanted = needed_bytes + _SPARE_BYTES if needed_bytes else 0
    if wanted > free:
        raise BadInputError(f"{root}: needs {format_size(wanted)} and has {format_size(free)}; mount it, or make room")


def _fetch_all(
    manifest: Manifest,
    root: Path,
    survey: _Survey,
    readers: "Sequence[RangeReader]",
    threads: int,
    progress: Progress | None,
) -> int:
    """Make the folders, fetch what is wanted, date the folders; return the bytes fetched."""
    report = progress or (lambda _, __: None)
    folders = [(_place(root, path), entry) for path, entry in manifest.walk() if entry.is_directory]
    for place, _ in folders:
        place.mkdir(exist_ok=True)
    parts = root / _PARTS
    shutil.rmtree(parts, ignore_errors=True)  # what a killed download left
    parts.mkdir()
    fetched = 0
    report(survey.there_bytes, manifest.size_bytes)
    try:
        for size_bytes in _run(_tasks(manifest, root, survey, readers), threads):
            fetched += size_bytes
            report(survey.there_bytes + fetched, manifest.size_bytes)
    finally:
        shutil.rmtree(parts, ignore_errors=True)
    for place, entry in reversed(folders):
        os.utime(place, ns=(entry.mtime_ns, entry.mtime_ns))
    return fetched


def _tasks(
    manifest: Manifest, root: Path, survey: _Survey, readers: "Sequence[RangeReader]"
) -> Iterator[Callable[[], int]]:
    """Yield one task for each range of each wanted file; a task returns the bytes it brought."""
    for inode in survey.wanted:
        entry = manifest.entry(inode)
        if entry is None:
            continue
        path = manifest.path(entry)
        part, replaces = root / _PARTS / str(inode), inode in survey.replaced
        file = _File(entry, path, part, _place(root, path), replaces, entry.size)
        key, reader = manifest.key(entry), readers[entry.source]
        with part.open("xb") as stream:
            stream.truncate(entry.size)
        for offset in range(0, max(entry.size, 1), RANGE_BYTES):
            yield _task(file, reader, key, offset)


def _task(file: _File, reader: "RangeReader", key: str, offset: int) -> Callable[[], int]:
    return lambda: _fetch(file, reader, key, offset, min(RANGE_BYTES, file.entry.size - offset))


def _fetch(file: _File, reader: "RangeReader", key: str, offset: int, size: int) -> int:
    data = reader.read(key, offset, size, file.entry.etag) if size else b""
    if len(data) != size:
        raise CorruptDataError(f"{reader.url}{key}: {len(data)} bytes came for {size} asked; try again")
    with file.part.open("r+b") as stream:
        stream.seek(offset)
        stream.write(data)
    if file.arrived(size):
        _finish(file, reader.url + key)
    return size


def _finish(file: _File, address: str) -> None:
    """Verify the whole file and move it to its place, dated as the manifest says."""
    entry = file.entry
    with file.part.open("r+b") as stream:
        os.fsync(stream.fileno())
    if entry.md5 is not None and _md5(file.part) != entry.md5:
        raise CorruptDataError(
            f"{address}: the bytes do not have the MD5 that the store promised; freeze and try again"
        )
    os.utime(file.part, ns=(entry.mtime_ns, entry.mtime_ns))
    if not file.replaces and os.path.lexists(file.place):
        # Another process, or a file system that takes two names of the manifest for one.
        raise DestinationExistsError(f"{file.place}: appeared during the download; give each download its own target")
    file.part.replace(file.place)


def _md5(path: Path) -> bytes:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).digest()


def _run(tasks: Iterable[Callable[[], int]], threads: int) -> Iterator[int]:
    """Run `tasks` in threads, a bounded number of them ahead; yield results; the first error ends it all."""
    waiting: set[Future[int]] = set()
    pool = ThreadPoolExecutor(threads, "download")
    try:
        for task in tasks:
            waiting.add(pool.submit(task))
            if len(waiting) >= threads * _AHEAD:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from [each.result() for each in done]
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from [each.result() for each in done]
    finally:
        pool.shutdown(cancel_futures=True)
