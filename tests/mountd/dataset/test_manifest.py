import sqlite3
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mountd.dataset import staging
from mountd.dataset.manifest import ROOT, FrozenFile, Manifest, ManifestSummary, write_manifest
from mountd.errors import HostilePathError, ManifestError, NotFoundError

SOURCES = ["file:///data/"]
NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
    lambda name: name not in {".", ".."} and len(name.encode()) <= 255
)
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)


def frozen(path: str, size: int = 1, etag: str = "e", **more: object) -> FrozenFile:
    return FrozenFile(path, size, etag, 10**18, **more)  # type: ignore[arg-type]  # test shorthand


def write(folder: Path, files: Iterable[FrozenFile], sources: list[str] | None = None) -> tuple[Path, ManifestSummary]:
    target = folder / "m"
    return target, write_manifest(target, SOURCES if sources is None else sources, files)


def complaint_of(target: Path) -> str:
    try:
        with Manifest.open(target) as manifest:
            manifest.verify()
    except ManifestError as error:
        return str(error)
    return ""


def without_conflicts(paths: Iterable[str]) -> list[str]:
    """The paths none of which is a folder of another."""
    kept = set(paths)
    folders = {"/".join(path.split("/")[:depth]) for path in kept for depth in range(1, path.count("/") + 1)}
    return sorted(kept - folders)


def test_a_full_disk_is_an_error_that_names_the_manifest_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "_CREATE", staging._CREATE + "PRAGMA max_page_count = 16;")
    with pytest.raises(OSError, match="No space left on device") as caught:
        write(tmp_path, (frozen(f"file {number}") for number in range(10_000)))
    assert caught.value.filename == str(tmp_path / "m")
    assert not list(tmp_path.iterdir())


@settings(max_examples=60, deadline=None)
@given(st.lists(PATHS, max_size=40), st.randoms())
def test_any_listing_in_any_order_reads_back_as_the_same_tree(
    tmp_path_factory: pytest.TempPathFactory, listed: list[str], random: object
) -> None:
    paths = without_conflicts(listed)
    folder = tmp_path_factory.mktemp("m")
    target, summary = write(folder, [frozen(path, len(path), f"tag {path}") for path in paths])
    shuffled = list(paths)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis types it as object-like
    again = write_manifest(folder / "n", SOURCES, [frozen(path, len(path), f"tag {path}") for path in shuffled])
    assert again == summary
    with Manifest.open(target) as manifest:
        manifest.verify()
        assert {path: (e.size, e.etag) for path, e in manifest.files()} == {p: (len(p), f"tag {p}") for p in paths}
        assert summary.files == manifest.file_count == len(paths)
        for path in paths:
            entry = manifest.find(path)
            assert entry is not None
            assert manifest.path(entry) == path
            assert manifest.entry(entry.inode) == entry


@settings(max_examples=40, deadline=None)
@given(st.lists(PATHS, min_size=1, max_size=40), st.integers(1, 5))
def test_children_are_contiguous_ascending_and_page_from_anywhere(
    tmp_path_factory: pytest.TempPathFactory, listed: list[str], limit: int
) -> None:
    target, _ = write(tmp_path_factory.mktemp("m"), [frozen(path) for path in without_conflicts(listed)])
    with Manifest.open(target) as manifest:
        root = manifest.entry(ROOT)
        assert root is not None
        for directory in [root, *(entry for _, entry in manifest.walk() if entry.is_directory)]:
            whole = manifest.children(directory)
            assert [child.name for child in whole] == sorted(child.name for child in whole)
            assert [child.inode for child in whole] == list(range(directory.first, directory.first + directory.count))
            paged, after = [], 0
            while page := manifest.children(directory, after, limit):
                paged += page
                after = page[-1].inode
            assert paged == whole


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("../secret", "'..'"),
        ("a/../b", "'..'"),
        ("./a", "'.'"),
        ("/etc/passwd", "absolute"),
        ("a//b", "empty segment"),
        ("", "empty path"),
        ("a\0b", "NUL"),
        ("x" * 256, "255"),
        ("/".join(["x" * 200] * 25), "4095"),
        ("//", "ends in"),
    ],
)
def test_a_hostile_path_is_refused_by_name_and_leaves_nothing(tmp_path: Path, path: str, rule: str) -> None:
    with pytest.raises(HostilePathError, match=rule) as caught:
        write(tmp_path, [frozen("good"), frozen(path)])
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_names_as_long_as_linux_allows_are_kept(tmp_path: Path) -> None:
    target, _ = write(tmp_path, [frozen("x" * 255), frozen("ü" * 127)])
    with Manifest.open(target) as manifest:
        assert manifest.find("x" * 255)
        assert manifest.find("ü" * 127)


def test_names_that_are_not_utf8_are_kept_as_the_bytes_they_are(tmp_path: Path) -> None:
    target, _ = write(tmp_path, [frozen("caf\udce9")])
    with Manifest.open(target) as manifest:
        entry = manifest.lookup(ROOT, b"caf\xe9")
        assert entry is not None
        assert manifest.key(entry) == "caf\udce9"


def test_an_object_with_bytes_and_children_is_an_error_that_names_both(tmp_path: Path) -> None:
    with pytest.raises(HostilePathError, match=r"'a' holds 3 bytes, and 'a/b'"):
        write(tmp_path, [frozen("a", 3), frozen("a/b")])


def test_the_conflict_is_seen_although_another_name_sorts_between(tmp_path: Path) -> None:
    with pytest.raises(HostilePathError, match=r"'a' holds 3 bytes, and 'a/b'"):
        write(tmp_path, [frozen("a", 3), frozen("a.b"), frozen("a/b")])


def test_an_empty_object_with_children_is_a_directory(tmp_path: Path) -> None:
    target, summary = write(tmp_path, [frozen("a", 0), frozen("a.b"), frozen("a/b")])
    assert summary.files == 2
    with Manifest.open(target) as manifest:
        entry = manifest.find("a")
        assert entry is not None
        assert entry.is_directory


@pytest.mark.parametrize("markers", [["d/"], ["d", "d/"], ["d/", "d"]])
def test_a_marker_is_a_directory_even_if_empty(tmp_path: Path, markers: list[str]) -> None:
    target, summary = write(tmp_path, [frozen(marker, 0) for marker in markers])
    assert summary.files == 0
    with Manifest.open(target) as manifest:
        assert [(path, entry.is_directory) for path, entry in manifest.walk()] == [("d", True)]


def test_a_marker_with_bytes_and_two_objects_of_one_path_are_errors(tmp_path: Path) -> None:
    with pytest.raises(HostilePathError, match="ends in '/'"):
        write(tmp_path, [frozen("d/", 5)])
    with pytest.raises(HostilePathError, match="listed twice"):
        write(tmp_path, [frozen("f", 5), frozen("f", 5)])


def test_the_digest_changes_with_every_thing_it_covers(tmp_path: Path) -> None:
    def digest(files: list[FrozenFile], sources: list[str] | None = None) -> str:
        return write(tmp_path, files, sources)[1].digest

    base = digest([frozen("a")])
    others = [
        digest([frozen("b")]),
        digest([frozen("a", 2)]),
        digest([frozen("a", etag="f")]),
        digest([frozen("a"), frozen("d/", 0)]),
        digest([frozen("a", key="elsewhere")]),
        digest([frozen("a")], ["file:///other/"]),
    ]
    assert len({base, *others}) == len(others) + 1
    assert digest([FrozenFile("a", 1, "e", 5)]) == base  # a time is no content


def test_an_implied_directory_is_as_old_as_the_newest_thing_in_it(tmp_path: Path) -> None:
    target, _ = write(tmp_path, [FrozenFile("d/a", 1, "e", 7), FrozenFile("d/b", 1, "e", 9)])
    with Manifest.open(target) as manifest:
        entry = manifest.find("d")
        assert entry is not None
        assert entry.mtime_ns == 9


def test_a_file_that_is_no_manifest_is_told_in_one_line(tmp_path: Path) -> None:
    other = tmp_path / "x"
    other.write_bytes(b"hello")
    with pytest.raises(ManifestError, match="not a manifest"):
        Manifest.open(other)
    with pytest.raises(NotFoundError, match="no such manifest"):
        Manifest.open(tmp_path / "absent")


def test_a_manifest_of_another_version_is_refused(tmp_path: Path) -> None:
    target, _ = write(tmp_path, [frozen("a")])
    with sqlite3.connect(target) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(ManifestError, match="format 99"):
        Manifest.open(target)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE entries SET size = 7 WHERE name = x'61'",
        "UPDATE entries SET etag = 'other' WHERE name = x'61'",
        "UPDATE entries SET name = x'2e2e' WHERE name = x'61'",
        "UPDATE entries SET name = x'612f62' WHERE name = x'61'",
        "DELETE FROM entries WHERE name = x'61'",
        "UPDATE entries SET source = 5 WHERE name = x'61'",
        "UPDATE entries SET first = 1, count = 2 WHERE name = x'64'",
        "UPDATE sources SET url = 'file:///evil/'",
    ],
)
def test_verify_finds_what_was_changed(tmp_path: Path, change: str) -> None:
    target, _ = write(tmp_path, [frozen("a"), frozen("d/b"), frozen("z")])
    with sqlite3.connect(target) as connection:
        connection.execute(change)
    connection.close()
    with Manifest.open(target) as manifest, pytest.raises(ManifestError):
        manifest.verify()


def test_a_torn_manifest_is_an_error_and_no_traceback_of_sqlite(tmp_path: Path) -> None:
    target, _ = write(tmp_path, [frozen(f"file{n:05}") for n in range(3000)])
    data = bytearray(target.read_bytes())
    data[8192:-4096] = b"\xff" * (len(data) - 12288)
    target.write_bytes(data)
    with pytest.raises(ManifestError, match=str(target)), Manifest.open(target) as manifest:
        manifest.verify()


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_no_damage_to_a_manifest_is_more_than_one_line(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    target, _ = write(tmp_path_factory.mktemp("m"), [frozen(f"d{n % 7}/f{n:03}", key=f"k{n}") for n in range(60)])
    whole = target.read_bytes()
    torn = bytearray(whole)
    for place in data.draw(st.lists(st.integers(100, len(torn) - 1), min_size=1, max_size=8)):
        torn[place] = data.draw(st.integers(0, 255))
    target.write_bytes(torn)
    assert "\n" not in complaint_of(target)
