"""A program that looks at labelled images through torch: `python -m tests.support.torch_labels METHOD COUNT`.

Workers made by `fork` or `spawn` read the registered datasets `classes`, `boxes` and `instances`, whose images and
labels are a function of their number; it fails when anything is another.
"""

import sys

import torch
from torch.utils.data import DataLoader

from runtime import Dataset, Workspace

_WORKERS = 2


def loaded(name: str, method: str) -> list[tuple[torch.Tensor, object]]:
    """All items of a dataset, in its order, by workers; the parent has read one before."""
    images = Dataset.get_by_name(Workspace.from_config(), name).to_torchvision()
    assert images[-1][0].shape[0] == 3
    assert images.labels == ({"even": 1, "odd": 2} if name == "classes" else {"cat": 1}), images.labels
    loader = DataLoader(images, batch_size=3, num_workers=_WORKERS, multiprocessing_context=method, collate_fn=list)
    return [item for batch in loader for item in batch]


def main(method: str, count: int) -> None:
    """Look at all of them; by `spawn`, whose workers take seconds to start, at the boxes only."""
    boxes = loaded("boxes", method)
    assert len(boxes) == count
    for number, (image, target) in enumerate(boxes):
        assert torch.allclose(image, torch.full_like(image, number * 10 / 255), atol=0.02), number
        assert isinstance(target, dict)
        assert target["boxes"].tolist() == [[2.5, 0.0, 5.0, number + 1.0]], target
        assert target["labels"].tolist() == [1]
        assert target["iscrowd"].tolist() == [number % 2]
        assert target["image_id"].tolist() == [number]
    if method == "spawn":
        return
    for number, (image, target) in enumerate(loaded("classes", method)):
        assert image.shape == (3, 20, 10), image.shape  # turned, as EXIF says
        assert torch.allclose(image, torch.full_like(image, number * 10 / 255 * 2 - 1), atol=0.02), number
        assert target == 1 + number % 2
    for _, target in loaded("instances", method):
        assert isinstance(target, dict)
        assert target["masks"].shape == (1, 20, 10)
        assert target["masks"][0, 5:15, 5:].all()
        assert target["masks"].sum() == 50
        assert target["boxes"].tolist() == [[5.0, 5.0, 10.0, 15.0]]


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
