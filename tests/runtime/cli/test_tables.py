"""Tables on the command line: registered, shown with rows and profile, exported."""

import json
import sqlite3
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pyarrow import csv

from runtime import Dataset, Datastore, Workspace
from runtime.workspace import find
from tests.runtime.cli.test_data import Shell, shell

__all__ = ["shell"]


@pytest.fixture
def ready(shell: Shell) -> Shell:
    shell.ok("init")
    (shell.folder / "in").mkdir()
    for number in range(3):
        lines = [f"{number * 10 + row};0{row},5;t{row}" for row in range(10)]
        (shell.folder / "in" / f"{number}.csv").write_text("\n".join(["n;f;t", *lines]))
    return shell


def test_a_table_is_registered_shown_and_exported(ready: Shell) -> None:
    out = ready.ok("dataset", "register", "rows", "in", "--delimited", "--separator", ";", "--type", "f=string")
    assert out == f"rows version 1: 3 files, {sum(p.stat().st_size for p in Path('in').iterdir())} B\n"
    listed = ready.ok("dataset", "list").splitlines()
    assert (listed[0].split()[:4], listed[1].split()[:4]) == (
        ["name", "version", "kind", "files"],
        ["rows", "1", "delimited", "3"],
    )
    shown = ready.ok("dataset", "show", "rows", "--head", "2", "--profile")
    assert [line.split() for line in shown.split("\n\n")[1].splitlines()] == [
        ["n", "f", "t"],
        ["0", "00,5", "t0"],
        ["1", "01,5", "t1"],
    ]
    profile = shown.split("\n\n")[2].splitlines()
    assert profile[1].split() == ["n", "integer", "30", "0", "30", "0", "14.5", "29", "14.5", "8.80341"]
    told = json.loads(ready.ok("dataset", "show", "rows", "--head", "1", "--profile", "--json"))
    assert (told["kind"], told["head"]) == ("delimited", [{"n": "0", "f": "00,5", "t": "t0"}])
    assert told["profile"]["columns"]["t"]["unique_values"] == 10
    assert ready.ok("dataset", "export", "rows", "--parquet", "out/p") == "out/p: 30 rows in 1 files\n"
    assert pq.read_table("out/p/part-00000.parquet").column("n").to_pylist() == list(range(30))
    ready.ok("dataset", "export", "rows", "--csv", "out/c")
    assert csv.read_csv("out/c/part-00000.csv").num_rows == 30
    assert sorted(each.name for each in Path("out").iterdir()) == ["c", "p"]


def test_what_was_registered_is_what_a_script_gets(ready: Shell) -> None:
    (ready.folder / "day").mkdir()
    for day in ("2020-01-01", "2020-01-02"):
        (ready.folder / "day" / f"{day}.jsonl").write_text(f'{{"w": "{day}T05:00:00", "n": 1}}\n')
    options = ["--partition-format", "day/{day:yyyy-MM-dd}.jsonl", "--type", "w=datetime", "--include-path"]
    times = ["--timestamp", "w", "--partition-timestamp", "day"]
    ready.ok("dataset", "register", "days", "day", "--json-lines", *options, *times)
    found = Dataset.get_by_name(Workspace.of(find()), "days")
    assert found.timestamp_columns == ("w", "day")
    assert [str(field.type) for field in found.schema] == ["string", "timestamp[us]", "timestamp[us]", "int64"]


def test_a_query_is_registered(ready: Shell) -> None:
    with sqlite3.connect("a.db") as database:
        database.execute("CREATE TABLE t AS SELECT 7 AS n")
    database.close()
    Datastore.register_sql(Workspace.of(find()), "sales", f"sqlite:///{ready.folder / 'a.db'}")
    assert (
        ready.ok("dataset", "register", "q", "sales", "--sql", "SELECT n FROM t") == "q version 1: a query of sales\n"
    )
    assert "query" in ready.ok("dataset", "list")
    assert ready.ok("dataset", "show", "q", "--head", "3").endswith("\n\nn\n7\n")
    assert "is a SQL query and has no files" in ready.fails(3, "dataset", "download", "q", "out")


def test_wrong_options_are_told(ready: Shell) -> None:
    register = ("dataset", "register", "x", "in")
    assert "--separator is for tables; add --delimited" in ready.fails(3, *register, "--separator", ";")
    assert "--separator does not go with --parquet" in ready.fails(3, *register, "--parquet", "--separator", ";")
    assert "one character separates columns" in ready.fails(3, *register, "--delimited", "--separator", ";;")
    assert "write COLUMN=TYPE" in ready.fails(3, *register, "--delimited", "--type", "n=number")
    assert "no SQL datastore 'in'" in ready.fails(4, *register, "--sql", "SELECT 1")
    ready.ok(*register)
    assert "is files and no table" in ready.fails(3, "dataset", "show", "x", "--head", "3")
    ready.ok("dataset", "register", "rows", "in", "--delimited")
    assert "say where to" in ready.fails(3, "dataset", "export", "rows")
    assert "in: not an empty folder" in ready.fails(3, "dataset", "export", "rows", "--csv", "in")
