"""The log of a mount that nobody owns: bounded, and whoever has it open writes on."""

import subprocess
import sys
from pathlib import Path

PROGRAM = r"""
import logging, sys
from pathlib import Path
from mountd import log
from mountd.supervisor.logfile import LogFile
file = LogFile(Path(sys.argv[1]))
log.open_log("warning", sys.stderr)
for number in range(int(sys.argv[2])):
    logging.getLogger("mountd.x").warning("%s: line %d", "name \udcff \u00fc", number)
    file.bound()
"""


def run(path: Path, lines: int) -> None:
    subprocess.run([sys.executable, "-c", PROGRAM, str(path), str(lines)], check=True, timeout=60)


def test_any_name_gets_into_it_and_what_was_there_stays(tmp_path: Path) -> None:
    for _ in range(2):
        run(tmp_path / "folder/log", 1)
    text = (tmp_path / "folder/log").read_text("utf-8")
    assert text.count("name \\udcff \u00fc: line 0\n") == 2
    assert (tmp_path / "folder/log").stat().st_mode & 0o777 == 0o600


def test_it_begins_anew_when_it_is_too_long_and_is_kept_once(tmp_path: Path) -> None:
    run(tmp_path / "log", 40_000)
    assert (tmp_path / "log").stat().st_size <= (1 << 20) + 200
    assert (1 << 20) < (tmp_path / "log.1").stat().st_size <= (1 << 20) + 200
    assert (tmp_path / "log").read_text("utf-8").endswith("line 39999\n")
