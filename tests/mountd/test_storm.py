"""Random reads of two mounts that share one cache, against the plain folder, while the cache is damaged and trimmed."""

import contextlib
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from mountd import client
from mountd.cache import trim
from tests.support.caches import DAMAGES, damage, files_of
from tests.support.content import make_tree
from tests.support.listings import entries_from
from tests.support.reading_apart import Read
from tests.support.storms import KIB, MIB, WAYS, Served, drop_pages, make_sparse, read_apart, served, wrong
from tests.support.waiting import until

pytestmark = pytest.mark.fuse

EDGES = [0, 1, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1]
LARGE = [4 * MIB - 1, 4 * MIB, 4 * MIB + 1, 3 * MIB + 7]
MANY = [f"{number:04}" for number in range(700)]
FIXED = {"empty/": 0, **{f"of {size}": size for size in (*EDGES, *LARGE)}, **{f"many/{name}": 7 for name in MANY}}
MEMORY_BYTES, CACHE_BYTES = 4 * MIB, 16 * MIB
SOAK_MINUTES = float(os.environ.get("SOAK_MINUTES", "2"))

# Folders and files begin differently, because nothing may be both.
NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), max_size=30)
PATHS = st.builds(
    lambda folders, name: "".join(f"in {each}/" for each in folders) + f"a {name}", st.lists(NAMES, max_size=2), NAMES
)
TREES = st.dictionaries(PATHS, st.one_of(st.sampled_from(EDGES), st.integers(0, 400_000)), max_size=12)
SHARES = st.floats(0, 1, exclude_max=True)

GIB_SHARES = [0, 0.2, 0.4, 0.6, 0.8, 1]  # of the sparse file, whose content lies there
NUDGES = [0, 0, -1, 1, -64 * KIB, 64 * KIB, -MIB]
LENGTHS = [1, 4096, *EDGES[2:], 200_000, MIB + 5, 5 * MIB]
READS_AT_ONCE = 50


def hurt(cache: Path, which: float, how: str, where: float, length: int) -> None:
    """Damage a file of the cache."""
    if files := files_of(cache):
        damage(files, which, how, where, length)


def flip_all(cache: Path, where: float, length: int) -> None:
    """Damage every file of the cache in one place."""
    for file in files_of(cache):
        damage([file], 0, "flip", where, length)


def befall(do: Callable[..., object], cache: Path, *arguments: object) -> None:
    """Do something to the cache, unless what it is done to is dropped at this moment."""
    with contextlib.suppress(FileNotFoundError):
        do(cache, *arguments)


# What is done to the cache folder, and with which arguments.
HARM = st.tuples(st.just(hurt), SHARES, st.sampled_from(DAMAGES), SHARES, st.sampled_from([1, 5000, 200_000, MIB]))
FLIP = st.tuples(st.just(flip_all), SHARES, st.sampled_from([1, 5000, 200_000]))
TRIM = st.tuples(st.just(trim.trim), st.integers(CACHE_BYTES // 2, CACHE_BYTES))
CLEAR = st.sampled_from([(trim.clear,), (shutil.rmtree, True)])
TROUBLES = st.lists(st.one_of(FLIP, FLIP, HARM, HARM, HARM, TRIM, CLEAR), max_size=6)


class Storm(RuleBasedStateMachine):
    """A generated tree, served, and mounted twice on one cache that is far too small."""

    fixed: Path  # the files that every tree has
    failures: ClassVar[list[tuple[str, Read]]] = []
    corrupt = 0  # damaged extents that all mounts of this test came upon
    world: Served

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="storm-", dir=self.fixed.parent))
        self.cache = self.folder / "cache"
        self.mounts: list[client.Mount] = []
        self.parts = ExitStack()
        self.parts.callback(shutil.rmtree, self.folder)
        self.meanwhile: list[Callable[[], object]] = []

    @initialize(tree=TREES, seed=st.integers(0, 1 << 32))
    def mount(self, tree: dict[str, int], seed: int) -> None:
        self.rng = random.Random(seed)
        plain = Path(shutil.copytree(self.fixed, self.folder / "plain", copy_function=os.link))
        make_tree(plain / "made", tree)
        self.world = self.parts.enter_context(served(plain, self.folder / "manifest"))
        told = {"cache_dir": str(self.cache), "memory": str(MEMORY_BYTES), "cache_size": str(CACHE_BYTES)}
        self.readable = [path for path in self.world.files if not path.startswith("many/")]
        for read_ahead in ("128KiB", "1MiB"):
            mount = self.world.mount(self.folder / read_ahead, read_ahead=read_ahead, **told)
            self.mounts.append(self.parts.enter_context(mount))

    @invariant()
    def any_read_is_right(self) -> None:
        meanwhile, self.meanwhile = self.meanwhile, []
        reads = [self.any_read() for _ in range(READS_AT_ONCE)]
        if found := wrong(reads, read_apart(reads, meanwhile)):
            Storm.failures += found
            raise AssertionError(found)

    @invariant()
    def a_listing_goes_on_from_anywhere(self) -> None:
        folder = self.rng.choice(self.mounts).mountpoint / "many"
        drop_pages(folder)
        room_bytes = self.rng.choice([300, 4096, 32768])
        whole = entries_from(folder, 0, room_bytes)
        assert sorted(name for name, _ in whole) == sorted([".", "..", *MANY])
        at = self.rng.randrange(len(whole))
        assert entries_from(folder, whole[at][1], room_bytes) == whole[at + 1 :]

    @invariant()
    def every_name_size_and_time_is_right(self) -> None:
        assert tree_of(self.rng.choice(self.mounts).mountpoint) == tree_of(self.world.plain)

    @rule(troubles=TROUBLES, at_once=st.booleans())
    def trouble(self, troubles: list[tuple[Callable[..., object], Any]], *, at_once: bool) -> None:
        """Do them now, or while the next reads go on."""
        self.meanwhile = [partial(befall, do, self.cache, *arguments) for do, *arguments in troubles]
        while at_once and self.meanwhile:
            self.meanwhile.pop(0)()

    def any_read(self) -> Read:
        choice, path = self.rng.choice, self.rng.choice(self.readable)
        share = choice([choice(GIB_SHARES), self.rng.random()])
        offset = max(0, int(share * (self.world.plain / path).stat().st_size) + choice(NUDGES))
        drop = choice([True, True, True, False])
        return self.world.read(choice(self.mounts), path, offset, choice(LENGTHS), choice(WAYS), drop=drop)

    def teardown(self) -> None:
        with self.parts:
            for mount in self.mounts:
                until(partial(is_idle, mount), what="the end of all fetches")
                told = mount.status()
                assert told["memory"]["used_bytes"] <= MEMORY_BYTES
                assert told["reads"]["count"] > READS_AT_ONCE // 4
                Storm.corrupt += told["cache"]["corrupt"]


def is_idle(mount: client.Mount) -> bool:
    return not mount.status()["fetch"]["in_flight"]


def tree_of(root: Path) -> dict[str, tuple[int, int]]:
    """Every path below `root`, with size and time for files."""
    told = {path.relative_to(root).as_posix(): path.stat() for path in root.rglob("*")}
    return {
        path: (each.st_size, each.st_mtime_ns) if not each.st_mode & 0o40000 else (0, 0) for path, each in told.items()
    }


@pytest.fixture(autouse=True)
def fixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Storm, "fixed", make_tree(tmp_path / "fixed", FIXED), raising=False)
    monkeypatch.setattr(Storm, "failures", [])
    monkeypatch.setattr(Storm, "corrupt", 0)
    make_sparse(Storm.fixed / "sparse")


# A storm does not repeat itself exactly, so its failures are told and not shrunk.
QUICK = settings(
    max_examples=4,
    stateful_step_count=10,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
LONG = settings(QUICK, max_examples=3, stateful_step_count=40, derandomize=False)


def rage(weather: settings, capfd: pytest.CaptureFixture[str]) -> None:
    """Run storms; none may have found a wrong read, and no worker may have had to say that a read failed."""
    try:
        run_state_machine_as_test(Storm, settings=weather)
    finally:
        # First, because hypothesis says of a failure that it does not repeat no more than that.
        assert Storm.failures == []
    told = capfd.readouterr().err  # a failed read-ahead is asked for again by the kernel, so no reader sees it
    assert "read failed" not in told
    assert "defect" not in told
    assert Storm.corrupt


def test_two_mounts_on_one_damaged_cache_show_the_plain_folder(capfd: pytest.CaptureFixture[str]) -> None:
    rage(QUICK, capfd)


@pytest.mark.full
@pytest.mark.timeout(60 * (SOAK_MINUTES + 5))
def test_the_storm_goes_on_for_soak_minutes(capfd: pytest.CaptureFixture[str]) -> None:
    end_s = time.monotonic() + 60 * SOAK_MINUTES
    while time.monotonic() < end_s:
        rage(LONG, capfd)
