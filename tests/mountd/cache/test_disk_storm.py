import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mountd.cache import trim
from tests.support.cache_storm import ROUNDS
from tests.support.caches import MIB, found, opened, segments

ROOT = Path(__file__).parents[3]
LIMIT = 6 * MIB
SEGMENT = MIB


@contextmanager
def storm(folder: Path, seed: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.support.cache_storm", str(folder), str(LIMIT), str(seed)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_processes_that_are_killed_cost_the_others_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    with storm(folder, 1) as first, storm(folder, 2) as second:
        for seed in range(3, 8):
            with storm(folder, seed) as victim:
                assert victim.stdout is not None
                assert victim.stdout.readline() == "0\n"
                victim.kill()
                assert victim.wait(20) == -9
            assert trim.used_bytes(folder) <= LIMIT + 3 * SEGMENT
        for process in (first, second):
            told, wrong = process.communicate(timeout=60)
            assert (process.returncode, wrong) == (0, "")
            assert told.split()[-1] == str(ROUNDS - 1)
    with opened(folder, LIMIT) as cache:
        assert sum(found(cache, f"{number}", 0, MIB) for number in range(20)) > MIB
        assert cache.status().corrupt == 0
    trim.trim(folder, 0)
    assert segments(folder) == []  # the locks of the killed are gone
