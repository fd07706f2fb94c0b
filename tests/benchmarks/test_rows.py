import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import mounts, rows
from benchmarks.content import QUICK, make, small_keys
from benchmarks.mounts import BIN, freeze, manifest
from benchmarks.processes import BenchmarkError
from benchmarks.rows import ROWS, Sample
from benchmarks.server import Server, Shape, publish, serve
from tests.support.waiting import until

pytestmark = [pytest.mark.full, pytest.mark.fuse]

SIZES = dataclasses.replace(
    QUICK,
    stream_bytes=8 << 20,
    random_bytes=64 << 20,
    first_bytes=1 << 20,
    first_files=2,
    small_files=100,
    small_read=40,
)
BY_NAME = {row.name: row for row in ROWS}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("bench")
    publish(folder, make(folder / "content", SIZES))
    with serve(folder, Shape(latency_s=0.002)) as running:
        for container in ("small", "large"):
            freeze(running, container)
        yield running


def take(server: Server, row: str, tool: str) -> list[Sample]:
    scratch = server.folder / "mount"
    samples = list(rows.take(server, BY_NAME[row], tool, SIZES, scratch, 1))
    assert not scratch.exists()
    assert str(scratch) not in Path("/proc/self/mounts").read_text()
    return samples


def every_mount() -> list[str]:
    asked = [rows.MOORAGE, rows.STREAMS]
    return [*asked, rows.AS_USER] if os.geteuid() == 0 else asked


@pytest.mark.parametrize("tool", every_mount())
def test_a_sample_counts_what_the_mount_fetched_and_used_and_leaves_nothing(server: Server, tool: str) -> None:
    (sample,) = take(server, "sequential", tool)
    assert sample.read_bytes == SIZES.stream_bytes <= sample.sent_bytes < 2 * SIZES.stream_bytes
    assert sample.requests >= 1
    assert sample.cpu_s is not None
    assert sample.peak_bytes is not None
    assert sample.cpu_s > 0
    assert sample.peak_bytes > 20 << 20


def test_three_epochs_share_a_cache_and_the_log_tells_them_apart(server: Server) -> None:
    small = sum((server.content("small") / key).stat().st_size for key in small_keys(SIZES, 1))
    first, *others = take(server, "small files", rows.MOORAGE)
    assert (first.requests, first.sent_bytes, first.read_bytes) == (SIZES.small_read, small, small)
    assert {(each.requests, each.sent_bytes, each.read_bytes) for each in others} == {(0, 0, small)}
    assert len(others) == (2 if os.geteuid() == 0 else 1)


def test_the_wire_fetches_exactly_what_is_read(server: Server) -> None:
    (sample,) = take(server, "random 64K x 8", rows.WIRE)
    assert (sample.requests, sample.sent_bytes) == (SIZES.random_reads, sample.read_bytes)


def test_a_mount_that_is_served_from_elsewhere_is_an_error_because_its_cost_would_not_be_counted(
    server: Server, tmp_path: Path
) -> None:
    scratch = tmp_path / "scratch"
    mountpoint = mounts._fresh(scratch)
    cache = ("--cache-dir", str(scratch / "cache"))
    aside = '"$@" && exec sleep 100'  # without --foreground, mountd returns and its worker goes on alone
    source = str(manifest(server, "large"))
    command = ["bash", "-c", aside, "aside", str(BIN / "mountd"), "mount", source, str(mountpoint), *cache]

    def serving() -> None:
        with mounts._serving(command, mountpoint, scratch, {}) as pid:
            until(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n", what="the end of mountd mount")

    with pytest.raises(BenchmarkError, match="not below the process that was started"):
        serving()
    until(lambda: str(mountpoint) not in Path("/proc/self/mounts").read_text(), what="the end of the mount")
