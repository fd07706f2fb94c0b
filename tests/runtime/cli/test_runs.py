"""`moorage runs`: filters, logs that go on, comparison, the page."""

import json
import threading
from pathlib import Path

import pytest

from runtime import Experiment, Run, Workspace
from runtime.cli import call
from runtime.cli.runs import _blocks
from runtime.job import runs
from runtime.workspace import init


@pytest.fixture
def experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    workspace = init(tmp_path / ".moorage")
    monkeypatch.setenv("MOORAGE_WORKSPACE", str(workspace.path))
    monkeypatch.chdir(tmp_path)
    return Experiment(Workspace.of(workspace), "exp")


def listed(capsys: pytest.CaptureFixture[str], *options: str) -> list[str]:
    assert call(["runs", "list", *options]) == 0
    return [line.split()[0] for line in capsys.readouterr().out.splitlines()]


def test_list_has_filters(experiment: Experiment, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = experiment.start_logging(), Experiment(experiment.workspace, "other").start_logging()
    child = first.child_run()
    first.set_tags({"a": "b"})
    second.complete()
    assert listed(capsys) == [first.id, second.id, child.id]
    assert listed(capsys, "--experiment", "other") == listed(capsys, "--status", "completed") == [second.id]
    assert listed(capsys, "--tag", "a") == listed(capsys, "--tag", "a=b") == [first.id]
    assert listed(capsys, "--tag", "a=c") == []
    assert listed(capsys, "--parent", first.id) == listed(capsys, "--last", "1") == [child.id]


def test_show_and_compare_tell_metrics(experiment: Experiment, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = experiment.start_logging(), experiment.start_logging()
    first.log("loss", 2.0)
    first.log("loss", float("nan"))
    first.log_row("\x1b[2J", x=1)
    second.log("loss", 0.5)
    second.upload_file("a.txt", __file__)
    second.tag("k", "v")
    assert call(["runs", "show", first.id]) == 0
    told = capsys.readouterr().out
    assert "metric    loss = nan (the last of 2)" in told
    assert "metric    \\x1b[2J = table of x" in told
    assert call(["runs", "show", second.id, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["metrics"], document["files"], document["tags"]) == ({"loss": 0.5}, ["a.txt"], {"k": "v"})
    assert call(["runs", "compare", first.id, second.id, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[0] == {"metric": "loss", first.id: "nan", second.id: 0.5}
    assert call(["runs", "compare", first.id, "nothing"]) == 4
    assert "no run 'nothing'" in capsys.readouterr().err


def test_report_writes_one_page(experiment: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = experiment.start_logging()
    run.log("loss", 0.125)
    assert call(["runs", "report", run.id, "-o", "page.html"]) == 0
    assert "0.125" in (tmp_path / "page.html").read_text()
    assert capsys.readouterr().out == "page.html\n"
    assert call(["runs", "report", run.id, "-o", "no/such/page.html"]) == 4
    assert "no/such" in capsys.readouterr().err
    assert call(["runs", "report", "nothing"]) == 4
    assert [path.name for path in tmp_path.iterdir() if path.name != ".moorage"] == ["page.html"]


def test_logs_go_on_until_the_end(experiment: Experiment) -> None:
    run = experiment.start_logging()
    log = runs.log_path(experiment.workspace.folder, run.id)
    log.write_text("one\n")
    heard, first = [], threading.Event()

    def listen() -> None:
        for block in _blocks(experiment.workspace.folder, run.id, follow=True):
            heard.append(block)
            first.set()

    listener = threading.Thread(target=listen)
    listener.start()
    assert first.wait(30)
    with log.open("a") as file:
        file.write("two\n")
    Run(experiment, run.id).complete()
    listener.join(30)
    assert b"".join(heard) == b"one\ntwo\n"
