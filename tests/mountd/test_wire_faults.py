"""Every fault of the wire in every phase: whoever reads gets right bytes or the right errno in time, and goes on afterwards.

All cases of a row run at once on one mount, each on a file of its own, once with a fault that passes and once with one that
lasts; the tests then look at what came of them. Rows: a web server's files (obstore's client for https), blobs (obstore's
for Azure), blobs with --verify-wire and blobs with odd names (Microsoft's SDK). `make test` runs all phases of the web, two
of blobs and the other two of verified blobs, and freezes and downloads; `make test-full` runs all the rest, tokens
that expire, and plans.
"""

import time
from array import array
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from mountd import client
from mountd.dataset.manifest import Manifest
from mountd.download import download
from mountd.errors import MountdError
from mountd.freeze import FreezeSource, freeze
from tests.mountd import wire_cases
from tests.mountd.wire_cases import (
    DEADLINE_S,
    EIO,
    FREEZES,
    HARMS,
    PHASES,
    RIGHT,
    SIZE,
    STREAM_AT,
    Case,
    Lag,
    Outcome,
    Place,
    at_once,
    blob_place,
    cases,
    place_of,
    told,
    web_place,
)
from tests.support import wire_faults as faults
from tests.support.azurite import Azurite
from tests.support.content import content
from tests.support.fault_proxy import Request
from tests.support.waiting import until

pytestmark = [pytest.mark.fuse, pytest.mark.azurite]

LATEST_S = DEADLINE_S + 2
ALL = tuple(PHASES)


@dataclass(slots=True)
class Row:
    """What came of the cases of one row."""

    outcomes: dict[Case, Outcome] = field(default_factory=dict)
    met: dict[Case, float] = field(default_factory=dict)  # how often each was injected
    first_harmed: dict[str, int] = field(default_factory=dict)  # of each file the first byte that was asked for in vain
    lag: Lag = field(default_factory=Lag)
    afterwards: list[Outcome] = field(default_factory=list)
    recovered: bool = False
    from_disk: dict[str, Outcome] = field(default_factory=dict)
    asked: int = 0  # of the store, by the mount that had the disk alone


def run(kind: str, phases: tuple[str, ...], folder: Path, request: pytest.FixtureRequest) -> Row:
    # What obstore cannot ask for goes through Microsoft's SDK.
    row, chosen = Row(), cases(HARMS, *phases, prefix="\t" if kind == "odd" else "")
    settings = {"verify_wire": str(kind == "verified").lower()}
    files = [case.file for case in chosen]
    with place_of(kind, files, request) as place:
        with place.mount(folder, DEADLINE_S, **settings) as mount:
            injections = {case: case.inject(place.proxy) for case in chosen}
            with row.lag.measured():
                row.outcomes = at_once(lambda case: case.read(mount.mountpoint), chosen)
            row.met = {case: injection.count for case, injection in injections.items()}
            row.first_harmed = first_harmed(place)
            place.proxy.clear()
            row.recovered = goes_on(mount, files, row.afterwards)
            list(client.warm(mount.mountpoint))
        with place.proxy.refusing(), place.mount(folder, DEADLINE_S, **settings) as mount:
            row.from_disk = at_once(lambda name: wire_cases.read(mount.mountpoint / name), files)
            row.asked = mount.status()["fetch"]["requests"]
    return row


def first_harmed(place: Place) -> dict[str, int]:
    starts = dict[str, int]()
    for asked in [*place.proxy.requests]:
        if asked.fault and asked.range is not None:
            name = asked.path.rpartition("/")[2]
            starts[name] = min(asked.range[0], starts.get(name, SIZE))
    return starts


def goes_on(mount: client.Mount, files: list[str], met: list[Outcome]) -> bool:
    """Read every file until it is right; everything that is met on the way is kept in `met`."""
    end_s = time.monotonic() + 30  # a failure is remembered for five
    while files and time.monotonic() < end_s:
        outcomes = at_once(lambda name: wire_cases.read(mount.mountpoint / name), files, threads=8)
        met += outcomes.values()
        files = [name for name, each in outcomes.items() if each.verdict != RIGHT]
    return not files


ROWS = [
    pytest.param(("web", ALL), id="web"),
    pytest.param(("blob", ALL[::3]), id="blob"),
    pytest.param(("verified", ALL[1:3]), id="verified"),
    pytest.param(("blob", ALL[1:3]), id="blob-rest", marks=pytest.mark.full),
    pytest.param(("verified", ALL[::3]), id="verified-rest", marks=pytest.mark.full),
    pytest.param(("odd", ALL), id="odd", marks=pytest.mark.full),
]


@pytest.fixture(scope="module", params=ROWS)
def row(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Row:
    kind, phases = request.param
    return run(kind, phases, tmp_path_factory.mktemp(kind), request)


class TestReads:
    def test_every_fault_in_every_phase_is_met(self, row: Row) -> None:
        assert [case.file for case, count in row.met.items() if not count] == []

    def test_every_read_gets_right_bytes_or_the_right_errno(self, row: Row) -> None:
        assert {case.file: each for case, each in row.outcomes.items() if each.verdict not in case.expected} == {}

    def test_every_read_ends_within_its_deadline_and_two_seconds(self, row: Row) -> None:
        late = {case.file: each for case, each in row.outcomes.items() if each.seconds > LATEST_S + row.lag.worst_s}
        assert late == {}

    def test_a_stream_ends_at_the_exact_place(self, row: Row) -> None:
        ended = {
            case: each for case, each in row.outcomes.items() if case.phase == "prefetch" and each.verdict != RIGHT
        }
        assert {case.file: each.came_bytes for case, each in ended.items()} == {
            case.file: row.first_harmed[case.file] for case in ended
        }
        assert all(each.came_bytes >= STREAM_AT for each in ended.values())

    def test_the_job_goes_on_when_the_fault_ends(self, row: Row) -> None:
        assert row.recovered
        assert [each for each in row.afterwards if each.verdict not in {RIGHT, "EIO", "ESTALE", "EACCES"}] == []

    def test_nothing_but_right_bytes_entered_the_cache(self, row: Row) -> None:
        assert {name: each for name, each in row.from_disk.items() if each.verdict != RIGHT} == {}
        assert row.asked == 0


KINDS = [
    "web",
    "blob",
    pytest.param("verified", marks=pytest.mark.full),
]


def is_frozen_by(case: Case, request: Request) -> bool:
    return case.file in {request.listed, request.path.rpartition("/")[2]}


def unexpected(outcomes: dict[Case, Outcome], lag: Lag) -> dict[str, Outcome]:
    """What came of cases that should not have, or came late."""
    limit_s = LATEST_S + lag.worst_s
    bad = {case: each for case, each in outcomes.items() if each.verdict not in case.expected or each.seconds > limit_s}
    return {case.file: each for case, each in bad.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_download_has_every_file_whole_or_not_at_all(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    chosen, lag = cases(HARMS, "download"), Lag()
    with place_of(kind, [case.file for case in chosen], request) as place:
        manifests = {case: place.manifest(tmp_path / f"{case.file}.manifest", case.file) for case in chosen}

        def bring(case: Case) -> Outcome:
            target, given = tmp_path / case.file, {"credentials": place.credentials, "verify_wire": kind == "verified"}
            return told(lambda: download(manifests[case], target, deadline_s=DEADLINE_S, **given))  # type: ignore[arg-type]

        injections = {case: case.inject(place.proxy) for case in chosen}
        with lag.measured():
            outcomes = at_once(bring, chosen)
        assert unexpected(outcomes, lag) == {}
        assert [case.file for case, each in injections.items() if not each.count] == []
        for case, outcome in outcomes.items():
            found = [path.read_bytes() for path in (tmp_path / case.file).rglob("*") if path.is_file()]
            assert found == ([content(case.file, 0, SIZE)] if outcome.verdict == RIGHT else []), case.file
        place.proxy.clear()
        assert {each.verdict for each in at_once(bring, chosen, threads=8).values()} == {RIGHT}


@pytest.mark.parametrize("kind", FREEZES)
def test_a_freeze_gives_the_right_manifest_or_none(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    chosen, lag = cases(FREEZES[kind], "freeze"), Lag()
    with place_of(kind, [case.file for case in chosen], request) as place:

        def freeze_it(case: Case) -> Outcome:
            in_lake = FreezeSource(f"{place.url}{case.file}/", place.credential)
            source = in_lake if kind == "lake" else FreezeSource(place.url, place.credential, case.file)
            return told(lambda: freeze([source], tmp_path / case.file, deadline_s=DEADLINE_S))

        for case in chosen:
            case.inject(place.proxy, partial(is_frozen_by, case))
        with lag.measured():
            outcomes = at_once(freeze_it, chosen)
        assert unexpected(outcomes, lag) == {}
        assert {*place.proxy.report} == {case.harm.fault.name for case in chosen}
        for case, outcome in outcomes.items():
            assert (tmp_path / case.file).exists() is (outcome.verdict == RIGHT), case.file
            if outcome.verdict == RIGHT:
                with Manifest.open(tmp_path / case.file) as manifest:
                    assert [(path, entry.size) for path, entry in manifest.walk()] == [(case.file, SIZE)]


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[2]])
def test_refused_connections_are_eio_in_time_and_forgotten_when_they_are_over(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    lag, names = Lag(), ["waits", "fails", "later"]
    settings = {"verify_wire": str(kind == "verified").lower()}
    with place_of(kind, names, request) as place, place.mount(tmp_path, DEADLINE_S, **settings) as mount:
        with lag.measured(), place.proxy.refusing():
            failed = wire_cases.read(mount.mountpoint / "fails")
        assert (failed.verdict, failed.seconds < LATEST_S + lag.worst_s) == (EIO, True)
        asked = mount.status()["fetch"]["retries"]
        with ThreadPoolExecutor(1) as pool:
            with place.proxy.refusing():
                waiting = pool.submit(wire_cases.read, mount.mountpoint / "waits")
                until(lambda: mount.status()["fetch"]["retries"] > asked, what="an attempt that was refused")
            assert waiting.result().verdict == RIGHT
        assert wire_cases.read(mount.mountpoint / "later").verdict == RIGHT


@pytest.mark.full
def test_a_token_that_expires_in_the_middle_is_eacces_from_there_on(tmp_path: Path, azurite: Azurite) -> None:
    names = [f"{number}" for number in range(6)]
    with blob_place(names, azurite) as place, place.mount(tmp_path, DEADLINE_S) as mount:
        first = at_once(lambda name: wire_cases.read(mount.mountpoint / name), names[:3])
        place.proxy.inject(faults.expired_token())
        later = at_once(lambda name: wire_cases.read(mount.mountpoint / name), names)
        assert {each.verdict for each in first.values()} == {RIGHT}
        assert [later[name].verdict for name in names] == [RIGHT] * 3 + ["EACCES"] * 3
        place.proxy.clear()
        assert goes_on(mount, names, [])


@pytest.mark.full
def test_what_a_plan_or_a_warming_brings_under_faults_is_right_or_not_there(tmp_path: Path) -> None:
    chosen = cases(HARMS, "plan")
    names = [case.file for case in chosen]
    with web_place(names) as place, place.mount(tmp_path, DEADLINE_S, memory="256MiB") as mount:
        injections = [case.inject(place.proxy) for case in chosen]
        inodes = array("I", [(mount.mountpoint / name).stat().st_ino for name in names])
        client.plan(mount.mountpoint, inodes, mount.status()["digest"])
        until(lambda: all(each.count for each in injections), what="every fault of the plan")
        with pytest.raises(MountdError):
            list(client.warm(mount.mountpoint, [names[-1]]))
        place.proxy.clear()
        met: list[Outcome] = []
        assert goes_on(mount, names, met)
        assert [each for each in met if each.verdict not in {RIGHT, "EIO", "ESTALE", "EACCES"}] == []
