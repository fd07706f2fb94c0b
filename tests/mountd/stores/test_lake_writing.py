"""The way of a file into a Data Lake: whole or not at all, and once, whatever answers are lost."""

from concurrent.futures import ThreadPoolExecutor
from hashlib import md5
from pathlib import Path
from typing import Any

import pytest

from mountd.errors import (
    AccessDeniedError,
    BadInputError,
    CorruptDataError,
    DestinationExistsError,
    HostilePathError,
)
from mountd.stores.lake import requests as lake_requests
from mountd.stores.lake import writing as lake_writing
from mountd.uploading.uploader import upload
from tests.mountd.stores.lakes import LAKE, listed, open_store, server, tree
from tests.support.content import content, make_tree
from tests.support.datalake_server import DataLakeServer, Fault

__all__ = ["server"]  # a fixture


@pytest.mark.parametrize("size", [0, 1023, 1024, 1025, 5000])
def test_a_file_goes_in_pieces_and_is_kept_with_its_md5(
    server: DataLakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(lake_writing, "PIECE_BYTES", 1024)
    source = tmp_path / "source"
    source.write_bytes(content("s", 0, size))
    store = open_store(server, "out/")
    info = store.write("a/big", source)
    assert len(server.asked("append")) == -(-size // 1024)
    assert (info.key, info.size) == ("a/big", size)
    assert info.md5 == md5(content("s", 0, size), usedforsecurity=False).digest()
    assert tree(server) == {"out": None, "out/a": None, "out/a/big": content("s", 0, size)}
    appended = len(server.asked("append"))
    with pytest.raises(DestinationExistsError, match="big"):
        store.write("a/big", source)
    assert len(server.asked("append")) == appended + (size == 1024) + (0 < size < 1024)  # else seen before it is sent
    assert store.write("a/big", source, overwrite=True).etag != info.etag


def test_nothing_is_visible_before_the_rename_and_what_fails_leaves_nothing(
    server: DataLakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, seen = open_store(server), list[list[str]]()

    def die(*_: object, **__: object) -> None:
        seen.append([path for path, data in tree(server).items() if data == b"data"])
        seen.append(listed(store))
        raise KeyboardInterrupt

    monkeypatch.setattr(lake_requests.LakeRequests, "rename", die)
    with pytest.raises(KeyboardInterrupt):
        store.write("file", b"data")
    (partial,), visible = seen
    assert partial.startswith(".moorage-")
    assert visible == []
    assert tree(server) == {}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("operation", ["create file", "append", "flush", "rename", "properties"])
def test_a_lost_answer_is_asked_for_again_to_the_same_effect(
    server: DataLakeServer,
    operation: str,
    overwrite: bool,  # noqa: FBT001 - a parameter
) -> None:
    server.faults.append(Fault(operation, lost=True))
    info = open_store(server).write("a/file", b"data", overwrite=overwrite)
    assert tree(server) == {"a": None, "a/file": b"data"}
    assert info == next(open_store(server).list("a/file"))
    assert not server.faults


def test_after_a_busy_answer_another_s_file_is_still_in_the_way(server: DataLakeServer) -> None:
    server.put(LAKE, "file", b"other")
    server.faults.append(Fault("rename"))
    with pytest.raises(DestinationExistsError, match="file: exists already"):
        open_store(server).write("file", b"data")
    assert tree(server) == {"file": b"other"}


def test_a_file_that_is_replaced_at_once_is_no_success(server: DataLakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = lake_requests.LakeRequests.rename

    def and_then_another(self: lake_requests.LakeRequests, old: str, new: str, **options: Any) -> None:
        rename(self, old, new, **options)
        server.put(LAKE, new, b"another")

    monkeypatch.setattr(lake_requests.LakeRequests, "rename", and_then_another)
    with pytest.raises(CorruptDataError, match="file: the store holds another"):
        open_store(server).write("file", b"data")


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("key", ["folder", "file/below", "file/far/below"])
def test_files_and_folders_do_not_replace_each_other(server: DataLakeServer, key: str, overwrite: bool) -> None:  # noqa: FBT001 - a parameter
    server.put(LAKE, "folder/x", b"x")
    server.put(LAKE, "file", b"y")
    before = tree(server)
    with pytest.raises(DestinationExistsError, match=key):
        open_store(server).write(key, b"data", overwrite=overwrite)
    assert tree(server) == before


def test_of_many_writers_of_one_name_one_wins(server: DataLakeServer) -> None:
    store = open_store(server)

    def write(number: int) -> bytes | None:
        data = f"written by {number}".encode()
        try:
            return data if store.write("a/file", data).size else None
        except DestinationExistsError:
            return None

    with ThreadPoolExecutor(8) as pool:
        (winner,) = filter(None, pool.map(write, range(16)))
    assert tree(server) == {"a": None, "a/file": winner}


def test_an_upload_that_fails_takes_its_files_back(server: DataLakeServer, tmp_path: Path) -> None:
    server.put(LAKE, "out/taken", b"before")
    files = [(make_tree(tmp_path, {name: 100}) / name, name) for name in ("a", "deep/b", "c")]
    store = open_store(server)
    server.faults += [Fault("rename", status=403)]
    with pytest.raises(AccessDeniedError):
        upload(files, store, store, prefix="out/", threads=1)
    assert {path: data for path, data in tree(server).items() if data is not None} == {"out/taken": b"before"}
    with pytest.raises(DestinationExistsError, match="out/taken"):
        upload([*files, (tmp_path / "a", "taken")], store, store, prefix="out/")
    done = upload(files, store, store, prefix="out/")
    assert (done.files, [info.key for info in done.objects]) == (3, ["out/a", "out/deep/b", "out/c"])
    assert tree(server)["out/deep/b"] == content("deep/b", 0, 100)


@pytest.mark.parametrize("key", ["", "/x", "x/", "a//b", "a/../b", ".", "\udcff"])
def test_a_key_that_cannot_be_a_path_is_refused_before_anybody_is_asked(server: DataLakeServer, key: str) -> None:
    store = open_store(server)
    with pytest.raises(BadInputError if key == "\udcff" else HostilePathError):
        store.write(key, b"data")
    with pytest.raises(BadInputError):
        store.delete(key)
    assert server.requests == []
