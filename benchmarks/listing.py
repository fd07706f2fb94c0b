"""What freezing costs by the number of files: `python -m benchmarks.listing 1000 100000 1000000`.

The shaped server makes the listing up as it is asked for it, and `mountd freeze` runs as a user runs it. A line for each
number tells the time from the command to its return, the CPU and the largest memory of the process (ru_maxrss), and the
requests. `--flat` puts all files into one folder; `--latency-ms` is the time to the first byte of a page; `--by-sdk` tells
instead what one page costs the SDK's reader and ours, in CPU.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.mounts import BIN
from benchmarks.processes import WITH_US, BenchmarkError
from benchmarks.server import Server, Shape, pretend, serve

_MIB = 1 << 20
_PAGE = 5000


def freezing(server: Server, container: str, target: Path) -> str:
    """Freeze a container that is only listed; what it cost, as a line.

    Raises:
        BenchmarkError: the command failed.
    """
    start, begin_s = server.moment(), time.perf_counter()
    command = [*WITH_US, str(BIN / "mountd"), "freeze", server.url(container), "-o", str(target), "--overwrite"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AZURE_")}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None  # noqa: S101  # a pipe
        said = process.stdout.read().strip()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise BenchmarkError(f"mountd freeze: {said}")
    seconds, cpu_s = time.perf_counter() - begin_s, usage.ru_utime + usage.ru_stime
    files = int(said.split(": ", 1)[1].split(" ", 1)[0])
    requests = server.traffic(start, server.moment()).requests
    return (
        f"{files:,} files: {seconds:.1f} s, {files / seconds:,.0f} files/s, {cpu_s:.1f} s of CPU, "
        f"{usage.ru_maxrss * 1024 / _MIB:.0f} MiB at most, {requests:,} requests"
    )


def page_costs(server: Server, container: str) -> str:
    """The CPU that the SDK's reader and ours take for a blob of a full page, by this process's clock."""
    from azure.storage.blob import ContainerClient

    from mountd.stores.base import Part
    from mountd.stores.registry import open_lister

    with ContainerClient.from_container_url(server.url(container)) as client:
        sdk_us = _cpu_us(lambda: len(list(next(client.list_blobs().by_page()))))
    lister = open_lister(server.url(container), None)
    ours_us = _cpu_us(lambda: len(lister.list_part(Part(""), 0).objects))  # type: ignore[attr-defined]  # a PartLister
    return f"a page of {_PAGE:,} blobs: {sdk_us:.0f} us of CPU a blob by the SDK, {ours_us:.1f} us by ours"


def _cpu_us(ask: Callable[[], int]) -> float:
    ask()
    begin_s = time.process_time()
    count = ask()
    return (time.process_time() - begin_s) / count * 1e6


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.listing", description="What freezing costs by the number of files."
    )
    parser.add_argument("counts", type=int, nargs="+", metavar="FILES")
    parser.add_argument("--flat", action="store_true", help="all files in one folder, not 1,000 in each")
    parser.add_argument("--latency-ms", type=float, default=15.0)
    parser.add_argument("--by-sdk", action="store_true", help="what a page costs, by the SDK and by ours")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        names = {f"listed-{count}": count for count in options.counts}
        pretend(folder, names, in_folder=0 if options.flat else 1000)
        with serve(folder, Shape(options.latency_ms / 1000)) as server:
            for name in names:
                told = page_costs(server, name) if options.by_sdk else freezing(server, name, folder / "manifest")
                sys.stdout.write(told + "\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
