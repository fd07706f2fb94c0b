"""What has drifted from a manifest, told by listing alone."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mountd.dataset.manifest import FrozenFile, write_manifest
from mountd.diff import Drift, compare, diff
from mountd.errors import HostilePathError
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


def test_a_freeze_since_an_older_one_tells_what_is_new_changed_and_gone(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree", SIZES | {"folder.txt": 1, "folder/deep.txt": 2})
    older, newer, url = tmp_path / "older", tmp_path / "newer", file_url(tree)
    freeze([FreezeSource(url)], older)
    done = mountd("freeze", url, "-o", newer, "--since", older)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 1  # nothing but the summary
    (tree / "a").write_bytes(b"changed")
    (tree / "folder/deep/c").unlink()
    make_tree(tree, {"folder/deep/d": 3, "folder/b ": 4})
    done = mountd("freeze", url, "-o", newer, "--overwrite", "--since", older)
    assert [line.split(":")[0].strip() for line in done.stdout.splitlines()[:-1]] == [
        "changed  a",
        "new      folder/b",
        "gone     folder/deep/c",
        "new      folder/deep/d",
    ]
    same = mountd("diff", older, newer)
    assert (same.returncode, same.stdout.splitlines()) == (9, done.stdout.splitlines()[:-1])
    for wrong, code in ((older, 3), (tmp_path / "none", 4), (tree / "a", 3)):
        refused = mountd("freeze", url, "-o", older, "--overwrite", "--since", wrong)
        assert (refused.returncode, len(refused.stderr.splitlines())) == (code, 1)


_trees = st.dictionaries(st.text("ab./ ", min_size=1, max_size=5), st.tuples(st.integers(0, 2), st.sampled_from("xy")))


@given(_trees, _trees)
@settings(deadline=None, max_examples=60)
def test_two_manifests_are_compared_as_two_dictionaries_would_be(
    one: dict[str, tuple[int, str]], two: dict[str, tuple[int, str]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        made = []
        for name, files in (("one", one), ("two", two)):
            try:
                write_manifest(
                    Path(folder) / name, ["memory://x/"], [FrozenFile(p, s, e, 0) for p, (s, e) in files.items()]
                )
            except HostilePathError:
                return
            made.append({p: told for p, told in files.items() if not p.endswith("/")})
        found = {each.path: each.kind for each in compare(Path(folder) / "one", Path(folder) / "two")}
    old, new = ({p: t for p, t in files.items() if not any(q.startswith(p + "/") for q in files)} for files in made)
    expected = dict.fromkeys(old.keys() - new.keys(), "gone") | dict.fromkeys(new.keys() - old.keys(), "new")
    assert found == expected | {path: "changed" for path in old.keys() & new.keys() if old[path] != new[path]}
