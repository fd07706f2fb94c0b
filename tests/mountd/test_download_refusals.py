"""What a download refuses: what is in the way, what would leave the target, and wrong bytes."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mountd.dataset.manifest import write_manifest
from mountd.download import download
from mountd.errors import (
    BadInputError,
    CorruptDataError,
    DataChangedError,
    DestinationExistsError,
    HostilePathError,
    ManifestError,
    NotFoundError,
)
from mountd.stores import registry
from mountd.stores.base import Buffer
from tests.support.content import make_tree
from tests.support.downloads import (
    BIG,
    SIZES,
    World,
    Wrap,
    as_is,
    check_whole,
    frozen,
    small_ranges,
    world,
    wrapped,
)

__all__ = ["small_ranges", "world", "wrapped"]  # fixtures


class TestInTheWay:
    def test_a_different_file_stops_it_before_any_copy(self, world: World, wrapped: Wrap) -> None:
        calls = wrapped(as_is)
        make_tree(world.target, {"0/a.png": 99, "mine.txt": 3})
        with pytest.raises(DestinationExistsError, match=r"0/a\.png: in the way, and different"):
            world.download()
        assert calls == []
        assert sorted(path.name for path in world.target.rglob("*")) == ["0", "a.png", "mine.txt"]

    def test_overwriting_replaces_it_and_leaves_the_users_other_files(self, world: World) -> None:
        make_tree(world.target, {"0/a.png": 99, "mine.txt": 3})
        world.download(overwrite=True)
        check_whole(world.target, {**SIZES, "mine.txt": 3})

    def test_a_file_edited_after_the_download_is_noticed(self, world: World) -> None:
        world.download()
        (world.target / "0/a.png").write_bytes(bytes(100))
        with pytest.raises(DestinationExistsError):
            world.download()

    def test_the_first_three_are_named(self, world: World) -> None:
        make_tree(world.target, dict.fromkeys(SIZES, 1))
        with pytest.raises(DestinationExistsError, match=" and 1 more: in the way"):
            world.download()

    def test_a_folder_for_a_file_and_a_file_for_a_folder(self, world: World) -> None:
        make_tree(world.target, {"0/a.png/": 0})
        with pytest.raises(DestinationExistsError, match=r"a\.png: a folder is in the way"):
            world.download(overwrite=True)
        (world.target / "0/a.png").rmdir()
        make_tree(world.target, {"deep": 1})
        with pytest.raises(DestinationExistsError, match="deep: a file is in the way"):
            world.download(overwrite=True)

    def test_a_file_that_appears_during_the_download_is_not_replaced(self, world: World, wrapped: Wrap) -> None:
        def appear(key: str, _: int, data: Buffer) -> Buffer:
            if key == "0/a.png":
                (world.target / key).write_bytes(b"theirs")
            return data

        wrapped(appear)
        with pytest.raises(DestinationExistsError, match="appeared during the download"):
            world.download()
        assert (world.target / "0/a.png").read_bytes() == b"theirs"


class TestHostile:
    @pytest.mark.parametrize("place", ["0", "deep/er", "0/a.png"])
    def test_nothing_is_written_through_a_link(self, world: World, tmp_path: Path, place: str) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        link = world.target / place
        link.parent.mkdir(parents=True)
        link.symlink_to(outside / "x" if place.endswith("png") else outside)
        with pytest.raises(BadInputError, match="a link or special file in the target"):
            world.download(overwrite=True)
        assert list(outside.iterdir()) == []

    def test_a_target_that_is_itself_a_link_is_followed(self, world: World, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        world.target.symlink_to(tmp_path / "real")
        world.download()
        check_whole(tmp_path / "real", SIZES)

    @pytest.mark.parametrize("lie", ["DELETE FROM sources", "UPDATE entries SET size = -5 WHERE NOT directory"])
    def test_an_entry_whose_bytes_are_nowhere_is_named(self, world: World, lie: str) -> None:
        with closing(sqlite3.connect(world.manifest)) as damaged:
            damaged.execute(lie)
            damaged.commit()
        with pytest.raises(ManifestError, match="is damaged; freeze the source again"):
            world.download()
        assert not world.target.exists()

    @pytest.mark.parametrize("name", [b"..", b"a/../../x", b"/etc/x", b".moorage-download"])
    def test_a_forged_manifest_cannot_leave_the_target(self, world: World, name: bytes) -> None:
        with closing(sqlite3.connect(world.manifest)) as forged:
            forged.execute("UPDATE entries SET name = ? WHERE name = '0' OR name = x'30'", (name,))
            forged.commit()
        with pytest.raises(HostilePathError):
            world.download()
        assert not world.target.exists()

    def test_a_separator_of_this_system_inside_a_name_is_refused(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world.store.put("..\\x", b"x")
        world.freeze()
        monkeypatch.setattr(os, "altsep", "\\")
        with pytest.raises(HostilePathError, match="cannot be a file here"):
            world.download()

    def test_the_source_is_no_target(self, tmp_path: Path) -> None:
        source = make_tree(tmp_path / "source", {"a": 1})
        manifest = tmp_path / "m"
        infos = registry.open_lister(registry.file_url(source), None).list()
        write_manifest(manifest, [registry.file_url(source)], [frozen(info) for info in infos])
        for target in (source, source / "below"):
            with pytest.raises(BadInputError, match="lies in the source"):
                download(manifest, target)
        assert [path.name for path in source.iterdir()] == ["a"]

    def test_a_file_is_no_target(self, world: World) -> None:
        world.target.write_bytes(b"")
        with pytest.raises(DestinationExistsError, match="is a file; choose a folder"):
            world.download()

    def test_a_disk_too_small_is_said_before_anything_is_fetched(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        usage = shutil.disk_usage(world.target.parent)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1024))
        with pytest.raises(BadInputError, match=r"needs 16\.2 MiB and has 1 KiB"):
            world.download()
        assert not world.target.exists()

    def test_a_target_that_cannot_be_written_is_one_line(self, world: World, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(BadInputError, match="cannot be written"):
            download(world.manifest, tmp_path / "file" / "target")


class TestVerification:
    def test_wrong_bytes_of_the_right_length_are_refused_by_md5(self, world: World, wrapped: Wrap) -> None:
        wrapped(lambda key, _, data: bytes(len(data)) if key == "0/a.png" else data)
        with pytest.raises(CorruptDataError, match=r"0/a\.png: the bytes do not have the MD5"):
            world.download()
        assert not (world.target / "0/a.png").exists()

    def test_one_wrong_range_of_a_large_file_is_refused(self, world: World, wrapped: Wrap) -> None:
        wrapped(lambda _, offset, data: bytes(len(data)) if offset else data)
        with pytest.raises(CorruptDataError, match=r"big\.bin"):
            world.download()
        assert not (world.target / "deep/er/big.bin").exists()

    def test_too_few_bytes_are_refused(self, world: World, wrapped: Wrap) -> None:
        wrapped(lambda _, __, data: data[:-1])
        with pytest.raises(CorruptDataError, match="99 bytes came for 100 asked"):
            download(world.manifest, world.target, threads=1)

    def test_changed_data_is_an_error_never_mixed(self, world: World) -> None:
        world.store.put("deep/er/big.bin", bytes(BIG))
        with pytest.raises(DataChangedError):
            world.download()
        assert not (world.target / "deep/er/big.bin").exists()

    def test_no_manifest(self, tmp_path: Path) -> None:
        with pytest.raises(NotFoundError):
            download(tmp_path / "none", tmp_path / "t")
