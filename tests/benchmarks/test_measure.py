import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmarks import measure
from benchmarks.measure import Spread
from benchmarks.server import Traffic, parse_log

STAT = "77 (a (b) c) S 12 1 1 0 -1 0 0 0 0 0 130 40 20 10 20 0 1 0 5 0 0"
GRANDCHILD = """
import subprocess, sys
inner = "x = bytearray(50 << 20); print('ready', flush=True); input()"
child = subprocess.Popen([sys.executable, "-c", inner], stdin=subprocess.PIPE, start_new_session=True)
input()
child.communicate(b"\\n")
"""


@contextmanager
def family() -> Iterator[int]:
    """A process whose child, in a session of its own, holds 50 MiB."""
    with subprocess.Popen([sys.executable, "-c", GRANDCHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        yield parent.pid
        parent.communicate(b"\n")


def test_the_log_gives_requests_and_bytes() -> None:
    assert parse_log("GET 206 100 /a/b c.bin\nHEAD 200 0 /a/b\nGET 499 23 /x\n") == Traffic(3, 123)
    assert parse_log("") == Traffic(0, 0)


def test_a_log_that_is_not_ours_is_an_error_and_no_number() -> None:
    with pytest.raises(ValueError, match="x"):
        parse_log("GET 206 x /a\n")


def test_a_spread_is_median_and_bounds() -> None:
    assert Spread.of([3, 1, 2, 9]) == Spread(2.5, 1, 9, 4)
    assert Spread.of([7]) == Spread(7, 7, 7, 1)


def test_cpu_counts_children_that_have_ended_and_survives_odd_names() -> None:
    assert measure.cpu_of(STAT) == 200 / os.sysconf("SC_CLK_TCK")


def test_peak_memory_is_in_bytes_and_zero_for_the_dead() -> None:
    assert measure.peak_of("Name:\tx\nVmHWM:\t  12 kB\n") == 12 * 1024
    assert measure.peak_of("Name:\tx\nState:\tZ (zombie)\n") == 0


def test_memory_is_summed_over_a_tree_whatever_session_its_members_are_in() -> None:
    with family() as pid:
        members = measure.family(pid)
        assert (len(members), members[0]) == (2, pid)
        assert 50 << 20 < measure.usage(pid).peak_bytes < 200 << 20


def test_who_does_nothing_is_at_rest_and_holds_no_device() -> None:
    with family() as pid:
        measure.rest(pid, limit_s=60)
        assert not measure.serves_fuse(pid)


@pytest.mark.fuse
def test_who_holds_the_device_is_found_below_the_process_that_was_started() -> None:
    held = "import os, sys; os.open('/dev/fuse', os.O_RDWR); print('ready', flush=True); input()"
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {held!r}])"
    with subprocess.Popen([sys.executable, "-c", nested], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        assert measure.serves_fuse(parent.pid)
        parent.communicate(b"\n")
