"""A plain folder, a web server that serves it, and mounts of it: the world of the tests that compare mount and folder.

The folder is the truth. `Served` gives every file of it over http with ranges and an ETag, straight from its disk, and
freezes a manifest of it; `mount` mounts that, any number of times. `read_apart` reads mounted files in a process of its own,
and does something else meanwhile.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from mountd import client
from mountd.dataset.manifest import FrozenFile, write_manifest
from mountd.fuse import mounting
from tests.support import reading_apart
from tests.support.content import content
from tests.support.http_server import HttpServer
from tests.support.mounts import is_running
from tests.support.waiting import until

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
SPARSE_BYTES = 5 * GIB
_ISLAND_BYTES = 384 * KIB
WAYS = ("pread", "seek", "mmap", "dup", "fork")


@dataclass(frozen=True, slots=True)
class FileBody:
    """What a server sends: a file of this machine, of which it reads what is asked for."""

    path: Path

    def __len__(self) -> int:
        return self.path.stat().st_size

    def __getitem__(self, part: slice) -> bytes:
        start, stop, _ = part.indices(len(self))
        with self.path.open("rb") as stream:
            return os.pread(stream.fileno(), max(0, stop - start), start)


def drop_pages(path: Path) -> None:
    """Make the kernel forget the pages of a file, or the listing of a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def make_sparse(path: Path) -> None:
    """A file of 5 GiB: holes, and content around every GiB and at the end."""
    with path.open("wb") as stream:
        stream.truncate(SPARSE_BYTES)
        for middle in range(0, SPARSE_BYTES + 1, GIB):
            start = max(0, min(middle - _ISLAND_BYTES // 2, SPARSE_BYTES - _ISLAND_BYTES))
            stream.seek(start)
            stream.write(content("sparse", start, _ISLAND_BYTES))


@dataclass(frozen=True, slots=True)
class Served:
    """A served folder: `plain` is the folder, `files` its files' paths in it."""

    server: HttpServer
    plain: Path
    manifest: Path
    files: tuple[str, ...]

    @contextmanager
    def mount(self, mountpoint: Path, **settings: str) -> Iterator[client.Mount]:
        """Mount it; afterwards neither mount nor worker may be left."""
        with client.start(self.manifest, mountpoint, settings=settings, lifeline=True) as mount:
            yield mount
        assert mounting.find(mountpoint) is None
        until(lambda: not is_running(mount.pid), what="the end of the worker")

    def read(
        self, mount: client.Mount, path: str, offset: int = 0, size: int = -1, way: str = "pread", *, drop: bool = True
    ) -> reading_apart.Read:
        """One read for `read_apart`; without a size all that there is."""
        plain = self.plain / path
        return way, str(mount.mountpoint / path), str(plain), offset, plain.stat().st_size if size < 0 else size, drop


@contextmanager
def served(
    plain: Path, manifest: Path, front: Callable[[str], AbstractContextManager[str]] = nullcontext
) -> Iterator[Served]:
    """Serve the folder `plain` for the length of a `with` block; `front` puts something before the server's endpoint."""
    found = sorted(path.relative_to(plain) for path in plain.rglob("*"))
    with HttpServer.start() as server, front(server.endpoint) as endpoint:
        frozen = []
        for path in map(str, found):
            told, is_directory = (plain / path).stat(), (plain / path).is_dir()
            frozen.append(FrozenFile(path, 0 if is_directory else told.st_size, "1", told.st_mtime_ns, is_directory))
            if not is_directory:
                server.put(f"/tree/{path}", FileBody(plain / path), etag='"1"')
        write_manifest(manifest, [f"{endpoint}/tree/"], frozen)
        yield Served(server, plain, manifest, tuple(each.path for each in frozen if not each.is_directory))


def read_apart(
    reads: Sequence[reading_apart.Read], meanwhile: Iterable[Callable[[], object]] = (), *, threads: int = 8
) -> list[str]:
    """Do the reads in another process with so many threads; return a verdict for each, in their order.

    Something of `meanwhile` is done each time that a read has ended, while the others go on.
    """
    verdicts = ["not read"] * len(reads)
    command = [sys.executable, "-I", "-S", reading_apart.__file__]
    doings = iter(meanwhile)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        with process.stdin:
            json.dump([threads, reads], process.stdin)
        for line in process.stdout:
            number, _, verdict = line.strip().partition(" ")
            verdicts[int(number)] = verdict
            if doing := next(doings, None):
                doing()
    assert process.returncode == 0, f"the reading process ended with {process.returncode}"
    return verdicts


def wrong(reads: Sequence[reading_apart.Read], verdicts: Sequence[str]) -> list[tuple[str, reading_apart.Read]]:
    """The reads that were not right, with their verdicts."""
    return [(verdict, read) for read, verdict in zip(reads, verdicts, strict=True) if verdict != "right"]
