"""The digits example by itself: prepared, trained on, and knowing nothing of Moorage."""

import ast
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

DIGITS = Path(__file__).parents[2] / "examples" / "digits"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits") / "data"
    told = subprocess.run([sys.executable, DIGITS / "prepare.py", folder], check=True, capture_output=True, text=True)
    assert told.stdout == f"1797 files in {folder}\n"
    return folder


def train(data: Path, out: Path) -> list[str]:
    return [sys.executable, str(DIGITS / "train.py"), "--data", str(data), "--out", str(out)]


def test_the_training_script_imports_nothing_of_ours() -> None:
    tree = ast.parse((DIGITS / "train.py").read_text())
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in imported}.isdisjoint({"mountd", "runtime", "azureml"})
    assert "sklearn.svm" in imported


def test_prepared_files_stand_in_class_folders(prepared: Path) -> None:
    assert sorted(path.name for path in prepared.iterdir()) == list("0123456789")
    assert len(list(prepared.glob("*/*.png"))) == 1797


def test_preparing_again_changes_nothing(prepared: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in prepared.glob("*/*.png")}
    subprocess.run([sys.executable, DIGITS / "prepare.py", prepared], check=True, capture_output=True)
    assert {path: path.stat().st_mtime_ns for path in prepared.glob("*/*.png")} == before


def test_training_reaches_its_accuracy_and_counts_what_it_read(prepared: Path, tmp_path: Path) -> None:
    command = train(prepared, tmp_path / "out")
    told = subprocess.run(command, check=True, capture_output=True, text=True)
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["accuracy"] >= 0.95
    assert metrics["files"] == 1797
    assert metrics["bytes_read"] == sum(path.stat().st_size for path in prepared.glob("*/*.png"))
    assert (tmp_path / "out" / "model.joblib").stat().st_size > 1000
    assert told.stdout.splitlines()[0] == "reading: 1797 of 1797 files"
    assert "\r" not in told.stdout


def test_a_terminal_gets_a_bar(prepared: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    command = train(prepared, tmp_path / "out")
    with subprocess.Popen(command, stdout=theirs) as process:
        os.close(theirs)
        shown = b""
        try:
            while data := os.read(ours, 65536):
                shown += data
        except OSError:  # Linux says EIO when the other side has closed
            pass
        os.close(ours)
    assert process.returncode == 0
    assert "█" * 30 + " 1797/1797" in shown.decode()


def test_a_folder_without_images_is_one_line(tmp_path: Path) -> None:
    command = train(tmp_path, tmp_path / "out")
    told = subprocess.run(command, check=False, capture_output=True, text=True)
    assert told.returncode == 1
    assert told.stderr == f"{tmp_path}: no PNG files in class folders\n"
