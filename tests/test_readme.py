"""README's code blocks, run in the order of the page in one empty folder, as a newcomer would."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
RUN_HERE = [(language, code) for language, code in BLOCKS if language in {"sh", "python"}]


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a block's command as a user with only this installation on the path."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AZURE", "MOORAGE"))}
    environment = {
        **kept,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder / "home"),
        "MOORAGE_CACHE_DIR": str(folder / "cache"),
    }
    return subprocess.run(
        command, cwd=folder / "work", env=environment, capture_output=True, text=True, check=False, timeout=100
    )


@pytest.mark.fuse
def test_the_code_blocks_run_and_print_what_they_should(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    printed = ""
    for language, code in RUN_HERE:
        named = re.match(r"# (\w+\.py)\n", code)
        if named:
            (tmp_path / "work" / named[1]).write_text(code)
            continue
        command = ["bash", "-euo", "pipefail", "-c", code] if language == "sh" else [sys.executable, "-c", code]
        done = run(command, tmp_path)
        assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
        printed += done.stdout
    assert printed.count("trained on 2 files") == 2
    assert "purr woof" in printed
    assert "whole; 2 files" in printed
    *_, in_job, in_v1 = printed.splitlines()
    assert in_job.endswith("/data")  # the mounted input's path
    assert in_v1 == "v1: Completed"


def test_every_other_command_is_run_by_ci_or_stands_in_the_dockerfile() -> None:
    ci, dockerfile = (ROOT / ".ci/run").read_text(), (ROOT / "Dockerfile").read_text()
    commands = [line[2:] for language, code in BLOCKS if language == "console" for line in code.splitlines()]
    assert len(commands) == 4
    for command in commands:
        words = shlex.split(command)
        where = ci if words[0] == "make" else dockerfile
        assert " ".join(words[:2]) in where, command


def test_links_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
