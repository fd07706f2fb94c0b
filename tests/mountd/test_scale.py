"""What the number of entries may cost a mount. The clauses of docs/semantics.md are named by these tests."""

from pathlib import Path

import pytest

from benchmarks import scale

pytestmark = pytest.mark.fuse

MIB = 1 << 20
BOUND_BYTES = 64 * MIB  # a Python object for each of 200,000 entries, some 1 KB, would be three times that


@pytest.mark.parametrize("in_folder", [1000, 200_000])
def test_memory_does_not_grow_with_the_entries_that_are_looked_up_listed_and_walked(
    tmp_path: Path, in_folder: int
) -> None:
    told = scale.measure(tmp_path, 200_000, in_folder=in_folder)
    assert told.mounted_bytes - told.empty_bytes < BOUND_BYTES
    assert told.walked_bytes - told.empty_bytes < BOUND_BYTES


@pytest.mark.full
@pytest.mark.timeout(300)
def test_ten_million_entries_mount_within_a_second_and_cost_no_memory(tmp_path: Path) -> None:
    told = scale.measure(tmp_path, 10_000_000, walk_every=10)
    assert min(told.mount_s) < 1  # the least: it is the mount that is measured, not what else the machine does
    assert told.mounted_bytes - told.empty_bytes < BOUND_BYTES
    assert told.walked_bytes - told.empty_bytes < BOUND_BYTES
