"""The short form of the soak, and the proof that it can fail."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.soak.__main__ import LATEST_S, LEAST_FLIPS, ROOT, RSS_BYTES, verdicts
from tests.soak.injectors import INJECTORS
from tests.support.damage_storm import PLACES

WELL: dict[str, Any] = {
    "peak": {"rss_bytes": 1, "threads": 1, "descriptors": 1},
    "left": [],
    "bad": [],
    "oom_kills": 0,
    "slowest_s": 1,
    "reads": 1,
    "storm": {"wrong": []},
    "stalls": {},
}


@pytest.mark.full  # alone on the machine, as its limits are told
@pytest.mark.fuse
def test_mounts_survive_every_injector(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "tests.soak", "--minutes", "0", "--seed", "3", "--json", str(report)]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(report.read_text())
    idle = [name for name in INJECTORS if not told["injected"][name]]
    assert set(idle) <= {"worker out of memory", "flips", "truncations", "wire faults", "stalled server"} | (
        set() if told["cgroup"] else {"memory pressure"}
    )
    assert min(told["storm"][place] for place in PLACES) > LEAST_FLIPS // 4
    assert told["restarts"] >= told["injected"]["hanging worker"] + told["injected"]["upgraded worker"]


@pytest.mark.parametrize(
    "change",
    [
        {"bad": [["wrong at 7"]]},
        {"left": ["mount"]},
        {"oom_kills": 1},
        {"slowest_s": LATEST_S + 1},
        {"reads": 0},
        {"storm": {"wrong": ["3/4: wrong bytes"]}},
        {"stalls": {"p999_clean_s": 0.1, "p999_stalled_s": 0.2}},
        {"peak": {"rss_bytes": RSS_BYTES + 1, "threads": 1, "descriptors": 1}},
    ],
)
def test_each_breach_fails_the_soak(change: dict[str, Any]) -> None:
    assert verdicts(WELL) == []
    assert len(verdicts({**WELL, **change})) == 1
