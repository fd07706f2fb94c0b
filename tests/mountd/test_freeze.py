import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mountd.dataset.manifest import Manifest
from mountd.errors import BadInputError, HostilePathError, NotFoundError
from mountd.freeze import FreezeSource, compile_pattern, freeze, freeze_source
from mountd.stores.credentials import Credential
from mountd.stores.memory import MemoryStore
from mountd.stores.registry import file_url
from tests.support.azurite import KEY, Azurite
from tests.support.content import make_tree
from tests.support.http_server import HttpServer


def tree(manifest: Path) -> dict[str, int | None]:
    with Manifest.open(manifest) as opened:
        opened.verify()
        return {path: None if entry.is_directory else entry.size for path, entry in opened.walk()}


def files(manifest: Path) -> set[str]:
    return {path for path, size in tree(manifest).items() if size is not None}


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore("t" + os.urandom(6).hex())


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "out" / "manifest.sqlite"


def matches(pattern: str, key: str) -> bool:
    """The plainest matcher: segments, and '**' alone for any number of them."""

    def segments(wanted: list[str], found: list[str]) -> bool:
        if not wanted:
            return not found
        if wanted[0] == "**":
            rest = [segments(wanted[1:], found[start:]) for start in range(len(found) + 1)]
            return any(rest) if len(wanted) > 1 else bool(found)
        return bool(found) and one(wanted[0], found[0]) and segments(wanted[1:], found[1:])

    def one(wanted: str, found: str) -> bool:
        if not wanted:
            return not found
        if wanted[0] == "*":
            return any(one(wanted[1:], found[start:]) for start in range(len(found) + 1))
        return bool(found) and wanted[0] == found[0] and one(wanted[1:], found[1:])

    return segments(pattern.split("/"), key.split("/"))


@given(
    st.lists(st.sampled_from(["**", "*", "a", "*b", "a*", "?", "[ab]", "."]), min_size=1, max_size=4).map("/".join),
    st.lists(st.text("ab?[].\n", min_size=1, max_size=3), min_size=1, max_size=4).map("/".join),
)
def test_patterns_match_as_the_plainest_matcher_does(pattern: str, key: str) -> None:
    assert bool(compile_pattern(pattern).fullmatch(key)) is matches(pattern, key)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("**", {"a.csv", "x/a.csv", "x/y/b.csv", "x/y/c.txt"}),
        ("*", {"a.csv"}),
        ("*.csv", {"a.csv"}),
        ("**/*.csv", {"a.csv", "x/a.csv", "x/y/b.csv"}),
        ("x/*/*.csv", {"x/y/b.csv"}),
        ("x/**", {"x/a.csv", "x/y/b.csv", "x/y/c.txt"}),
        ("x/**/c.txt", {"x/y/c.txt"}),
        ("x/y/b.csv", {"x/y/b.csv"}),
        ("**.txt", {"x/y/c.txt"}),
    ],
)
@pytest.mark.parametrize("kind", ["memory", "file"])
def test_globs(tmp_path: Path, target: Path, store: MemoryStore, pattern: str, expected: set[str], kind: str) -> None:
    sizes = {"a.csv": 1, "x/a.csv": 2, "x/y/b.csv": 3, "x/y/c.txt": 4}
    for key, size in sizes.items():
        store.put(key, bytes(size))
    url = store.url if kind == "memory" else file_url(make_tree(tmp_path / "data", sizes))
    summary = freeze([FreezeSource(url, pattern=pattern)], target)
    assert files(target) == expected
    assert (summary.files, summary.size_bytes) == (len(expected), sum(sizes[key] for key in expected))


@pytest.mark.parametrize("pattern", ["*.tsv", "[a].csv", "a.cs?", "A.CSV", "y/**"])
def test_nothing_matched_names_url_and_pattern(target: Path, store: MemoryStore, pattern: str) -> None:
    store.put("a.csv", b"1")
    with pytest.raises(NotFoundError, match=f"{re.escape(store.url)}.*{re.escape(repr(pattern))}"):
        freeze([FreezeSource(store.url, pattern=pattern)], target)
    assert not target.exists()


def test_an_empty_folder_is_nothing_but_one_beside_files_is_kept(tmp_path: Path, target: Path) -> None:
    folder = make_tree(tmp_path / "data", {"empty/": 0})
    with pytest.raises(NotFoundError, match="holds no files"):
        freeze([FreezeSource(file_url(folder))], target)
    assert not list(target.parent.glob("*")) if target.parent.exists() else True
    make_tree(folder, {"a": 1, ".moorage/catalog.db": 9, "b/.moorage/kept": 2})
    freeze([FreezeSource(file_url(folder))], target)
    assert tree(target) == {"empty": None, "a": 1, "b": None, "b/.moorage": None, "b/.moorage/kept": 2}


def test_sources_appear_where_they_are_put(target: Path, store: MemoryStore) -> None:
    other = MemoryStore("t" + os.urandom(6).hex(), "pre/")
    store.put("a", b"1")
    other.put("b/c", b"22")
    counts: list[int] = []
    sources = [FreezeSource(store.url, under="first"), FreezeSource(other.url, under="second/half/")]
    freeze([*sources, FreezeSource(store.url, pattern="a")], target, progress=counts.append)
    assert tree(target) == {
        "first": None,
        "first/a": 1,
        "second": None,
        "second/half": None,
        "second/half/b": None,
        "second/half/b/c": 2,
        "a": 1,
    }
    assert counts == [1, 2, 3]
    with Manifest.open(target) as manifest:
        assert manifest.sources == (store.url, other.url)
        entry = manifest.find("second/half/b/c")
        assert entry is not None
        assert (entry.source, manifest.key(entry)) == (1, "b/c")


@pytest.mark.parametrize(
    "keys",
    [
        ["ok", "../escape"],
        ["a/../../b"],
        ["/etc/passwd"],
        ["a//b"],
        ["a/./b"],
        ["nul\0byte"],
        ["x" * 256],
        ["a", "a/b"],
        ["dir/"],
    ],
)
def test_hostile_listings_are_refused_by_name_and_leave_nothing(
    target: Path, store: MemoryStore, keys: list[str]
) -> None:
    for key in keys:
        store.put(key, b"bytes")
    with pytest.raises(HostilePathError) as caught:
        freeze([FreezeSource(store.url)], target)
    assert repr(keys[-1])[1:40] in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(target.parent.iterdir()) == []


def test_directory_markers_become_directories(target: Path, store: MemoryStore) -> None:
    store.put("a/", b"")
    store.put("b", b"")
    store.put("b/c", b"1")
    store.put("d", b"", is_directory=True)
    freeze([FreezeSource(store.url)], target)
    assert tree(target) == {"a": None, "b": None, "b/c": 1, "d": None}


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_folder_as_typed(tmp_path: Path, target: Path, slash: str) -> None:
    make_tree(tmp_path / "data", {"a": 1, "b/c": 2})
    freeze_source(f"file://{tmp_path}/data{slash}", None, target)
    assert files(target) == {"a", "b/c"}


def test_a_single_file_as_typed(tmp_path: Path, target: Path) -> None:
    make_tree(tmp_path / "data", {"a b%": 1, "a b%c": 2})
    freeze_source(file_url(tmp_path / "data" / "a b%").rstrip("/"), None, target)
    assert files(target) == {"a b%"}


def test_a_web_file_as_typed(target: Path) -> None:
    with HttpServer.start() as server:
        url = server.put("/some_dir/x.bin", b"12345", etag='"e"')
        freeze_source(url, None, target)
        assert tree(target) == {"x.bin": 5}
        with pytest.raises(BadInputError, match="cannot be listed"):
            freeze_source(f"{server.endpoint}/some_dir/", None, target)


@pytest.mark.azurite
def test_a_container_a_folder_and_a_blob_as_typed(azurite: Azurite, target: Path) -> None:
    name, key = "f" + os.urandom(6).hex(), Credential("key", KEY)
    url = azurite.make_container(name).rstrip("/")
    for blob in ("one", "one-more", "two/x", "two/y", "two.txt"):
        azurite.put(name, blob, blob.encode())
    expected = {
        "": {"one", "one-more", "two/x", "two/y", "two.txt"},
        "/": {"one", "one-more", "two/x", "two/y", "two.txt"},
        "/one": {"one"},
        "/two": {"x", "y"},
        "/two/": {"x", "y"},
        "/two/x": {"x"},
    }
    for text, paths in expected.items():
        freeze_source(url + text, key, target)
        assert files(target) == paths, text
    with pytest.raises(NotFoundError, match="holds no files"):
        freeze_source(url + "/three", key, target)


def test_what_is_no_source(tmp_path: Path, target: Path) -> None:
    with pytest.raises(BadInputError, match="no URL"):
        freeze_source(str(tmp_path / "x.manifest"), None, target)
    with pytest.raises(NotFoundError, match="nowhere"):
        freeze_source(f"file://{tmp_path}/nowhere/", None, target)
