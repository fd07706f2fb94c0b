"""A program that trains on nothing: `python -m tests.support.torch_loading METHOD FOLDER NAME SIZE...`.

torch's own DataLoader reads the files of a mount in shuffled order, twice, by four workers that are made by `fork` or
`spawn`; the parent has read from the mount before. It fails when a byte was wrong or a file did not come.
"""

import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset

from tests.support.content import content

_WORKERS = 4
_EPOCHS = 2
_BATCH = 5


class Files(Dataset):  # type: ignore[misc]  # torch is not there where types are checked
    """The files of a folder as tensors of bytes."""

    def __init__(self, folder: Path, sizes: dict[str, int]) -> None:
        self._folder, self._names = folder, sorted(sizes)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, number: int) -> tuple[str, torch.Tensor]:
        data = bytearray((self._folder / self._names[number]).read_bytes())
        return self._names[number], torch.frombuffer(data, dtype=torch.uint8)


def main(method: str, folder: Path, *told: str) -> None:
    """Read all, each epoch with workers of its own."""
    sizes = dict(zip(told[::2], map(int, told[1::2]), strict=True))
    files = Files(folder, sizes)
    assert len(files[0][1]) == sizes[files[0][0]]
    loader = DataLoader(
        files,
        batch_size=_BATCH,
        shuffle=True,
        num_workers=_WORKERS,
        multiprocessing_context=method,
        collate_fn=list,
    )
    for _ in range(_EPOCHS):
        came = {name: bytes(data.numpy()) for batch in loader for name, data in batch}
        wrong = [name for name in sizes if came.get(name) != content(name, 0, sizes[name])]
        if wrong:
            sys.exit(f"wrong bytes: {wrong}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
