import os
import threading
from pathlib import Path

import pytest

from mountd.stores.base import ObjectInfo
from mountd.uploading.destination import Destination
from tests.support import outputs
from tests.support.content import content
from tests.support.outputs import get, move, put, resolve

LONG_S = 3600.0


@pytest.fixture
def url(tmp_path: Path) -> str:
    return outputs.local_url(tmp_path / "store")


def plant(tmp_path: Path, name: str, data: bytes) -> None:
    place = tmp_path / "store" / "out" / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)


def test_a_new_file_waits_until_a_moved_one_needs_its_old_object_no_more(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log that is rotated: the bytes of the old one are in the store only, under the name that the new one takes."""
    plant(tmp_path, "log", b"old" * 1000)
    overtaken = threading.Event()
    copy = Destination.copy

    def slow(self: Destination, info: ObjectInfo, target: Path) -> None:
        overtaken.wait(0.5)  # it is not to be overtaken, so this is how long nobody does
        copy(self, info, target)

    def step(name: str) -> None:
        if name == "after write log":
            overtaken.set()

    monkeypatch.setattr(Destination, "copy", slow)
    with outputs.spool(tmp_path / "spool", url, step=step, settle_s=LONG_S) as tree:
        put(tree, "fresh", b"new")
        move(tree, "log", "log.1")
        move(tree, "fresh", "log")
        tree.commit("run")
        assert get(tree, "log.1") == b"old" * 1000
    assert outputs.stored(url) == {"log": b"new", "log.1": b"old" * 1000}


def test_an_open_file_is_read_on_when_it_was_moved_and_its_name_taken(tmp_path: Path, url: str) -> None:
    data = content("log", 0, 5000)
    plant(tmp_path, "log", data)
    with outputs.spool(tmp_path / "spool", url, settle_s=LONG_S) as tree:
        handle = tree.open(resolve(tree, "log"), os.O_RDWR)
        move(tree, "log", "log.1")
        put(tree, "log", b"new")
        tree.drain()
        assert tree.read(handle, 1000, 100) == data[1000:1100]
        tree.write(handle, len(data), b"end")
        tree.release(handle)
        tree.commit("run")
    assert outputs.stored(url) == {"log": b"new", "log.1": data + b"end"}
