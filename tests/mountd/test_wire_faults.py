"""Every fault of the wire in every phase: whoever reads gets right bytes or the right errno, in time, and goes on afterwards.

All cases of a row run at once on one mount, each on a file of its own, once with a fault that passes and once with one that
lasts; the tests then look at what came of them. Rows: a web server's files (obstore's client for https), blobs (obstore's
for Azure), blobs with --verify-wire and blobs with odd names (Microsoft's SDK). `make test` runs web in all phases, blobs in
two of them and verified blobs in the other two, downloads and freezes in full; `make test-full` all the rest.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mountd import client
from tests.mountd import wire_cases
from tests.mountd.wire_cases import (
    HARMS,
    PHASES,
    RIGHT,
    STREAM_AT,
    Case,
    Lag,
    Outcome,
    Place,
    at_once,
    blob_place,
    cases,
    web_place,
)

pytestmark = [pytest.mark.fuse, pytest.mark.azurite]

DEADLINE_S = 3
LATEST_S = DEADLINE_S + 2
EXTRA = ("calm", "refused")
KINDS = ("web", "blob", "verified", "odd")
ALL = tuple(PHASES)


@contextmanager
def place_of(kind: str, files: list[str], request: pytest.FixtureRequest) -> Iterator[Place]:
    with web_place(files) if kind == "web" else blob_place(files, request.getfixturevalue("azurite")) as place:
        yield place


@dataclass(slots=True)
class Row:
    """What came of the cases of one row."""

    outcomes: dict[Case, Outcome] = field(default_factory=dict)
    met: dict[Case, float] = field(default_factory=dict)  # how often each was injected
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
            place.proxy.clear()
            row.recovered = goes_on(mount, files, row.afterwards)
            list(client.warm(mount.mountpoint))
        with place.proxy.refusing(), place.mount(folder, DEADLINE_S, **settings) as mount:
            row.from_disk = at_once(lambda name: wire_cases.read(mount.mountpoint / name), files)
            row.asked = mount.status()["fetch"]["requests"]
    return row


def goes_on(mount: client.Mount, files: list[str], met: list[Outcome]) -> bool:
    """Read every file until all is right; everything that is met on the way is kept in `met`."""
    end_s = time.monotonic() + 30  # a failure is remembered for five
    while time.monotonic() < end_s:
        outcomes = at_once(lambda name: wire_cases.read(mount.mountpoint / name), files, threads=8).values()
        met += outcomes
        if {each.verdict for each in outcomes} == {RIGHT}:
            return True
    return False


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
        assert {each.came_bytes for case, each in ended.items() if case.lasts} <= {STREAM_AT}
        # One that passes is met by one of the two fetches that go ahead together.
        assert {each.came_bytes for case, each in ended.items() if not case.lasts} <= {STREAM_AT, 2 * STREAM_AT}

    def test_the_job_goes_on_when_the_fault_ends(self, row: Row) -> None:
        assert row.recovered
        assert [each for each in row.afterwards if each.verdict not in {RIGHT, "EIO", "ESTALE", "EACCES"}] == []

    def test_nothing_but_right_bytes_entered_the_cache(self, row: Row) -> None:
        assert {name: each for name, each in row.from_disk.items() if each.verdict != RIGHT} == {}
        assert row.asked == 0
