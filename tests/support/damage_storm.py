"""A program that damages a cache and reads every damaged place: `python -m tests.support.damage_storm FOLDER FLIPS SEED`.

In each round extents are put while the disk's writer is held up. A byte of a third of them is flipped where they wait, in
memory; they are read from memory; then the writer goes on. Of another third a byte of the record in its segment is flipped,
of the rest a byte of the slot in the index, but for a few that nothing is done to; some rounds cut a segment short. Then all
is read from the disk. One flip is one byte of one extent, and every extent is read after it: from memory and from the disk.

It prints what it did as JSON, and fails when a byte that came was wrong, when a flip was not noticed, or when one that
nothing was done to did not come.
"""

import hashlib
import json
import logging
import os
import random
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mountd.cache.appending import Record
from mountd.cache.disk import DiskCache
from mountd.cache.index import Extent, _slots
from mountd.cache.memory import MemoryCache
from mountd.cache.segments import head_bytes, segment_path
from mountd.cache.tiers import Cache
from tests.support.caches import MIB, file_id, opened, segments

EACH_ROUND = 3000
_LIMIT_BYTES = 32 * MIB
_MEMORY_BYTES = 64 * MIB
_ROUNDS_A_CUT = 4
_UNHARMED = 20  # one of so many
_LONG = 500  # one of so many extents has several granules
PLACES = ("memory", "segments", "index")


@dataclass(slots=True)
class Storm:
    """One run; `done` counts flips by their place and truncations."""

    cache: DiskCache
    folder: Path
    chosen: random.Random
    gate: threading.Event
    done: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def round(self, number: int) -> None:
        """Put, damage and read some thousand extents."""
        extents = [f"{number}/{each}" for each in range(EACH_ROUND)]
        places = {each: self._place(at) for at, each in enumerate(extents)}
        memory = MemoryCache(_MEMORY_BYTES)
        self._put_and_flip(memory, places)
        found = {each: self.cache._find(file_id(each), 0, MIB) for each in extents}
        for each, there in found.items():
            if places[each] in {"segments", "index"} and there:
                self._flip_stored(places[each], there[0])
        cut = self._cut(segments(self.folder)) if number % _ROUNDS_A_CUT == 0 else None
        for each, there in found.items():
            if there:
                self._read_stored(each, is_harmed=places[each] != "nothing", is_cut=there[0].segment == cut)

    def _place(self, number: int) -> str:
        return PLACES[number % len(PLACES)] if self.chosen.randrange(_UNHARMED) else "nothing"

    def _put_and_flip(self, memory: MemoryCache, places: dict[str, str]) -> None:
        """Put all, damage what waits, and read it from memory: a damaged one is a miss, every other is right."""
        tiers = Cache(memory, self.cache)
        self.gate.clear()
        waiting: dict[str, bytearray] = {}
        for each in places:
            waiting[each] = bytearray(data_of(each))
            assert memory.reserve(len(waiting[each]), 0)
            assert tiers.keep(file_id(each), 0, waiting[each], ahead=False)
        for each, data in waiting.items():
            if places[each] == "memory":
                data[self.chosen.randrange(len(data))] ^= self.chosen.randrange(1, 256)
                self.done["memory"] += 1
            pieces = memory.read(file_id(each), 0, len(data))
            self._judge(each, [bytes(piece) for _, piece in pieces], is_harmed=places[each] == "memory")
        self.gate.set()
        assert self.cache.drain(60), "the writer hangs"

    def _flip_stored(self, place: str, extent: Extent) -> None:
        if place == "segments":
            path, at = segment_path(self.folder / "segments", extent.segment), extent.position
            at += self.chosen.randrange(head_bytes(extent.length) + extent.length)
        else:
            path, at = self.folder / "index", self._slot_of(extent) + self.chosen.randrange(48)
        descriptor = os.open(path, os.O_RDWR)
        try:
            old = os.pread(descriptor, 1, at)
            self.done[place] += os.pwrite(descriptor, bytes([old[0] ^ self.chosen.randrange(1, 256)]), at)
        finally:
            os.close(descriptor)

    def _slot_of(self, extent: Extent) -> int:
        index = self.cache._index
        assert index is not None
        place = next(index._places(extent.file, 0, 1))
        return place + next(at for at, each in _slots(index._bucket(place), extent.file) if each == extent)

    def _cut(self, paths: list[Path]) -> int | None:
        """Cut the last segment somewhere; the number of it."""
        if not paths:
            return None
        os.truncate(paths[-1], self.chosen.randrange(paths[-1].stat().st_size + 1))
        self.done["truncations"] += 1
        return int(paths[-1].stem, 16)

    def _read_stored(self, extent: str, *, is_harmed: bool, is_cut: bool) -> None:
        pieces = self.cache.read(file_id(extent), 0, len(data_of(extent)))
        came = [bytes(piece) for _, piece in pieces]
        if came or not is_cut:
            self._judge(extent, came, is_harmed=is_harmed)

    def _judge(self, extent: str, came: list[bytes], *, is_harmed: bool) -> None:
        right = [data_of(extent)]
        if came and came != right:
            self.wrong.append(f"{extent}: wrong bytes")
        elif is_harmed == bool(came):
            self.wrong.append(f"{extent}: " + ("the flip was not noticed" if is_harmed else "did not come"))


def data_of(extent: str) -> bytes:
    """The bytes of an extent: a function of its name."""
    digest = hashlib.blake2b(extent.encode(), digest_size=4).digest()
    number = int.from_bytes(digest, "little")
    return hashlib.shake_128(extent.encode()).digest(200_000 if number % _LONG == 0 else 1 + number % 700)


@contextmanager
def held(cache: DiskCache) -> Iterator[threading.Event]:
    """While the event is cleared the cache's writer waits before it stores anything."""
    gate, store = threading.Event(), cache._store
    gate.set()

    def wait_and_store(records: list[Record]) -> None:
        gate.wait()
        store(records)

    cache._store = wait_and_store  # type: ignore[method-assign]
    try:
        yield gate
    finally:
        gate.set()


def main(folder: Path, flips: int, seed: int) -> None:
    """Run until so many bytes were flipped."""
    with opened(folder, _LIMIT_BYTES) as cache, held(cache) as gate:
        storm, number = Storm(cache, folder, random.Random(seed), gate), 0
        while sum(storm.done[place] for place in PLACES) < flips and not storm.wrong:
            storm.round(number)
            number += 1
        json.dump({**storm.done, "dropped": cache.status().corrupt, "wrong": storm.wrong[:20]}, sys.stdout)
    sys.exit(1 if storm.wrong else 0)


if __name__ == "__main__":
    logging.getLogger("mountd.cache").setLevel(logging.ERROR)  # it tells of damaged memory, as it should
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
