"""What has drifted from a manifest, told by listing alone."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mountd.diff import Drift, diff
from mountd.freeze import FreezeSource, freeze
from mountd.stores.credentials import Credential
from mountd.stores.registry import file_url
from tests.support.azurite import Azurite
from tests.support.content import content, make_tree
from tests.support.http_server import HttpServer

SIZES = {"a": 10, "folder/b": 2000, "folder/deep/c": 30, "name \n odd": 5}


def mountd(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [str(Path(sys.executable).with_name("mountd")), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def short(found: list[Drift]) -> list[tuple[str, str, int | None, int | None]]:
    return [(each.kind, each.path, each.frozen_size, each.found_size) for each in found]


@pytest.mark.azurite
def test_diff_tells_what_changed_what_is_gone_and_what_is_new(tmp_path: Path, azurite: Azurite) -> None:
    url = azurite.make_container("drift")
    for name, size in SIZES.items():
        azurite.put("drift", name, content(name, 0, size))
    credential = Credential("connection_string", azurite.connection_string)
    freeze([FreezeSource(url, credential)], tmp_path / "m")
    assert list(diff(tmp_path / "m", {url: credential}, new=True)) == []
    azurite.put("drift", "folder/b", content("b", 0, 2000))
    azurite.put("drift", "folder/new", b"new")
    azurite.remove("drift", "a")
    found = list(diff(tmp_path / "m", {url: credential}, new=True))
    assert short(found) == [
        ("changed", "folder/b", 2000, 2000),
        ("new", "folder/new", None, 3),
        ("gone", "a", 10, None),
    ]
    assert found[0].frozen_etag != found[0].found_etag
    assert len({found[0].frozen_etag, found[0].found_etag, ""}) == 3
    assert short(list(diff(tmp_path / "m", {url: credential}))) == short([found[0], found[2]])


def test_the_command_tells_a_line_each_and_ends_with_9(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree", SIZES)
    freeze([FreezeSource(file_url(tree))], tmp_path / "m")
    done = mountd("diff", tmp_path / "m")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (tree / "a").write_bytes(b"changed")
    (tree / "name \n odd").unlink()
    done = mountd("diff", tmp_path / "m")
    assert done.returncode == 9
    changed, gone = done.stdout.splitlines()
    assert changed.startswith("changed  a: ETag ")
    assert changed.endswith(", 10 -> 7 bytes")
    assert gone == r"gone     'name \n odd'"
    [told, _] = map(json.loads, mountd("diff", tmp_path / "m", "--json").stdout.splitlines())
    assert (told["kind"], told["path"], told["frozen_size"], told["found_size"]) == ("changed", "a", 10, 7)


def test_files_below_another_folder_of_the_tree_are_found_by_their_keys(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree", SIZES)
    url = file_url(tree)
    freeze([FreezeSource(url, pattern="a", under="one"), FreezeSource(url, pattern="folder/**")], tmp_path / "m")
    assert list(diff(tmp_path / "m", {})) == []
    (tree / "a").write_bytes(b"changed")
    assert short(list(diff(tmp_path / "m", {}))) == [("changed", "one/a", 10, 7)]


def test_a_folder_that_is_gone_is_all_of_its_files(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree", SIZES)
    freeze([FreezeSource(file_url(tree))], tmp_path / "m")
    tree.rename(tmp_path / "away")
    assert {(each.kind, each.path) for each in diff(tmp_path / "m", {})} == {("gone", name) for name in SIZES}


def test_files_of_a_web_server_are_asked_for_by_name(tmp_path: Path) -> None:
    with HttpServer.start() as server:
        for name in ("x", "y", "z"):
            server.put(f"/d/{name}", content(name, 0, 100), etag='"1"')
        url = f"{server.endpoint}/d/"
        freeze([FreezeSource(url, pattern=name) for name in ("x", "y", "z")], tmp_path / "m")
        assert list(diff(tmp_path / "m", {})) == []
        server.put("/d/x", content("x", 0, 100), etag='"2"')
        del server.files["/d/y"]
        found = list(diff(tmp_path / "m", {}))
    assert short(found) == [("changed", "x", 100, 100), ("gone", "y", 100, None)]
    assert (found[0].frozen_etag, found[0].found_etag) == ("1", "2")
