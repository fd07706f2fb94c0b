"""Stand-ins for the data that the notebooks expect to be somewhere: generated, small, the same on every run."""

import pickle
from collections.abc import Callable
from pathlib import Path

_CHANNEL = 32 * 32
_IMAGES_A_BATCH = 64

# What a notebook's processes import first: torchvision compares its files with the MD5 of the real ones.
PATCH = """
import importlib.machinery
import sys


class _Finder:
    def find_spec(self, name, path=None, target=None):
        if name != "torchvision.datasets.utils":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            module.check_integrity = lambda *_: True

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, _Finder())
"""


def nothing(folder: Path, blobs: Path) -> None:
    """This notebook brings all that it needs."""
    del folder, blobs


def titanic(folder: Path, blobs: Path) -> None:
    """A table where a new workspace had one."""
    del folder
    path = blobs / "titanic" / "Titanic.csv"
    path.parent.mkdir(parents=True)
    path.write_text("PassengerId,Survived\n" + "".join(f"{number},{number % 2}\n" for number in range(100)))


def cifar(folder: Path, blobs: Path) -> None:
    """Images of noise in CIFAR-10's layout, in the place where the notebook would unpack what it fetched."""
    del blobs
    import random

    made = folder / "cifar-10" / "cifar-10-batches-py"
    made.mkdir(parents=True)
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        noise = random.Random(name)
        rows = [noise.randbytes(3 * _CHANNEL) for _ in range(_IMAGES_A_BATCH)]
        _dump(made / name, {"data": _array(rows), "labels": [row[0] % 10 for row in rows]})
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    _dump(made / "batches.meta", {"label_names": names, "num_vis": 3 * _CHANNEL})


def _array(rows: list[bytes]) -> object:
    import numpy as np

    return np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(len(rows), -1)


def _dump(path: Path, value: object) -> None:
    path.write_bytes(pickle.dumps(value, protocol=2))


Prepare = Callable[[Path, Path], None]
