"""What a request to a file share costs this process: reads by Microsoft's SDK and by obstore, and a listing.

`python -m benchmarks.shares` asks the tests' small server, which runs in a process of its own, so its time is not counted.
Reads are of 16 KiB, one after the other; the listing is of 100 directories with 100 files each.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, cast

from mountd.stores import registry
from mountd.stores.azure_files import AzureFilesStore
from mountd.stores.base import RangeReader
from mountd.stores.credentials import Credential
from tests.support.azurite import KEY
from tests.support.fileshare_server import FileShares

_READ_BYTES = 16 << 10
_READS = 500
_FOLDERS = _FILES = 100


def serve() -> None:
    """Serve a share until standard input ends, and print its URL."""
    with FileShares.start() as server:
        url = server.make_share("share")
        for number in range(_FOLDERS * _FILES):
            server.put("share", f"list/{number // _FILES}/{number % _FILES}", b"")
        server.put("share", "read/file", bytes(1 << 20))
        print(url, flush=True)  # noqa: T201 - what the other process waits for
        sys.stdin.read()


@contextmanager
def served() -> Iterator[str]:
    """The URL of a share that another process serves."""
    command = [sys.executable, "-c", "from benchmarks.shares import serve; serve()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield cast("IO[str]", process.stdout).readline().strip()
        cast("IO[str]", process.stdin).close()


def cost(count: int, ask: Callable[[], object]) -> str:
    """CPU and wall time of `ask`, for each of the `count` things that it does."""
    cpu_s, wall_s = time.process_time(), time.monotonic()
    ask()
    cpu_s, wall_s = time.process_time() - cpu_s, time.monotonic() - wall_s
    return f"{cpu_s / count * 1e3:.3f} ms of CPU, {wall_s / count * 1e3:.3f} ms"


def main() -> None:
    """Print the table."""
    with served() as url:
        own, source = Credential("key", KEY), registry.parse_source(url)
        sdk = AzureFilesStore(source, own, deadline_s=60)
        readers = {"a read by the SDK": sdk, "a read by obstore": registry.open_reader(url, own)}
        for name, reader in readers.items():
            reader.read("read/file", 0, 1, "")
            print(f"{name}: {cost(_READS, lambda: _read(reader))}")  # noqa: B023, T201 - called at once; a report
        listed = cost(_FOLDERS * _FILES, lambda: sum(1 for _ in sdk.list("list/")))
        print(f"a listed file: {listed}")  # noqa: T201 - a report


def _read(reader: RangeReader) -> None:
    for number in range(_READS):
        reader.read("read/file", number, _READ_BYTES, "")


if __name__ == "__main__":
    main()
