"""A process that reads at random until its standard input ends: `python -m tests.soak.reading SEED < ORDER`.

Its first line of input is JSON: pairs of a mounted file and the plain one. At the end it prints JSON: how many reads, the
slowest in seconds, and every verdict that was not right. It has one thread, so that it may fork.
"""

import json
import random
import select
import sys
import time
from pathlib import Path

from tests.support.reading_apart import forked, verdict_of

WAYS = ("pread", "seek", "mmap", "dup", "fork")
_LENGTHS = (1, 4096, 65536, 65537, 200_000, 1 << 20, 5 << 20)


def main(seed: int) -> None:
    """Read until told to end."""
    chosen, count, slowest_s = random.Random(seed), 0, 0.0
    pairs: list[tuple[str, str]] = json.loads(sys.stdin.readline())
    bad: list[tuple[str, str, str, int, int]] = []
    while not select.select([sys.stdin], [], [], 0)[0]:
        path, plain = chosen.choice(pairs)
        way, length = chosen.choice(WAYS), chosen.choice(_LENGTHS)
        offset = chosen.randrange(Path(plain).stat().st_size + 1)
        started_s = time.monotonic()
        read = (way, path, plain, offset, length, chosen.random() < 0.75)
        verdict = forked(read) if way == "fork" else verdict_of(read)
        slowest_s, count = max(slowest_s, time.monotonic() - started_s), count + 1
        if verdict != "right":
            bad.append((verdict, way, path, offset, length))
    json.dump({"reads": count, "slowest_s": slowest_s, "bad": bad}, sys.stdout)


if __name__ == "__main__":
    main(int(sys.argv[1]))
