"""The outputs of a job, killed at every step: every file whole, once, none lost; one version each; nothing is left."""

import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from runtime.catalog import open_catalog
from runtime.datasets import file
from runtime.job import runs
from runtime.workspace import WorkspaceFolder, init
from tests.support import kill_scenarios, outputs
from tests.support.azurite import Azurite
from tests.support.content import content

SIZES = {"a": 10, "deep/b": 3000}


def kill_at_every_step(tmp_path: Path, urls: list[str], *names: str) -> None:
    steps, number = 1, 0
    while number <= steps:
        folder = tmp_path / str(number)
        folder.mkdir()
        workspace = init(folder / ".moorage")
        kill_scenarios.make_job(workspace, urls[number], "job_1", SIZES, names)
        told = folder / "steps"
        if number:
            assert (
                kill_scenarios.run(kill_scenarios.finish_job, workspace.path, "job_1", told, number) == -signal.SIGKILL
            )
            code = kill_scenarios.run(kill_scenarios.finish_job, workspace.path, "job_1", told, None)
        else:
            code = kill_scenarios.run(kill_scenarios.finish_job, workspace.path, "job_1", told, None)
            steps = int(told.read_text())
        assert code == 0, number
        check_whole(workspace, urls[number], names)
        number += 1
    assert steps > 20 * len(names)


def check_whole(workspace: WorkspaceFolder, url: str, names: Sequence[str]) -> None:
    record = runs.read(workspace, "job_1")
    assert record.status == "Completed"
    assert [each.state for each in record.outputs] == ["registered"] * len(names)
    for name in names:
        wanted = {path: content(f"{name} {path}", 0, size) for path, size in SIZES.items()}
        assert outputs.stored(url, f"{name}/job_1/") == wanted
        with open_catalog(workspace) as catalog:
            assert [each.version for each in catalog.versions(name)] == [1]
        assert file.resolve(workspace, name).files == len(SIZES)
    assert list(workspace.spool_path.iterdir()) == []
    assert [info.key for info in outputs.destination(url, "model/job_1/").controls("")] == ["commit.json"]


def test_killed_at_every_step_the_outputs_of_a_job_are_whole_once(tmp_path: Path) -> None:
    kill_at_every_step(tmp_path, [outputs.local_url(tmp_path / f"store{number}") for number in range(200)], "model")


@pytest.mark.full
@pytest.mark.azurite
@pytest.mark.timeout(900)
def test_killed_at_every_step_the_outputs_of_a_job_are_whole_once_on_blobs(tmp_path: Path, azurite: Azurite) -> None:
    azurite.make_container("killed-job")
    kill_at_every_step(tmp_path, [azurite.url("killed-job", f"{number}/") for number in range(200)], "logs", "model")
