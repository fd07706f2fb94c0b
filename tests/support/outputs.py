"""Destinations and spools for tests: places to write to, what is in them, and a killer for every step."""

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mountd.stores import registry
from mountd.stores.credentials import Credential
from mountd.uploading.destination import Destination, Step, no_step
from mountd.uploading.spool import Spool, open_spool
from mountd.uploading.tree import ROOT
from tests.support.azurite import KEY


def local_url(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    return registry.file_url(folder)


def credential_for(url: str) -> Credential | None:
    return None if url.startswith("file:") else Credential("key", KEY)


def destination(url: str, prefix: str = "out/", step: Step = no_step) -> Destination:
    return Destination.open(url, prefix, credential_for(url), deadline_s=20, step=step)


@contextmanager
def spool(folder: Path, url: str, prefix: str = "out/", step: Step = no_step, **settings: float) -> Iterator[Spool]:
    """An open spool; files are sent at once unless `settle_s` says otherwise."""
    given = {"settle_s": 0.0, **settings}
    opened = open_spool(destination(url, prefix, step), folder, **given)  # type: ignore[arg-type] # numbers of a test
    try:
        yield opened
    finally:
        opened.close()


def stored(url: str, prefix: str = "out/") -> Mapping[str, bytes]:
    """Every object below the prefix, read."""
    place = destination(url, prefix)
    return {
        info.key: place.read(info.key, 0, info.size, info.etag) for info in place.objects() if not info.is_directory
    }


def resolve(tree: Spool, path: str) -> int:
    """The inode of a path, '' for the root."""
    inode = ROOT
    for name in filter(None, path.split("/")):
        inode = tree.lookup(inode, name.encode()).inode
    return inode


def put(tree: Spool, path: str, data: bytes) -> None:
    """Write a whole file, making it or not, as `open(path, 'wb')` does."""
    folder, _, name = path.rpartition("/")
    _, handle = tree.create(resolve(tree, folder), name.encode(), 0o644, os.O_WRONLY | os.O_TRUNC)
    tree.write(handle, 0, data)
    tree.flush(handle)
    tree.release(handle)


def get(tree: Spool, path: str) -> bytes:
    """Read a whole file."""
    inode = resolve(tree, path)
    handle = tree.open(inode, os.O_RDONLY)
    try:
        return tree.read(handle, 0, tree.attributes(inode).size + 1)
    finally:
        tree.release(handle)


def move(tree: Spool, old: str, new: str) -> None:
    """Rename by path."""
    (parent, _, name), (new_parent, _, new_name) = old.rpartition("/"), new.rpartition("/")
    tree.rename(resolve(tree, parent), name.encode(), resolve(tree, new_parent), new_name.encode())


class Killer:
    """Counts the steps of a process, and ends it with SIGKILL at one of them."""

    def __init__(self, at: int | None = None, told: Callable[[str], None] | None = None) -> None:
        self.count, self._at, self._told = 0, at, told or (lambda _: None)

    def __call__(self, name: str) -> None:
        self.count += 1
        self._told(name)
        if self.count == self._at:
            os.kill(os.getpid(), signal.SIGKILL)
