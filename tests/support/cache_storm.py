"""A process that reads and fills a disk cache at random: `python -m tests.support.cache_storm FOLDER LIMIT_BYTES SEED`.

It prints a line after each round, and fails when a byte was wrong or a record damaged.
"""

import random
import sys
from pathlib import Path

from tests.support.caches import data_of, file_id, found, opened

ROUNDS = 12
_READS = 60
_KIB = 1024


def main(folder: Path, limit_bytes: int, seed: int) -> None:
    """Run all rounds."""
    chosen = random.Random(seed)
    with opened(folder, limit_bytes) as cache:
        for number in range(ROUNDS):
            for _ in range(_READS):
                name, offset = f"{chosen.randrange(20)}", chosen.randrange(16) * 32 * _KIB
                size = chosen.choice([1, 4 * _KIB, 100 * _KIB, 400 * _KIB])
                if found(cache, name, offset, size) < size:
                    cache.put(file_id(name), offset, data_of(name, offset, size), lambda: None)
            if not cache.drain(30):
                sys.exit("the writer hangs")
            print(number, flush=True)  # noqa: T201  # the test waits for it
        if cache.status().corrupt:
            sys.exit(f"{cache.status().corrupt} damaged records, although nothing damaged them")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
