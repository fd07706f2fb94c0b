"""Definitions with steps: the files that stay, in whatever order they are listed, and the way through the catalog."""

import json
from pathlib import Path

import pytest

from mountd.dataset.manifest import FrozenFile, Manifest, write_manifest
from mountd.errors import DataChangedError
from runtime import datastores
from runtime.datasets import steps
from runtime.datasets.expressions import column, file_property
from runtime.datasets.file import FileDefinition, freeze_definition, register, resolve
from runtime.datasets.partition import parse_partition_format
from runtime.datasets.paths import below_datastore
from runtime.datasets.picking import pick
from runtime.datasets.steps import Filter, Sample, Skip, Split, Step, Take
from runtime.datastores import DatastoreRecord
from runtime.workspace import WorkspaceFolder, init
from tests.support.content import make_tree

NAMES = ["a-b/1.csv", "a.txt", "a/0.csv", "a/1.csv", "b/2020/x.csv", "b/2021/y.csv", "z"]


@pytest.fixture
def workspace(tmp_path: Path) -> WorkspaceFolder:
    folder = init(tmp_path / ".moorage")
    make_tree(tmp_path / "data", {name: 10 * number for number, name in enumerate(NAMES, 1)})
    datastores.add(folder, DatastoreRecord("data", str(tmp_path / "data")))
    return folder


def defined(*taken: Step, partition: str | None = None) -> FileDefinition:
    return FileDefinition((below_datastore("data", ""),), partition, taken)


def shown(manifest: Path) -> list[str]:
    with Manifest.open(manifest) as opened:
        opened.verify()
        return sorted(path for path, _ in opened.files())


def kept(workspace: WorkspaceFolder, *taken: Step, partition: str | None = None) -> list[str]:
    return shown(freeze_definition(workspace, defined(*taken, partition=partition)).manifest)


def test_take_and_skip_count_in_lexicographic_order_and_not_in_that_of_the_tree(workspace: WorkspaceFolder) -> None:
    assert kept(workspace, Take(2)) == ["a-b/1.csv", "a.txt"]
    assert kept(workspace, Skip(2), Take(3)) == NAMES[2:5]
    assert kept(workspace, Take(3), Skip(2)) == NAMES[2:3]
    assert kept(workspace, Take(0)) == kept(workspace, Skip(99)) == []


def test_a_split_is_complete_disjoint_the_same_for_a_seed_and_not_that_of_another_step(tmp_path: Path) -> None:
    files = [FrozenFile(f"d{number % 7}/{number}", number, "e", number) for number in range(4000)]
    write_manifest(tmp_path / "whole", ["https://h/"], files)
    write_manifest(tmp_path / "turned", ["https://h/"], reversed(files))

    def drawn(*taken: Step, of: str = "whole", done: int = 0) -> list[str]:
        pick(tmp_path / of, tmp_path / "picked", taken, done)
        return shown(tmp_path / "picked")

    first, rest = drawn(Split(0.7, 5, rest=False)), drawn(Split(0.7, 5, rest=True))
    assert sorted(first + rest) == sorted(file.path for file in files)
    assert 2600 < len(first) < 3000
    assert drawn(Split(0.7, 5, rest=False), of="turned") == first != drawn(Split(0.7, 6, rest=False))
    # A sample of a split with the same seed would be all or nothing if they drew the same numbers.
    sampled = drawn(Split(0.7, 5, rest=True), Sample(0.5, 5))
    assert 0.4 * len(rest) < len(sampled) < 0.6 * len(rest)
    pick(tmp_path / "whole", tmp_path / "half", [Split(0.7, 5, rest=True)])
    assert drawn(Split(0.7, 5, rest=True), Sample(0.5, 5), of="half", done=1) == sampled
    assert drawn(Split(1, 5, rest=True)) == drawn(Sample(0, 5)) == []


def test_a_filter_sees_properties_and_partitions(workspace: WorkspaceFolder) -> None:
    assert kept(workspace, Filter(file_property("Size") >= 60)) == ["b/2021/y.csv", "z"]
    assert kept(workspace, Filter(file_property("Extension") == ".txt")) == ["a.txt"]
    assert kept(workspace, Filter(~file_property("CanSeek"))) == []
    year = Filter(column("year") > "2020")
    assert kept(workspace, year, partition="/{year}/{name}.csv") == ["a-b/1.csv", "a/0.csv", "a/1.csv", "b/2021/y.csv"]
    assert kept(workspace, Filter(column("year").is_null()), partition="/b/{year}/*") == NAMES[:4] + NAMES[6:]


def test_a_stepped_version_is_found_again_and_frozen_again_to_the_same_digest(
    workspace: WorkspaceFolder, tmp_path: Path
) -> None:
    definition = defined(Split(0.5, 3, rest=False), Filter(file_property("Size") < 65), Take(2), partition="/{x}.csv")
    record = register(workspace, "part", definition)
    assert FileDefinition.from_json(record.definition) == definition
    assert json.loads(record.definition)["steps"][2] == {"take": 2}
    frozen = resolve(workspace, "part")
    assert frozen.files == record.files
    frozen.manifest.unlink()
    assert resolve(workspace, "part").digest == record.digest
    frozen.manifest.unlink()
    for name in NAMES:
        (tmp_path / "data" / name).write_bytes(b"")
    with pytest.raises(DataChangedError, match="the files have changed since"):
        resolve(workspace, "part")


def test_the_text_of_a_definition_without_steps_is_what_it_always_was() -> None:
    text = '{"version": 1, "type": "file", "paths": [{"datastore": "data", "path": ""}], "steps": []}'
    assert defined().to_json() == text
    assert FileDefinition.from_json(text) == defined()


def test_a_step_reads_well() -> None:
    shown_steps = [str(each) for each in (Take(1), Skip(2), Sample(0.5, 3), Split(0.5, 3, rest=True))]
    assert shown_steps == ["take 1", "skip 2", "sample 0.5 (seed 3)", "rest of split 0.5 (seed 3)"]
    assert str(Filter(column("x").contains("a") & (file_property("Size") > 3))) == (
        "filter ((column('x') contains 'a') & (file('Size') > 3))"
    )


def test_a_file_without_a_time_or_extension_has_none() -> None:
    row = steps.row_of(steps.Candidate("a.b/c", "/s/a.b/c", 2, 1, 0), parse_partition_format("/{name}"))
    assert (row("file", "Extension"), row("file", "LastModifiedTime"), row("column", "name")) == ("", None, "c")
