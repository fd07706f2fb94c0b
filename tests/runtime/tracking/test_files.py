"""The files of a run, and its marks."""

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import pytest

from runtime.errors import UnknownNameError, UserErrorException
from runtime.tracking import files, marks

ROOT = Path(__file__).parents[3]
TAGGER = """
import sys
from pathlib import Path
from runtime.tracking import marks
for at in range(5):
    key = f"{sys.argv[2]}-{at}"
    marks.change(Path(sys.argv[1]), {}, lambda now: {"tags": {**now.tags, key: "x"}})
"""


class Torn(io.BytesIO):
    def read(self, size: int | None = -1) -> bytes:  # noqa: ARG002 # as a stream is read
        if self.tell():
            raise OSError(5, "Input/output error")
        return super().read(4)


def test_a_file_is_whole_or_absent_and_never_replaced(tmp_path: Path) -> None:
    assert files.add(tmp_path, "./outputs//a.txt", io.BytesIO(b"one")) == "outputs/a.txt"
    with pytest.raises(UserErrorException, match=r"a file 'outputs/a.txt' already"):
        files.add(tmp_path, "outputs/a.txt", io.BytesIO(b"two"))
    with pytest.raises(UserErrorException, match=r"a file 'outputs/a.txt/b' already"):
        files.add(tmp_path, "outputs/a.txt/b", io.BytesIO(b"two"))
    torn: BinaryIO = Torn(b"12345678")
    with pytest.raises(OSError, match="Input/output"):
        files.add(tmp_path, "b.txt", torn)
    assert files.names(tmp_path) == ["outputs/a.txt"]
    assert files.find(tmp_path, "outputs/a.txt").read_bytes() == b"one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["files"]
    with pytest.raises(UnknownNameError, match=r"no file 'c'; it has outputs/a.txt"):
        files.find(tmp_path, "c")


@pytest.mark.parametrize("name", ["", "/", "..", "a/../b", "/etc/passwd", "a\0b", "x" * 256, None, 5])
def test_a_hostile_name_is_refused(tmp_path: Path, name: object) -> None:
    with pytest.raises(UserErrorException, match="no name for a file of a run"):
        files.add(tmp_path, name, io.BytesIO(b""))
    assert list(tmp_path.iterdir()) == []


def test_what_was_there_before_is_not_collected(tmp_path: Path) -> None:
    run, cwd = tmp_path / "run", tmp_path / "cwd"
    for name in ("outputs/old", "outputs/changed", "outputs/out/x", "logs/l"):
        (cwd / name).parent.mkdir(parents=True, exist_ok=True)
        (cwd / name).write_text("before")
    run.mkdir()
    before = files.look(cwd, run)
    (cwd / "outputs/changed").write_text("after!")
    (cwd / "outputs/sub").mkdir()
    (cwd / "outputs/sub/new").write_text("new")
    (cwd / "outputs/out/y").write_text("an output's own")
    (cwd / "outputs/link").symlink_to("/etc/passwd")
    os.mkfifo(cwd / "outputs/fifo")
    said: list[str] = []
    files.collect(run, cwd, before, {cwd / "outputs/out"}, said.append, lambda: False)
    assert files.names(run) == ["outputs/changed", "outputs/sub/new"]
    assert files.find(run, "outputs/changed").read_text() == "after!"
    files.collect(run, cwd, {}, {cwd / "outputs/out"}, said.append, lambda: True)
    assert said == [f"{cwd}: not all files of outputs and logs became files of the run; the others stay there"]


def test_a_nearly_full_disk_is_said_and_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    (tmp_path / "cwd/outputs").mkdir(parents=True)
    (tmp_path / "cwd/outputs/a").write_text("a")
    run.mkdir()
    monkeypatch.setattr(files, "_SPARE_BYTES", 1 << 62)
    said: list[str] = []
    files.collect(run, tmp_path / "cwd", {}, (), said.append, lambda: False)
    assert len(said) == 1
    assert "its disk is nearly full" in said[0]


def test_tags_of_many_processes_are_all_kept(tmp_path: Path) -> None:
    taggers = [subprocess.Popen([sys.executable, "-c", TAGGER, tmp_path, str(each)], cwd=ROOT) for each in range(8)]
    assert [each.wait() for each in taggers] == [0] * 8
    assert len(marks.read(tmp_path, {}).tags) == 40


def test_marks_are_checked(tmp_path: Path) -> None:
    assert marks.read(tmp_path, {"k": "v"}).tags == {"k": "v"}
    assert marks.texts("tag", {"rank": 1, "share": 0.5}) == {"rank": "1", "share": "0.5"}
    for wrong, text in (({"a": [1]}, "list is no text"), ({1: "a"}, "a key is text"), ("x", "give a dictionary")):
        with pytest.raises(UserErrorException, match=text):
            marks.texts("tag", wrong)  # type: ignore[arg-type] # wrong on purpose
    with pytest.raises(UserErrorException, match="keep long texts in files"):
        marks.change(tmp_path, {}, lambda _: {"tags": {"a": "x" * 70_000}})
    (tmp_path / "marks.json").write_text("[")
    with pytest.raises(UserErrorException, match="not the marks of a run"):
        marks.read(tmp_path, {})
