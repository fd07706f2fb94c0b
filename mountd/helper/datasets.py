"""The datasets that a helper has open, and reads of them: the mount's own reader, asked in batches.

A dataset is one manifest file, told apart by the file itself and not by what it says of itself, so that no client can put
another's bytes under its digest. It is opened once for all connections, and closed when nobody has it and another needs its
place. All reads of a batch are begun before the first is waited for, so a batch of small misses takes one round trip.

Invariant: what all batches hold at once stays below the `Gate`'s limit, but for one that alone is larger.
"""

import os
import stat
import threading
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from mountd.cache.folder import Descriptor
from mountd.composing import Common, Reading
from mountd.contract.helping import INLINE_BYTES, MOST_DATASETS
from mountd.dataset.extents import FileKey, clip
from mountd.dataset.manifest import Manifest
from mountd.errors import BadInputError, MountdError, NotFoundError
from mountd.reading.needed import LONGEST
from mountd.reading.reader import Parts
from mountd.stores.credentials import Credential

Read = tuple[int, int, int]
Identity = tuple[int, int, int]


@dataclass(slots=True)
class Opened:
    """One open dataset; `users` is the table's to count."""

    identity: Identity
    reading: Reading
    parts: ExitStack
    users: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """What a read came to: a part of a segment, or bytes."""

    size: int
    parts: Parts = ()
    segment: Descriptor | None = None
    position: int = 0


class Datasets:
    """The table of what is open. The lock protects the table, its counts, and that one is opened at a time."""

    def __init__(self, common: Common, credentials_for: Callable[[Sequence[str]], Mapping[str, Credential]]) -> None:
        self._common, self._credentials_for = common, credentials_for
        self._lock = threading.Lock()
        self._opened: dict[Identity, Opened] = {}

    def __len__(self) -> int:
        return len(self._opened)

    def open(self, path: Path) -> Opened:
        """The dataset of the manifest file `path`, for one user more.

        Raises:
            NotFoundError: there is no such file.
            BadInputError: it is no manifest, or too many are open.
        """
        identity = _identity(path)
        with self._lock:
            found = self._opened.get(identity)
            if found is None:
                self._make_room()
                found = self._opened[identity] = self._open(path, identity)
            found.users += 1
            return found

    def release(self, opened: Opened) -> None:
        """One user less; it stays open until its place is needed."""
        with self._lock:
            opened.users -= 1

    def close(self) -> None:
        """Close all; nobody reads any more."""
        for opened in self._opened.values():
            opened.parts.close()

    def _make_room(self) -> None:
        if len(self._opened) < MOST_DATASETS:
            return
        free = next((each for each in self._opened.values() if not each.users), None)
        if free is None:
            raise BadInputError(f"the helper has {MOST_DATASETS} datasets open, its most; close one")
        del self._opened[free.identity]
        free.parts.close()

    def _open(self, path: Path, identity: Identity) -> Opened:
        with ExitStack() as parts:
            manifest = parts.enter_context(Manifest.open(path))
            credentials = self._credentials_for(manifest.sources)
            return Opened(identity, Reading.open(manifest, credentials, self._common, parts), parts.pop_all())


def _identity(path: Path) -> Identity:
    if not path.is_absolute():
        raise BadInputError(f"{path}: a helper takes absolute paths")
    try:
        told = path.stat()
    except OSError as error:
        raise NotFoundError(f"{path}: no manifest to open ({error.strerror})") from None
    if not stat.S_ISREG(told.st_mode):
        raise BadInputError(f"{path}: not a manifest, and no file at all")
    return told.st_dev, told.st_ino, told.st_mtime_ns


@dataclass(slots=True)
class Gate:
    """How many bytes all batches may hold at once. The condition protects `used_bytes`."""

    limit_bytes: int
    used_bytes: int = 0
    condition: threading.Condition = field(default_factory=threading.Condition)

    @contextmanager
    def holding(self, size_bytes: int) -> Iterator[None]:
        """Wait until there is room for `size_bytes`, and hold them."""
        with self.condition:
            self.condition.wait_for(lambda: not self.used_bytes or self.used_bytes + size_bytes <= self.limit_bytes)
            self.used_bytes += size_bytes
        try:
            yield
        finally:
            with self.condition:
                self.used_bytes -= size_bytes
                self.condition.notify_all()


class _Batch:
    """The reads of one request that are under way. The condition protects what came."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._came: dict[int, Parts | MountdError] = {}

    def answer(self, number: int, result: Parts | MountdError) -> None:
        with self._condition:
            self._came[number] = result
            self._condition.notify()

    def wait(self, numbers: Sequence[int]) -> dict[int, Parts]:
        """What read `numbers` brought; every flight ends, by its deadline at the latest."""
        with self._condition:
            self._condition.wait_for(lambda: len(self._came) == len(numbers))
        for result in self._came.values():
            if isinstance(result, MountdError):
                raise result
        return {number: came for number, came in self._came.items() if not isinstance(came, MountdError)}


def sizes(reading: Reading, reads: Sequence[Read]) -> list[int]:
    """How many bytes each read will bring."""
    return [clip(offset, size, reading.files.file(inode).size) for inode, offset, size in reads]


def read_all(reading: Reading, common: Common, reads: Sequence[Read], wanted: Sequence[int]) -> list[Found]:
    """Read each (inode, offset, size), of which the file has `wanted` bytes.

    Raises:
        MountdError: the first failure of any; the others go on for nobody.
    """
    found: dict[int, Found] = {}
    batch, waiting = _Batch(), []
    for number, ((inode, offset, _), size) in enumerate(zip(reads, wanted, strict=True)):
        file = reading.files.file(inode)
        placed = _placed(reading, common, file, offset, size)
        if placed is not None:
            found[number] = placed
            continue
        parts = reading.files.start_read(inode, offset, size, partial(batch.answer, number))
        if parts is None:
            waiting.append(number)
        else:
            found[number] = Found(size, parts)
    for number, parts in batch.wait(waiting).items():
        found[number] = Found(wanted[number], parts)
    return [found[number] for number in range(len(reads))]


def _placed(reading: Reading, common: Common, file: FileKey, offset: int, size: int) -> Found | None:
    """A large read that one extent of the disk cache has is answered with the place where it lies."""
    disk = reading.cache.disk
    if disk is None or size <= INLINE_BYTES or reading.reader.reads_in_place(file):
        return None
    place = disk.place(file.digest, offset, size)
    if place is None:
        return None
    common.metrics.add_read(size)
    common.metrics.add("cache_hits")
    reading.plan.note(file.inode)
    return Found(size, (), *place)


def follow(reading: Reading, digest: str, descriptor: int) -> None:
    """Fetch along the plan in `descriptor`, as a mount does.

    Raises:
        BadInputError: it was made for another dataset, or is too long.
    """
    size = os.fstat(descriptor).st_size
    if digest != reading.manifest.digest or size % 4 or size // 4 > LONGEST:
        raise BadInputError(f"a plan for another dataset, or longer than {LONGEST}; make it from this dataset")
    order = array("I")
    order.frombytes(os.pread(descriptor, size, 0))
    if order and reading.manifest.entry(max(order)) is None:
        raise BadInputError(f"the plan names inode {max(order)}, which the dataset does not have")

    def to_fetch(inode: int) -> FileKey | None:
        file = reading.files.file(inode)
        return None if reading.reader.reads_in_place(file) else file

    reading.plan.follow(order, to_fetch)
