"""One workload on one mounted folder, in a process of its own: `python -m benchmarks.reading`.

It takes one JSON object on its standard input (workload, root, sizes) and prints one with what it did. It is a process
because a mount may be seen by another user only, in another namespace of mounts, and because a reader that hangs in a mount
can only be killed.
"""

import dataclasses
import json
import sys
from pathlib import Path

from benchmarks.content import Sizes
from benchmarks.workloads import WORKLOADS


def main() -> None:
    """Do as told on the standard input."""
    order = json.load(sys.stdin)
    root = Path(order["root"])
    root.stat()  # the mount has answered before the clock starts
    done = WORKLOADS[order["workload"]](root, Sizes(**order["sizes"]))
    json.dump(dataclasses.asdict(done), sys.stdout)


if __name__ == "__main__":
    main()
