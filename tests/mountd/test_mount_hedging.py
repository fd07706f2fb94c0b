"""A real mount of a store that lets some requests hang; `make soak` has the long form."""

from pathlib import Path

import pytest

from tests.support.content import make_tree
from tests.support.stalls import Latency, percentile, timed
from tests.support.storms import KIB, served

pytestmark = pytest.mark.fuse

BATCHES, BATCH = 8, 300  # of 1200 reads the slowest but one is the 99.9th percentile


@pytest.mark.full  # what others do meanwhile would be told, too
def test_one_request_in_a_hundred_that_hangs_costs_no_reader_twice_the_usual(tmp_path: Path) -> None:
    names = [f"{batch}/{number}" for batch in range(BATCHES) for number in range(BATCH)]
    plain = make_tree(tmp_path / "plain", dict.fromkeys(names, 4 * KIB))
    latency, clean, stalled = Latency(), list[float](), list[float]()
    with served(plain, tmp_path / "manifest") as world, world.mount(tmp_path / "mnt", cache="off") as mount:
        world.server.delay_s = latency
        for batch in range(BATCHES):  # by turns, so that whatever else the machine does is in both
            latency.stalling = batch % 2 == 1
            times_s = timed(mount, names[batch * BATCH :][:BATCH])
            (stalled if latency.stalling else clean).extend(times_s)
        fetch = mount.status()["fetch"]
    assert percentile(stalled) < 2 * percentile(clean)
    assert BATCHES // 2 <= latency.stalled <= fetch["hedged"] <= 0.05 * fetch["requests"] + 1
    assert fetch["errors"] == 0
