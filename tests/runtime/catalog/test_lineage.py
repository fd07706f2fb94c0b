"""Lineage: which run made a version, from what, and which runs read it."""

from pathlib import Path

import pytest

from runtime.catalog import Made, Read, lineage, open_catalog
from runtime.errors import AlreadyRegisteredError, UnknownNameError, UserErrorException
from runtime.workspace import WorkspaceFolder, init
from tests.runtime.catalog.catalogs import digest, run_facts


def test_a_version_tells_the_run_that_made_it_from_what_and_the_runs_that_read_it(workspace: WorkspaceFolder) -> None:
    with open_catalog(workspace) as catalog:
        images = catalog.register("images", "{}", digest(1), 1, 1)
        unnamed = catalog.save("{}", digest(2), 1, 1)
        catalog.put_run(run_facts(1, "Running"), [Read("a", images.id, "mount"), Read("b", unnamed.id, "download")])
        model = catalog.register("model", "{}", digest(3), 1, 1, made=Made("train_1", "model"))
        catalog.put_run(run_facts(1), [Read("a", images.id, "mount"), Read("b", unnamed.id, "download")])
        catalog.put_run(run_facts(2, "Running"), [Read("data", images.id, "direct")])

        found = catalog.lineage(model)
        (maker,) = found.made_by
        assert (maker.run_id, maker.name, maker.mode, maker.run) == ("train_1", "model", None, run_facts(1))
        assert {each.id for each in found.made_from} == {images.id, unnamed.id}
        assert (found.read_by, found.read_count, found.former_names) == ((), 0, ())
        found = catalog.lineage(images)
        assert [(each.run_id, each.name, each.mode) for each in found.read_by] == [
            ("train_2", "data", "direct"),  # the latest first
            ("train_1", "a", "mount"),
        ]
        assert (found.made_by, found.made_from, found.read_count) == ((), (), 2)
        assert len(catalog.lineage(images, most=1).read_by) == 1
        assert {each.name for each in catalog.list(run_id="train_1")} == {"images", "model"}
        assert list(catalog.list(run_id="train_9")) == []


def test_the_run_that_made_a_version_may_be_unknown(workspace: WorkspaceFolder) -> None:
    with open_catalog(workspace) as catalog:
        model = catalog.register("model", "{}", digest(1), 1, 1, made=Made("train_1", "out"))
        (maker,) = catalog.lineage(model).made_by
        assert (maker.run_id, maker.name, maker.run) == ("train_1", "out", None)


def test_a_run_that_reads_what_is_not_in_this_catalog_is_refused_whole(workspace: WorkspaceFolder) -> None:
    with open_catalog(workspace) as catalog:
        known = catalog.register("images", "{}", digest(1), 1, 1)
        with pytest.raises(UserErrorException, match="see whether somebody has replaced it"):
            catalog.put_run(run_facts(1), [Read("a", known.id, "mount"), Read("b", "elsewhere", "mount")])
        assert catalog.lineage(known).read_count == 0
        catalog.put_run(run_facts(1), [Read("a", known.id, "mount")])
        assert catalog.lineage(known).read_count == 1


def test_an_output_that_is_registered_again_made_the_version_that_it_is(workspace: WorkspaceFolder) -> None:
    with open_catalog(workspace) as catalog:
        catalog.register("model", "{}", digest(1), 1, 1, made=Made("train_1", "out"))
        for _ in range(2):
            with pytest.raises(AlreadyRegisteredError, match="version 1"):
                catalog.register("model", "{}", digest(1), 1, 1, create_new_version=True, made=Made("train_2", "out"))
        assert {each.run_id for each in catalog.lineage(catalog.get("model")).made_by} == {"train_1", "train_2"}


def test_lineage_outlives_the_name(workspace: WorkspaceFolder) -> None:
    with open_catalog(workspace) as catalog:
        made = catalog.register("digits", "{}", digest(1), 1, 1)
        catalog.put_run(run_facts(1), [Read("data", made.id, "mount")])
        catalog.rename("digits", "numerals")
        assert catalog.lineage(catalog.get("numerals")).former_names == ("digits@1",)
        catalog.unregister("numerals")
        found = catalog.lineage(catalog.get_by_id(made.id))
        assert (found.read_count, found.former_names) == (1, ("digits@1", "numerals@1"))


def test_a_version_is_registered_with_its_run_or_not_at_all(
    workspace: WorkspaceFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(lineage, "put_made", fail)
    with open_catalog(workspace) as catalog:
        with pytest.raises(KeyboardInterrupt):
            catalog.register("model", "{}", digest(1), 1, 1, made=Made("train_1", "out"))
        assert list(catalog.list()) == []
        with pytest.raises(UnknownNameError, match="no dataset 'model'"):
            catalog.get("model")


def test_the_catalog_of_a_team_is_where_the_workspace_says(tmp_path: Path) -> None:
    shared = tmp_path / "shared.db"
    one, two = (init(tmp_path / name / ".moorage", f"sqlite:///{shared}") for name in ("one", "two"))
    with open_catalog(one) as catalog:
        catalog.register("digits", "{}", digest(1), 1, 1)
    with open_catalog(two) as catalog:
        assert catalog.get("digits").version == 1
    assert not one.catalog_path.exists()


def test_a_relative_file_is_one_of_the_workspace_wherever_the_process_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = init(tmp_path / ".moorage", "sqlite:///names.db")
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        open_catalog(workspace).close()
    assert (workspace.path / "names.db").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".moorage", "here", "there"]
