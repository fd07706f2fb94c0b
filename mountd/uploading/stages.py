"""Staged bytes: one plain file for each content of a file that is written, named by a number, in a folder of the spool.

A stage that is on its way to the store is *held*: whoever wants to write to it makes a copy first, so that what is sent is
one version. What the store has already may be dropped when room is wanted; the rest is what the limit is for.

The lock protects the numbers, the sizes and who holds what; files are touched outside it.
"""

import contextlib
import errno
import os
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Final

from mountd.uploading.tree import Space

_COPY_BYTES: Final = 64 << 20
# What stages leave of the disk, so that the journal can always say what became of them.
_JOURNAL_BYTES: Final = 2 << 20
_MOST_KEPT_BYTES: Final = 64 << 20


class Stages:
    """The stages in `folder`, at most `limit_bytes` together; `relieve` is asked for room and says if it made some."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        self._folder, self._limit = folder, limit_bytes
        self._lock = threading.Lock()
        self._sizes = {int(path.name): path.stat().st_size for path in folder.iterdir()}
        self._next = max(self._sizes, default=0) + 1
        self._held: Counter[int] = Counter()
        self._condemned: set[int] = set()
        self.relieve: Callable[[], bool] = lambda: False

    @property
    def used_bytes(self) -> int:
        """What all stages take together."""
        with self._lock:
            return sum(self._sizes.values())

    def keep(self, wanted: Collection[int]) -> None:
        """Remove the stages that the journal does not name: nobody ever closed what is in them."""
        for stage in set(self._sizes) - set(wanted):
            self.remove(stage)

    def has(self, stage: int) -> bool:
        """Whether there is such a stage."""
        with self._lock:
            return stage in self._sizes

    def path(self, stage: int) -> Path:
        """The file of a stage."""
        return self._folder / str(stage)

    def new(self) -> tuple[int, int]:
        """An empty stage, and a descriptor to read and write it."""
        with self._lock:
            stage, self._next = self._next, self._next + 1
            self._sizes[stage] = 0
        return stage, os.open(self.path(stage), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def open(self, stage: int) -> int:
        """A descriptor of a stage that is there."""
        return os.open(self.path(stage), os.O_RDWR | os.O_CLOEXEC)

    def size(self, stage: int) -> int:
        """The bytes of a stage."""
        return self.path(stage).stat().st_size

    def copy(self, stage: int) -> tuple[int, int]:
        """A new stage with the same bytes; ENOSPC."""
        size = self.size(stage)
        new, descriptor = self.new()
        try:
            self.reserve(new, size)
            with self.path(stage).open("rb") as source:
                offset = 0
                while count := os.copy_file_range(source.fileno(), descriptor, _COPY_BYTES, offset, offset):
                    offset += count
        except BaseException:
            os.close(descriptor)
            self.remove(new)
            raise
        return new, descriptor

    def reserve(self, stage: int, size: int) -> None:
        """Let a stage be `size` bytes long, if there is room.

        Raises:
            OSError: ENOSPC.
        """
        while not self._grown(stage, size):
            if not self.relieve():
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(self._folder))

    def _grown(self, stage: int, size: int) -> bool:
        disk = os.statvfs(self._folder)
        total, free = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
        kept = max(_JOURNAL_BYTES, min(_MOST_KEPT_BYTES, total // 20))
        with self._lock:
            more = size - self._sizes.get(stage, 0)
            if more > 0 and free - more < kept:
                return False
            others = sum(self._sizes.values()) - self._sizes.get(stage, 0)
            if size > self._sizes.get(stage, 0) and others + size > self._limit:
                return False
            self._sizes[stage] = size
            return True

    @contextlib.contextmanager
    def hold(self, stage: int) -> Iterator[None]:
        """Nobody writes to the stage, or removes it."""
        self.take(stage)
        try:
            yield
        finally:
            self.let(stage)

    def take(self, stage: int) -> None:
        """Begin to hold a stage."""
        with self._lock:
            self._held[stage] += 1

    def let(self, stage: int) -> None:
        """Hold it no more."""
        with self._lock:
            self._held[stage] -= 1
            gone = not self._held[stage] and stage in self._condemned
        if gone:
            self.remove(stage)

    def is_held(self, stage: int) -> bool:
        """True while somebody sends it."""
        with self._lock:
            return self._held[stage] > 0

    def remove(self, stage: int) -> None:
        """Remove a stage, as soon as nobody holds it."""
        with self._lock:
            if self._held[stage] > 0:
                self._condemned.add(stage)
                return
            self._condemned.discard(stage)
            self._sizes.pop(stage, None)
        self.path(stage).unlink(missing_ok=True)

    def space(self, files: int) -> Space:
        """The room that is left, of the limit or of the disk."""
        disk = shutil.disk_usage(self._folder)
        free = max(0, min(self._limit - self.used_bytes, disk.free))
        return Space(min(self._limit, disk.total), free, files)

    def flush(self) -> None:
        """Make the names of new stages survive a power cut."""
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
