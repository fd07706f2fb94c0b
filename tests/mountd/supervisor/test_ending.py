"""How an end of a mount is told when it goes wrong, and the log of a mount whose folder is gone."""

import subprocess
import sys
from pathlib import Path

import pytest

from mountd.errors import FuseUnavailableError
from mountd.fuse import mounting
from mountd.supervisor.ending import Ending


@pytest.mark.parametrize("error", [FuseUnavailableError("fusermount3 is missing"), OSError(24, "Too many open files")])
def test_whatever_goes_wrong_whoever_waits_for_the_end_is_told(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, lazy: bool) -> None:
        assert lazy in {True, False}
        raise error

    monkeypatch.setattr(mounting, "end", fail)
    ending = Ending(Path("/mnt"), "0:0", 0, lambda: None)
    ending._thread.join(10)
    assert ending.is_done
    assert str(error) in str(ending.failure)


def test_the_log_stays_bounded_when_its_folder_is_another_mounts_or_gone(tmp_path: Path) -> None:
    code = (
        "import os, sys, pathlib\n"
        "from mountd.supervisor import logfile\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "log = logfile.LogFile(path)\n"
        "for after in (lambda: path.rename(path.with_name('old')), lambda: path.write_text('theirs'), path.unlink):\n"
        "    after(); os.write(2, bytes(logfile._LIMIT_BYTES + 1)); log.bound(); print(os.fstat(2).st_size)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "log")], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["0", "0", "0"]
    assert not (tmp_path / "log.1").exists()
