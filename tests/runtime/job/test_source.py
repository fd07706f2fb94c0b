import os
import shutil
from pathlib import Path

import pytest

from runtime.errors import UserErrorException
from runtime.job import source
from tests.support.content import make_tree

TREE = {"train.py": 3, "lib/a.py": 4, "data/big.bin": 90, "data/keep.txt": 2, ".git/HEAD": 1, "outputs/old": 1}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    make_tree(tmp_path / "src", TREE)
    return tmp_path / "src"


def taken(project: Path, without: Path | None = None) -> list[str]:
    target = project.parent / "copy"
    source.take(project, target, without=without or project / "nowhere")
    for path in target.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (project / path.relative_to(target)).read_bytes()
    return sorted(path.relative_to(target).as_posix() for path in target.rglob("*") if not path.is_dir())


def test_everything_is_copied_but_version_control_and_outputs(project: Path) -> None:
    assert taken(project) == ["data/big.bin", "data/keep.txt", "lib/a.py", "train.py"]


def test_amlignore_is_read_as_git_reads_its_own_and_stands_in_for_it(project: Path) -> None:
    (project / ".gitignore").write_text("lib/\n")
    (project / ".amlignore").write_text("# big\n/data/*\n!keep.txt\n")
    assert taken(project) == [".gitignore", "data/keep.txt", "lib/a.py", "train.py"]


def test_gitignore_counts_where_there_is_no_amlignore(project: Path) -> None:
    (project / ".gitignore").write_text("*.bin\nlib\n")
    assert taken(project) == [".gitignore", "data/keep.txt", "train.py"]


def test_a_workspace_inside_is_left_out_whatever_it_is_called(project: Path) -> None:
    assert taken(project, without=project / "data") == ["lib/a.py", "train.py"]


def test_links_are_followed_and_a_circle_ends(project: Path) -> None:
    (project.parent / "outside").mkdir()
    (project.parent / "outside" / "x.py").write_text("x")
    (project / "linked").symlink_to(project.parent / "outside")
    (project / "lib" / "up").symlink_to(project)
    assert taken(project) == ["data/big.bin", "data/keep.txt", "lib/a.py", "linked/x.py", "train.py"]
    assert not any(path.is_symlink() for path in (project.parent / "copy").rglob("*"))


def test_more_than_the_limit_names_the_largest_before_anything_is_written(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "LIMIT_BYTES", 98)
    with pytest.raises(UserErrorException, match=r"the largest are data \(0 MB\), lib"):
        taken(project)
    monkeypatch.setattr(source, "LIMIT_BYTES", 99)
    assert not (project.parent / "copy").exists()
    assert len(taken(project)) == 4


def test_what_is_no_file_or_leads_nowhere_is_named(project: Path) -> None:
    os.mkfifo(project / "pipe")
    with pytest.raises(UserErrorException, match=r"pipe: no file that could be copied"):
        taken(project)
    (project / "pipe").unlink()
    (project / "gone").symlink_to("nowhere")
    with pytest.raises(UserErrorException, match=r"gone: no file that could be copied"):
        taken(project)


def test_a_copy_that_fails_leaves_nothing(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "somewhere")

    monkeypatch.setattr(shutil, "copy2", full)
    with pytest.raises(UserErrorException, match="somewhere: No space left on device"):
        taken(project)
    assert not (project.parent / "copy").exists()
