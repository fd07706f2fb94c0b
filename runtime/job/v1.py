"""v1's import names for a child: the tree `runtime/compat`, in front on PYTHONPATH.

An environment is all that it takes: whatever the child starts (jobs that it submits, torchrun's ranks) has it too.
"""

import os
from collections.abc import Mapping
from pathlib import Path

TREE = Path(__file__).resolve().parents[1] / "compat"


def with_v1(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` with the tree first on PYTHONPATH, once."""
    others = [each for each in environ.get("PYTHONPATH", "").split(os.pathsep) if each and each != str(TREE)]
    return {**environ, "PYTHONPATH": os.pathsep.join([str(TREE), *others])}
