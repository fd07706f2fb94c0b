import json
from pathlib import Path

import pytest

from mountd import cli
from tests.support.caches import MIB, found, opened, put, segments, used_bytes


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("MOORAGE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("MOORAGE_CACHE_SIZE", "16MiB")
    return tmp_path / "cache"


class TestCache:
    """`mountd cache`, run in this process; each command says one line."""

    @pytest.fixture(autouse=True)
    def _capture(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def run(self, *arguments: str, code: int = 0) -> str:
        assert cli.run(["cache", *arguments]) == code
        told = self.capsys.readouterr()
        lines = (told.err if code else told.out).splitlines()
        assert (len(lines), told.out if code else told.err) == (1, "")
        return lines[0]

    def test_status_says_what_is_there(self, folder: Path) -> None:
        with opened(folder, 16 * MIB) as cache:
            put(cache, "a", 0, MIB)
            told = json.loads(self.run("status", "--json"))
        assert told["folder"] == str(folder)
        assert told["limit_bytes"] == 16 * MIB
        assert told["segments"] == 1
        assert used_bytes(folder) <= told["used_bytes"] <= used_bytes(folder) + MIB
        assert told["extent_capacity"] >= 256 * 42
        assert self.run("status").startswith(f"{folder}: 1 MiB used of 16 MiB; segments: 1; room in the index: ")

    def test_a_folder_that_is_not_there_is_empty_and_stays_away(self, folder: Path) -> None:
        assert json.loads(self.run("status", "--json"))["used_bytes"] == 0
        assert self.run("trim").endswith("; segments dropped: 0")
        assert self.run("clear").endswith("; segments removed: 0")
        assert not folder.exists()

    def test_a_folder_that_is_no_cache_is_left_as_it_is(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "index").write_text("somebody's work")
        assert self.run("trim", "--to", "0").endswith("; segments dropped: 0")
        assert self.run("clear").endswith("; segments removed: 0")
        assert [(each.name, each.read_text()) for each in folder.iterdir()] == [("index", "somebody's work")]

    def test_trim_leaves_what_was_asked_for(self, folder: Path) -> None:
        for name in ("a", "b", "c"):
            with opened(folder, 16 * MIB) as cache:
                put(cache, name, 0, MIB)
        assert self.run("trim") == f"{folder}: 3 MiB used of 16 MiB; segments dropped: 0"
        assert self.run("trim", "--to", "2.5 MiB").endswith("segments dropped: 1")
        with opened(folder, 16 * MIB) as cache:
            assert [found(cache, name, 0, MIB) for name in ("a", "b", "c")] == [0, MIB, MIB]

    def test_clear_removes_all_while_a_mount_goes_on(self, folder: Path) -> None:
        with opened(folder, 16 * MIB) as cache:
            put(cache, "a", 0, MIB)
            assert self.run("clear") == f"{folder}: 0 B used of 16 MiB; segments removed: 1"
            assert segments(folder) == []
            put(cache, "a", MIB, MIB)
            assert found(cache, "a", MIB, MIB) == MIB
            assert len(segments(folder)) == 1

    def test_another_folder_is_named_by_its_option(self, folder: Path, tmp_path: Path) -> None:
        with opened(tmp_path / "other") as cache:
            put(cache, "a", 0, MIB)
        assert self.run("clear", "--cache-dir", str(tmp_path / "other")).endswith("segments removed: 1")
        assert not folder.exists()

    def test_a_folder_of_somebody_else_is_refused(self, folder: Path) -> None:
        folder.mkdir()
        folder.chmod(0o777)
        for command in ("status", "trim", "clear"):
            assert "another user" in self.run(command, code=3)

    def test_a_size_that_is_none_is_refused(self, folder: Path) -> None:
        folder.mkdir(0o700)
        assert "not a size" in self.run("trim", "--to", "much", code=3)
