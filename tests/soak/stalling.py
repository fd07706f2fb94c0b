"""The first part of a soak: a store that lets one request in a hundred hang for 30 s, and no other harm.

Batches without and with such requests go by turns, on a mount of its own without a disk cache; each file is read once.
"""

from pathlib import Path
from typing import Any

from tests.support.content import make_tree
from tests.support.stalls import Latency, percentile, timed
from tests.support.storms import KIB, served

_BATCH = 500
_PAIRS_A_MINUTE = 1.2  # of batches: ten minutes of a soak read 6,000 files in either manner, in about a minute


def measure(minutes: float, folder: Path) -> dict[str, Any]:
    """How long reads took; nothing of a soak too short for a percentile."""
    pairs = int(minutes * _PAIRS_A_MINUTE)
    if not pairs:
        return {}
    names = [f"{batch}/{number}" for batch in range(2 * pairs) for number in range(_BATCH)]
    plain = make_tree(folder / "plain", dict.fromkeys(names, 4 * KIB))
    latency, times_s = Latency(), {False: list[float](), True: list[float]()}
    with served(plain, folder / "manifest") as world, world.mount(folder / "mnt", cache="off") as mount:
        world.server.delay_s = latency
        for batch in range(2 * pairs):
            latency.stalling = batch % 2 == 1
            times_s[latency.stalling] += timed(mount, names[batch * _BATCH :][:_BATCH])
        hedged = mount.status()["fetch"]["hedged"]
    return {
        "reads": len(times_s[True]),
        "stalled": latency.stalled,
        "hedged": hedged,
        "p999_clean_s": round(percentile(times_s[False]), 3),
        "p999_stalled_s": round(percentile(times_s[True]), 3),
    }
