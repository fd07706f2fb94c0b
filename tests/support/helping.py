"""A helper for tests: started, and at the end surely gone, with a dataset whose content is a function of (file, offset)."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from mountd.client.helper import Grant, Helper, HelperFiles
from mountd.client.helper_processes import OwnHelper, order_of
from mountd.freeze import FreezeSource, freeze
from mountd.stores.credentials import Credential
from mountd.stores.registry import file_url
from tests.support.content import content, make_tree

SIZES = {"a/0.bin": 3_000_000, "a/1.bin": 1, "b.bin": 70_000, "empty": 0, **{f"s/{n:03}": 1000 + n for n in range(200)}}


@contextlib.contextmanager
def own_helper(
    *grants: Grant, idle_s: float | None = None, memory: str = "32MiB"
) -> Iterator[tuple[OwnHelper, Helper]]:
    owner = OwnHelper(order_of(grants, {"memory": memory}, idle_s=idle_s))
    owner.ensure()
    try:
        yield owner, Helper(owner.address, owner.ensure)
    finally:
        owner.close()
        assert not Path(owner.address).exists()


def local_manifest(folder: Path, sizes: dict[str, int] | None = None) -> Path:
    freeze([FreezeSource(file_url(make_tree(folder / "tree", sizes or SIZES)))], folder / "manifest")
    return folder / "manifest"


def frozen(url: str, credential: Credential, target: Path) -> Path:
    freeze([FreezeSource(url, credential)], target)
    return target


def check(files: HelperFiles) -> None:
    """Read every file whole, in batches, and some across; fail on the first wrong byte."""
    entries = list(files.manifest.files())
    for (path, entry), data in zip(entries, files.read_many([(e, 0, e.size) for _, e in entries]), strict=True):
        assert data == content(path, 0, entry.size), path
    path, entry = max(entries, key=lambda each: each[1].size)
    for offset in range(0, entry.size, 777_777):
        assert files.read(entry, offset, 100_001) == content(path, offset, min(100_001, entry.size - offset)), offset
