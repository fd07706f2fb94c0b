"""Random reads of two mounts that share one cache, against the plain folder, while the cache is damaged and trimmed."""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from mountd import client
from mountd.cache import trim
from tests.support.caches import DAMAGES, damage, files_of
from tests.support.content import make_tree
from tests.support.listings import entries_from
from tests.support.storms import KIB, MIB, WAYS, Served, drop_pages, make_sparse, read_apart, served, wrong
from tests.support.waiting import until

pytestmark = pytest.mark.fuse

EDGES = [0, 1, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1]
LARGE = [4 * MIB - 1, 4 * MIB, 4 * MIB + 1, 3 * MIB + 7]
MANY = [f"{number:04}" for number in range(700)]
FIXED = {"empty/": 0, **{f"of {size}": size for size in (*EDGES, *LARGE)}, **{f"many/{name}": 7 for name in MANY}}
MEMORY_BYTES = CACHE_BYTES = 8 * MIB
SOAK_MINUTES = float(os.environ.get("SOAK_MINUTES", "2"))

# Folders and files begin differently, because nothing may be both.
NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), max_size=30)
PATHS = st.builds(
    lambda folders, name: "".join(f"in {each}/" for each in folders) + f"a {name}", st.lists(NAMES, max_size=2), NAMES
)
TREES = st.dictionaries(PATHS, st.one_of(st.sampled_from(EDGES), st.integers(0, 400_000)), max_size=12)
SHARES = st.floats(0, 1, exclude_max=True)


class Wish(NamedTuple):
    """A read, before it is known which files there are: of a share of them, at a share of it, some bytes off."""

    way: str
    mount: int
    file: float
    place: float
    nudge: int
    length: int
    drop: bool


WISHES = st.builds(
    Wish,
    way=st.sampled_from(WAYS),
    mount=st.integers(0, 1),
    file=SHARES,
    place=st.one_of(st.sampled_from([0, 0.2, 0.4, 0.6, 0.8, 1]), SHARES),  # the GiBs of the sparse file are its fifths
    nudge=st.one_of(st.just(0), st.integers(-70_000, 70_000), st.sampled_from([-64 * KIB, 64 * KIB, -MIB])),
    length=st.one_of(st.integers(1, 300_000), st.sampled_from([1, 4096, *EDGES[2:], MIB + 5, 5 * MIB])),
    drop=st.booleans(),
)


def hurt(cache: Path, which: float, how: str, where: float, length: int) -> None:
    """Damage a file of the cache, unless it is dropped at this moment."""
    if files := files_of(cache):
        with contextlib.suppress(FileNotFoundError):
            damage(files, which, how, where, length)


# What is done to the cache folder, and with which arguments.
TROUBLES = st.one_of(
    st.tuples(st.just(hurt), SHARES, st.sampled_from(DAMAGES), SHARES, st.integers(1, 5000)),
    st.tuples(st.just(trim.trim), st.integers(0, CACHE_BYTES)),
    st.tuples(st.just(trim.clear)),
)


class Storm(RuleBasedStateMachine):
    """A generated tree, served, and mounted twice on one cache that is far too small."""

    fixed: Path  # the files that every tree has
    world: Served

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="storm-", dir=self.fixed.parent))
        self.cache = self.folder / "cache"
        self.mounts: list[client.Mount] = []
        self.parts = ExitStack()
        self.parts.callback(shutil.rmtree, self.folder)
        self.due = 0  # reads at least, because pages were dropped before

    @initialize(tree=TREES)
    def mount(self, tree: dict[str, int]) -> None:
        plain = Path(shutil.copytree(self.fixed, self.folder / "plain", copy_function=os.link))
        make_tree(plain / "made", tree)
        self.world = self.parts.enter_context(served(plain, self.folder / "manifest"))
        told = {"cache_dir": str(self.cache), "memory": str(MEMORY_BYTES), "cache_size": str(CACHE_BYTES)}
        self.readable = [path for path in self.world.files if not path.startswith("many/")]
        for name in ("one", "other"):
            self.mounts.append(self.parts.enter_context(self.world.mount(self.folder / name, **told)))

    @rule(wishes=st.lists(WISHES, min_size=8, max_size=30), troubles=st.lists(TROUBLES, max_size=8))
    def read(self, wishes: list[Wish], troubles: list[tuple[Callable[..., object], Any]]) -> None:
        reads = [self.world.read(*self.chosen(wish), wish.way, drop=wish.drop) for wish in wishes]
        self.due += any(wish.drop for wish in wishes)
        meanwhile = [partial(do, self.cache, *arguments) for do, *arguments in troubles]
        assert wrong(reads, read_apart(reads, meanwhile)) == []

    @rule(trouble=TROUBLES)
    def trouble_at_rest(self, trouble: tuple[Callable[..., object], Any]) -> None:
        do, *arguments = trouble
        do(self.cache, *arguments)

    @rule(which=st.integers(0, 1), room=st.sampled_from([300, 4096, 32768]), share=SHARES, drop=st.booleans())
    def list_from_anywhere(self, which: int, room: int, share: float, *, drop: bool) -> None:
        folder = self.mounts[which].mountpoint / "many"
        if drop:
            drop_pages(folder)
        whole = entries_from(folder, 0, room)
        assert sorted(name for name, _ in whole) == sorted([".", "..", *MANY])
        at = int(share * len(whole))
        assert entries_from(folder, whole[at][1], room) == whole[at + 1 :]

    @rule(which=st.integers(0, 1))
    def walk(self, which: int) -> None:
        assert tree_of(self.mounts[which].mountpoint) == tree_of(self.world.plain)

    def chosen(self, wish: Wish) -> tuple[client.Mount, str, int, int]:
        path = self.readable[int(wish.file * len(self.readable))]
        offset = int(wish.place * (self.world.plain / path).stat().st_size) + wish.nudge
        return self.mounts[wish.mount], path, max(0, offset), wish.length

    def teardown(self) -> None:
        with self.parts:
            for mount in self.mounts:
                until(partial(is_idle, mount), what="the end of all fetches")
                assert mount.status()["memory"]["used_bytes"] <= MEMORY_BYTES
            assert sum(mount.status()["reads"]["count"] for mount in self.mounts) >= self.due


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
    make_sparse(Storm.fixed / "sparse")


# A storm does not repeat itself exactly, so its failures are told and not shrunk.
QUICK = settings(
    max_examples=5,
    stateful_step_count=12,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
LONG = settings(QUICK, max_examples=10, stateful_step_count=40, derandomize=False)


def test_two_mounts_on_one_damaged_cache_show_the_plain_folder() -> None:
    run_state_machine_as_test(Storm, settings=QUICK)


@pytest.mark.full
@pytest.mark.timeout(60 * (SOAK_MINUTES + 5))
def test_the_storm_goes_on_for_soak_minutes() -> None:
    end_s = time.monotonic() + 60 * SOAK_MINUTES
    while time.monotonic() < end_s:
        run_state_machine_as_test(Storm, settings=LONG)
