"""The log as text, as JSON and for the journal: what a line holds, and that none holds a secret."""

import io
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import pytest

from mountd.log import HIDDEN, LogFormat, close_log, open_log
from tests.mountd.test_log import KEY, fail
from tests.support.content import make_tree
from tests.support.mounts import mounted

pytestmark = pytest.mark.warns

FIELDS = {"mountpoint": "/mnt/data"}


@contextmanager
def logged(form: LogFormat, level: str = "info") -> Iterator[io.StringIO]:
    text = io.StringIO()
    handler = open_log(level, text, form, FIELDS)
    try:
        yield text
    finally:
        close_log(handler)


def test_json_tells_what_the_record_is_about() -> None:
    with logged("json") as text:
        logging.getLogger("mountd.vfs").warning("read failed: %s", "a\nb", extra={"path": "ü/\udcff", "errno": 116})
    line = json.loads(text.getvalue())
    assert text.getvalue().count("\n") == 1
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "WARNING",
        "logger": "mountd.vfs",
        "text": "read failed: a\nb",
        "mountpoint": "/mnt/data",
        "path": "ü/\udcff",
        "errno": 116,
    }


@pytest.mark.parametrize(
    ("level", "priority"),
    [("DEBUG", "<7>"), ("INFO", "<6>"), ("WARNING", "<4>"), ("ERROR", "<3>"), ("CRITICAL", "<2>")],
)
def test_the_journal_gets_a_priority_and_no_time(level: str, priority: str) -> None:
    with logged("journal", "debug") as text:
        logging.getLogger("mountd.x").log(getattr(logging, level), "one\ntwo")
    assert text.getvalue() == f"{priority}mountd.x  one\\ntwo\n"


def test_each_line_of_a_traceback_has_the_priority_of_its_record() -> None:
    with logged("journal", "debug") as text:
        try:
            fail()
        except ValueError:
            logging.getLogger("mountd.x").exception("cannot go on")
    lines = text.getvalue().splitlines()
    assert len(lines) > 3
    assert all(line.startswith("<3>") for line in lines)


@pytest.mark.parametrize("form", get_args(LogFormat))
@pytest.mark.parametrize("level", ["info", "debug"])
def test_no_form_shows_a_secret(form: LogFormat, level: str) -> None:
    with logged(form, level) as text:
        logger = logging.getLogger("mountd.x")
        logger.warning("asked %s", {"account_key": KEY}, extra={"path": f"https://h/p?sig={KEY}"})
        try:
            fail()
        except ValueError:
            logger.exception('"AccountKey": "%s"', KEY)
    assert KEY not in text.getvalue()
    assert json.dumps(KEY)[1:-1] not in text.getvalue()
    assert HIDDEN in text.getvalue()


def test_auto_is_the_journal_where_the_stream_is_the_journals_and_text_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "journal").open("w+") as stream:
        told = os.fstat(stream.fileno())
        for variable, start in (
            (f"{told.st_dev}:{told.st_ino}", "<4>mountd.x  a"),
            (f"{told.st_dev}:{told.st_ino + 1}", "20"),
            ("", "20"),
        ):
            monkeypatch.setenv("JOURNAL_STREAM", variable)
            stream.seek(0)
            stream.truncate()
            handler = open_log("info", stream)
            logging.getLogger("mountd.x").warning("a")
            close_log(handler)
            stream.seek(0)
            assert stream.read().startswith(start)
    assert logged_by_a_stream_without_a_file().startswith("20")


def logged_by_a_stream_without_a_file() -> str:
    with logged("auto") as text:
        logging.getLogger("mountd.x").warning("a")
    return text.getvalue()


@pytest.mark.fuse
def test_a_mount_logs_what_failed_as_json(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tree = make_tree(tmp_path / "tree", {"folder/a": 1000})
    with mounted(tmp_path, tree, log_format="json") as mount:
        (tree / "folder/a").write_bytes(b"changed")
        with pytest.raises(OSError, match="Stale"):
            (mount.mountpoint / "folder/a").read_bytes()
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    told = [line for line in lines if line["text"].startswith("read failed")]
    assert [(line["mountpoint"], line["path"], line["errno"]) for line in told] == [
        (str(mount.mountpoint), "folder/a", 116)
    ]
