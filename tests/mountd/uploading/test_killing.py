"""An output that is killed at every step: nothing acknowledged is lost, and the store ends as the truth, whole."""

import json
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support import kill_scenarios, outputs
from tests.support.azurite import Azurite
from tests.support.kill_scenarios import LONG, SHORT, Operation, truth

KILLED = -signal.SIGKILL


def killed_at(step: int | None, folder: Path, url: str, operations: Sequence[Operation]) -> int | None:
    return kill_scenarios.run(
        kill_scenarios.write_tree, folder / "spool", url, operations, folder / "acknowledged", step
    )


def check_whole(folder: Path, url: str, operations: Sequence[Operation]) -> None:
    """The store is the truth, the commit lists all of it, and nothing is left over."""
    wanted = truth(operations)
    assert outputs.stored(url) == wanted
    place = outputs.destination(url)
    (commit,) = place.controls("")
    told = json.loads(place.read_control("commit.json", commit.size))
    etags = {info.key: info.etag for info in place.objects() if not info.is_directory}
    assert {each["path"]: each["etag"] for each in told["list"]} == etags
    with outputs.spool(folder / "spool", url, settle_s=3600.0) as tree:
        assert tree.committed().etags == etags
        status = tree.status()
        assert (status["waiting"], status["broken"], status["staged_bytes"]) == (
            0,
            0,
            sum(path.stat().st_size for path in (folder / "spool/stages").iterdir()),
        )


def kill_at_every_step(tmp_path: Path, urls: Sequence[str], operations: Sequence[Operation]) -> int:
    """One life to count the steps; then one for each of them, and another that goes on. How many steps there are."""
    first = tmp_path / "0"
    first.mkdir()
    assert killed_at(None, first, urls[0], operations) == 0
    check_whole(first, urls[0], operations)
    steps = int((first / "acknowledged.steps").read_text())
    assert steps > len(operations)
    for step in range(1, steps + 1):
        folder, url = tmp_path / str(step), urls[step]
        folder.mkdir()
        assert killed_at(step, folder, url, operations) == KILLED, step
        assert killed_at(None, folder, url, operations) == 0, step
        check_whole(folder, url, operations)
    return steps


def local_urls(tmp_path: Path, count: int = 400) -> list[str]:
    return [outputs.local_url(tmp_path / f"store{number}") for number in range(count)]


def test_killed_at_every_step_a_tree_loses_nothing(tmp_path: Path) -> None:
    kill_at_every_step(tmp_path, local_urls(tmp_path), SHORT)


@pytest.mark.full
@pytest.mark.timeout(900)
def test_killed_at_every_step_of_a_long_history_a_tree_loses_nothing(tmp_path: Path) -> None:
    kill_at_every_step(tmp_path, local_urls(tmp_path), LONG)


@pytest.mark.full
@pytest.mark.azurite
@pytest.mark.timeout(900)
def test_killed_at_every_step_a_tree_on_blobs_loses_nothing(tmp_path: Path, azurite: Azurite) -> None:
    container = "killed-tree"
    azurite.make_container(container)
    urls = [azurite.url(container, f"{number}/") for number in range(400)]
    kill_at_every_step(tmp_path, urls, LONG)
