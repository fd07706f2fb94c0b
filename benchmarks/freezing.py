"""What freezing costs: `python -m benchmarks.freezing [COUNT...]`, a line for each number of blobs in a container.

The shaped server makes the pages of its listing up (folders of 1,000 files, 15 ms before each answer), `mountd freeze` runs
as a user runs it. Memory is ru_maxrss: the most that the process had in memory at any moment, libraries included.
"""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.mounts import BIN
from benchmarks.processes import BenchmarkError
from benchmarks.server import Server, pretend, serve

_COUNTS = (1_000, 10_000, 100_000, 1_000_000)


@dataclass(frozen=True, slots=True)
class Cost:
    """What one freeze took."""

    seconds: float
    cpu_s: float
    peak_bytes: int
    requests: int


def main(counts: tuple[int, ...]) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # nginx may be another user
        pretend(folder, {f"listed-{count}": count for count in counts})
        print("| blobs | s | blobs/s | CPU, s | memory at most, MiB | requests |")  # noqa: T201
        print("|---:|---:|---:|---:|---:|---:|")  # noqa: T201
        with serve(folder) as server:
            for count in counts:
                cost = measure(server, count)
                cells = (
                    f"{count:,}",
                    f"{cost.seconds:.2f}",
                    f"{count / cost.seconds:,.0f}",
                    f"{cost.cpu_s:.2f}",
                    f"{cost.peak_bytes / (1 << 20):.0f}",
                    f"{cost.requests:,}",
                )
                print("| " + " | ".join(cells) + " |", flush=True)  # noqa: T201


def measure(server: Server, count: int) -> Cost:
    """Freeze the container `listed-COUNT`."""
    target, start = server.folder / "frozen", server.mark()
    command = [str(BIN / "mountd"), "freeze", server.url(f"listed-{count}"), "-o", str(target), "--overwrite"]
    begin_s = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin_s
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise BenchmarkError(f"mountd freeze ended with {process.returncode}")
    target.unlink()
    requests = server.traffic(start, server.mark()).requests
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, requests)


if __name__ == "__main__":
    main(tuple(int(text.replace(",", "").replace("_", "")) for text in sys.argv[1:]) or _COUNTS)
