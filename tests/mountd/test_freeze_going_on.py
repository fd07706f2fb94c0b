"""A freeze that is killed, cut off or crossed by another one: it goes on, or says why not, and the digest is the same."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mountd.cli.data import counted
from mountd.dataset import staging
from mountd.dataset.manifest import FrozenFile, Manifest, write_manifest
from mountd.errors import BadInputError, CorruptDataError, HostilePathError, NotFoundError, StoreUnreachableError
from mountd.freeze import FreezeSource, freeze
from mountd.stores.memory import MemoryStore
from tests.support.listing_server import Blob, ListingServer
from tests.support.waiting import until

KEYS = [f"{number % 7}/{number:05}" for number in range(2000)]


@pytest.fixture(scope="module")
def running() -> Iterator[ListingServer]:
    with ListingServer.start() as server:
        yield server


@pytest.fixture
def server(running: ListingServer) -> ListingServer:
    running.reset()
    running.blobs, running.page_names = [Blob(key, len(key), f"e{key}") for key in KEYS], 10
    return running


def command(server: ListingServer, target: Path, *more: object) -> list[str]:
    mountd = str(Path(sys.executable).with_name("mountd"))
    return [mountd, "freeze", server.url, "-o", str(target), "--credential", "anonymous", *map(str, more)]


def staged(target: Path) -> int:
    """How many objects are safe in the staging."""
    path = target.with_name(f".{target.name}.freezing") / "staging"
    if not path.exists():
        return 0
    try:
        with closing(sqlite3.connect(path)) as database:
            return int(database.execute("SELECT count(*) FROM staged").fetchone()[0])
    except sqlite3.OperationalError:
        return 0  # not made yet, or locked for a moment


def undisturbed(server: ListingServer, target: Path) -> str:
    return freeze([FreezeSource(server.url)], target).digest


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_freeze_that_was_killed_goes_on_and_gives_the_same_manifest(
    server: ListingServer, tmp_path: Path, number: signal.Signals
) -> None:
    expected = undisturbed(server, tmp_path / "whole")
    server.requests.clear()
    server.delay_s = 0.1
    target = tmp_path / "m"
    with subprocess.Popen(command(server, target), stderr=subprocess.PIPE) as killed:
        until(lambda: staged(target) > 0)
        killed.send_signal(number)
    safe = staged(target)
    assert not target.exists()
    server.delay_s = 0.0
    server.requests.clear()
    done = subprocess.run(command(server, target), capture_output=True, text=True, check=True, timeout=60)
    assert f"{safe} files are listed already" in done.stderr
    assert expected in done.stdout
    assert all("prefix=" in each or "startFrom=" in each for each in server.requests)  # nobody began at the beginning
    assert sorted(each.name for each in tmp_path.iterdir()) == ["m", "whole"]


def test_a_listing_that_breaks_off_keeps_what_was_listed_and_says_so(server: ListingServer, tmp_path: Path) -> None:
    expected, told = undisturbed(server, tmp_path / "whole"), list[int]()
    sources, target = [FreezeSource(server.url)], tmp_path / "m"
    server.requests.clear()
    server.broken_after = 100
    with pytest.raises(StoreUnreachableError, match=r"HTTP 503.*\d+ files are listed: the same command goes on there"):
        freeze(sources, target, resumed=told.append, deadline_s=1)
    assert told == []
    assert staged(target) > 100
    safe, server.broken_after = staged(target), None
    assert freeze(sources, target, resumed=told.append).digest == expected
    assert told == [safe]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["m", "whole"]


@pytest.mark.parametrize("change", ["pattern", "boot", "age", "damage"])
def test_a_staging_that_is_another_freezes_is_thrown_away(
    server: ListingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    target, told = tmp_path / "m", list[int]()
    server.broken_after = 50
    with pytest.raises(StoreUnreachableError):
        freeze([FreezeSource(server.url)], target, resumed=told.append, deadline_s=1)
    server.broken_after = None
    source = FreezeSource(server.url, pattern="3/**" if change == "pattern" else "**")
    if change == "boot":
        monkeypatch.setattr(staging, "_boot", lambda: "another")
    elif change == "age":
        monkeypatch.setattr(staging, "KEPT_S", 0.0)
    elif change == "damage":
        (tmp_path / ".m.freezing" / "staging").write_bytes(b"no database" * 1000)
    files = freeze([source], target, resumed=told.append).files
    assert files == sum(key.startswith("3/") for key in KEYS) if change == "pattern" else len(KEYS)
    assert told == []
    assert [each.name for each in tmp_path.iterdir()] == ["m"]


@pytest.mark.parametrize("fault", ["a//b", "lie", "gone"])
def test_an_error_that_stays_leaves_nothing(server: ListingServer, tmp_path: Path, fault: str) -> None:
    page = '<?xml version="1.0"?><EnumerationResults><Blobs>{}</Blobs><NextMarker>x</NextMarker></EnumerationResults>'
    server.refuses_ranges = True
    if fault == "a//b":
        server.blobs.append(Blob("a//b", 1))
    elif fault == "lie":
        server.scripted = [page.format("").encode()] * 2
    else:
        server.blobs = []
    kind = {"a//b": HostilePathError, "lie": CorruptDataError, "gone": NotFoundError}[fault]
    with pytest.raises(kind):
        freeze([FreezeSource(server.url)], tmp_path / "m", resumed=lambda _: None)
    assert list(tmp_path.iterdir()) == []


def test_two_freezes_into_one_file_do_not_mix(server: ListingServer, tmp_path: Path) -> None:
    server.delay_s = 0.1
    target = tmp_path / "m"
    with subprocess.Popen(command(server, target), stdout=subprocess.PIPE) as first:
        until((tmp_path / ".m.freezing" / "staging").exists)
        with pytest.raises(BadInputError, match="another process is freezing into it"):
            freeze([FreezeSource(server.url)], target, resumed=lambda _: None)
        server.delay_s = 0.0
        assert first.wait(60) == 0
    with Manifest.open(target) as manifest:
        manifest.verify()
        assert manifest.file_count == len(KEYS)


def test_the_digest_is_the_same_whatever_the_order_of_arrival(tmp_path: Path) -> None:
    files = [FrozenFile(f"{number % 5}/{number % 3}/{number}", number, f"e{number}", number) for number in range(300)]
    files += [FrozenFile("empty/", 0, "", 0), FrozenFile("0", 0, "", 0, is_directory=True)]
    digests = set()
    for seed in range(5):
        random.Random(seed).shuffle(files)
        digests.add(write_manifest(tmp_path / "m", ["memory://x/"], files).digest)
    assert len(digests) == 1


def test_two_sources_that_hold_one_path_are_named(tmp_path: Path) -> None:
    one, other = (MemoryStore("t" + os.urandom(6).hex()) for _ in range(2))
    one.put("a/b", b"1")
    other.put("b", b"2")
    with pytest.raises(HostilePathError) as caught:
        freeze([FreezeSource(one.url), FreezeSource(other.url, under="a")], tmp_path / "m")
    assert f"'a/b': comes from two sources, {one.url} and {other.url}" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_since_tells_what_is_new_changed_and_gone_by_listing_alone(server: ListingServer, tmp_path: Path) -> None:
    undisturbed(server, tmp_path / "old")
    server.blobs = [each for each in server.blobs if each.key != KEYS[0]]
    server.blobs[0] = Blob(KEYS[1], 99, "other")
    server.blobs.append(Blob("0-new", 5))
    done = subprocess.run(
        command(server, tmp_path / "new", "--since", tmp_path / "old"),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    gone, new, changed, summary = done.stdout.splitlines()
    assert (gone, new) == (f"gone     {KEYS[0]}", "new      0-new")
    assert changed == f"changed  {KEYS[1]}: ETag e{KEYS[1]} -> other, 7 -> 99 bytes"
    assert summary.startswith(f"{tmp_path}/new: {len(KEYS)} files")
    assert all("comp=list" in each for each in server.requests)
    again = subprocess.run(
        command(server, tmp_path / "old", "--overwrite", "--since", tmp_path / "old"),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert again.returncode == 3
    assert "is also what is to be written" in again.stderr


def test_progress_tells_the_rate_and_of_those_expected_the_time_that_is_left() -> None:
    assert counted(1_500, 0.0, 0) == "1,500 files"
    assert counted(1_500, 500.0, 0) == "1,500 files, 500/s"
    assert counted(1_500, 500.0, 4_000) == "1,500 of about 4,000 files, 500/s, 5 s left"
    assert counted(4_001, 500.0, 4_000) == "4,001 files, 500/s"
