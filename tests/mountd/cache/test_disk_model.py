"""Random work on one folder against a list of what was put: no wrong byte, no exception, nothing lost without cause."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from mountd.cache import trim
from mountd.cache.disk import DiskCache
from tests.support.caches import DAMAGES, LIMIT_BYTES, MIB, QUEUE_BYTES, damage, data_of, file_id, files_of, found, put

NAMES = st.sampled_from(["a", "b", "c"])
OFFSETS = st.one_of(st.integers(0, 96).map(lambda n: n * 32 * 1024), st.integers(0, 3 * MIB))
SIZES = st.one_of(st.integers(1, 300_000), st.sampled_from([1, 65_536, 65_537, 131_072, 700_000, MIB]))
PLACES = st.floats(0, 1, exclude_max=True)


class SharedFolder(RuleBasedStateMachine):
    """Two caches on one folder, as two processes have them, and somebody who damages files."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="cache-"))
        self.caches: list[DiskCache] = []
        self.ever: set[tuple[str, int, int]] = set()
        self.kept: list[set[tuple[str, int, int]]] = [set(), set()]
        self.is_suspect = False  # something was damaged: any extent may be gone until all open the folder anew

    @initialize()
    def open(self) -> None:
        self.caches = [DiskCache(self.folder, LIMIT_BYTES, QUEUE_BYTES) for _ in range(2)]

    @rule(which=st.integers(0, 1), name=NAMES, offset=OFFSETS, size=SIZES)
    def put_one(self, which: int, name: str, offset: int, size: int) -> None:
        put(self.caches[which], name, offset, size)
        self._note(which, name, offset, size)

    @rule(which=st.integers(0, 1), name=NAMES, offset=OFFSETS, sizes=st.lists(SIZES, min_size=2, max_size=12))
    def put_many_in_one_batch(self, which: int, name: str, offset: int, sizes: list[int]) -> None:
        for size in sizes:
            assert self.caches[which].put(file_id(name), offset, data_of(name, offset, size), lambda: None)
            self._note(which, name, offset, size)
            offset += size
        assert self.caches[which].drain(20)

    @rule(which=st.integers(0, 1), name=NAMES, offset=OFFSETS, size=SIZES)
    def read(self, which: int, name: str, offset: int, size: int) -> None:
        held = self.caches[which].holds(file_id(name), offset, size)
        here = found(self.caches[which], name, offset, size)
        assert self.is_suspect or not held or here == size
        assert held or here < size or self.is_suspect

    @rule(which=st.integers(0, 1))
    def read_what_was_put(self, which: int) -> None:
        for name, offset, size in self.kept[which]:
            assert found(self.caches[which], name, offset, size) == size
            assert self.caches[which].holds(file_id(name), offset, size)

    @rule()
    def open_anew(self) -> None:
        for cache in self.caches:
            cache.close()
        self.open()
        self.is_suspect = False

    @rule(goal=st.integers(0, LIMIT_BYTES // 8))
    def trim(self, goal: int) -> None:
        trim.trim(self.folder, goal)
        self.kept = [set(), set()]

    @precondition(lambda self: bool(files_of(self.folder)))
    @rule(which=PLACES, how=st.sampled_from(DAMAGES), where=PLACES, length=st.integers(1, 5000))
    def damage(self, which: float, how: str, where: float, length: int) -> None:
        damage(files_of(self.folder), which, how, where, length)
        self.kept, self.is_suspect = [set(), set()], True
        self._read_all()

    @rule(which=st.integers(1, 255))
    def damage_the_index_where_it_is_used(self, which: int) -> None:
        data = (self.folder / "index").read_bytes() if (self.folder / "index").exists() else b""
        with (self.folder / "index").open("r+b" if data else "w+b") as stream:
            for place in [at for at in range(4096, len(data)) if data[at]][::which]:
                stream.seek(place)
                stream.write(bytes([data[place] ^ which]))
        self.kept, self.is_suspect = [set(), set()], True
        self._read_all()

    def _note(self, which: int, *extent: Any) -> None:
        self.ever.add(extent)
        if not self.is_suspect:
            self.kept[which].add(extent)

    def _read_all(self) -> None:
        for cache in self.caches:
            for extent in self.ever:
                found(cache, *extent)

    def teardown(self) -> None:
        for cache in self.caches:
            cache.close()
        shutil.rmtree(self.folder)


TestSharedFolder = SharedFolder.TestCase
TestSharedFolder.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
