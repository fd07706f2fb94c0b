"""The page about a run: it needs nothing else, shows what there is, and obeys nobody's text."""

import html.parser
import math
import re
from pathlib import Path

import pytest

from runtime import Experiment, Run, Workspace
from runtime.job import runs
from runtime.job.runs import InputRecord, OutputRecord
from runtime.report import page
from runtime.report.plots import plot
from runtime.workspace import init

HOSTILE = "<script>alert('x')</script>\"&\x1b[2J\ud800"
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20
READS = {
    "reads": {"count": 9, "bytes": 2048, "waited": 4, "wait_us": 1_500_000},
    "fetch": {"requests": 2, "bytes": 1024},
}


class Elements(html.parser.HTMLParser):
    """Every element with its attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in {"meta", "img"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def run(tmp_path: Path) -> Run:
    workspace = Workspace.of(init(tmp_path / ".moorage"))
    return Experiment(workspace, "exp").start_logging()


def made(run: Run) -> Elements:
    text = page.make(run.experiment.workspace.folder, run.id)
    text.encode()  # it can be written
    elements = Elements(text)
    assert elements.open == []
    names = {name for name, _ in elements.found}
    assert not names & {"script", "link", "iframe", "object", "form", "a"}
    for name, attributes in elements.found:
        assert not [key for key in attributes if key.startswith("on")], (name, attributes)
        for key in ("src", "href"):
            assert (attributes.get(key) or "data:image/").startswith("data:image/")
    return elements


def test_the_page_shows_metrics_inputs_outputs_files_and_waits(run: Run, tmp_path: Path) -> None:
    for step in range(5):
        run.log("loss", 1 / (step + 1), step=step * 10)
        run.log_row("curve", x=step, y=step**2)
    run.log("accuracy", 0.987)
    run.log("label", "cat")
    (tmp_path / "a.png").write_bytes(PNG)
    run.log_image("picture", path=tmp_path / "a.png")
    run.upload_file("outputs/model.bin", tmp_path / "a.png")
    run.tag("stage", "new")
    workspace = run.experiment.workspace.folder
    given = InputRecord("d", "digits", "mount", "mount", "/there", "id", 2, "d" * 64, READS)
    kept = OutputRecord("m", "store", "p/", "/spool", "model", "registered", 3, 4096, "model@1")
    runs.write(workspace, runs.read(workspace, run.id), inputs=(given,), outputs=(kept,))
    child = run.child_run()
    run.complete()
    page_made = made(run)
    for told in ("0.987", "cat", "digits", "d" * 64, "model@1", "outputs/model.bin", "stage", child.id, "Completed"):
        assert told in page_made.text, told
    assert "4 of 9 reads of 'd' waited, 1.50 s in all" in page_made.text
    assert [name for name, _ in page_made.found].count("svg") == 2
    assert [attributes["alt"] for name, attributes in page_made.found if name == "img"] == ["picture"]


def test_hostile_names_are_text(run: Run, tmp_path: Path) -> None:
    run.log(HOSTILE, HOSTILE)
    run.log(HOSTILE + "2", 1)
    run.log(HOSTILE + "2", 2)
    run.log_row(HOSTILE + "3", None, **{HOSTILE: HOSTILE})
    run.log_row(HOSTILE + "3", None, **{HOSTILE: 5, "x": 6, HOSTILE + "y": 7})
    run.log_table(HOSTILE + "4", {HOSTILE: [1, 2], "y": [3, 4], HOSTILE + "y": [3, 4]})
    (tmp_path / "a.svg").write_text("<svg onload='alert(1)'/>")
    run.log_image(HOSTILE + "5", path=tmp_path / "a.svg")
    run.tag("<b>", "<i>")
    run.display_name = "</title><script>"
    run.fail("<script>")
    page_made = made(run)
    assert "<script>alert('x')</script>\"&\\x1b[2J\\ud800" in page_made.text
    assert {name for name, _ in page_made.found if name in {"b", "i"}} == set()
    assert not any(name == "img" for name, _ in page_made.found)


def test_a_run_of_nothing_has_a_page(run: Run) -> None:
    assert "Running" in made(run).text


def test_numbers_without_a_place_break_the_line_and_are_counted() -> None:
    drawn = plot({"": [(0, 1.0), (1, 2.0), (2, math.nan), (3, math.inf), (4, 5.0)]}, str)
    assert drawn.count("<polyline") == drawn.count("<circle") == 1
    assert "2 values are NaN or infinite" in drawn
    assert plot({"": [(0, math.nan)]}, str) == ""
    assert "nan" not in plot({"a": [(0, -1.7e308), (1, 1.7e308)], "b": [(0, 0.0)]}, str)
    assert "2 more columns are not drawn" in plot({str(at): [(0, 1.0)] for at in range(8)}, str)


def test_a_long_line_is_thinned_and_keeps_its_peak() -> None:
    points = [(float(at), 100.0 if at == 77_777 else 0.0) for at in range(100_000)]
    drawn = plot({"": points}, str)
    assert len(drawn) < 60_000
    ys = [float(y) for y in re.findall(r",([0-9.]+)", drawn.split('points="')[1].split('"')[0])]
    assert ys.count(min(ys)) == 1
    assert min(ys) < max(ys)
