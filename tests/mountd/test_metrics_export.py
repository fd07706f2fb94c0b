"""Metrics for Prometheus, as a scrape of a real mount and a reader of the file see them."""

import math
import re
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mountd import client
from mountd.daemon import exporting
from mountd.daemon.exposition import METRICS, owner_of
from mountd.errors import BadInputError
from tests.support.content import make_tree
from tests.support.killing import kill
from tests.support.mounts import ODD_NAMES, mounted
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
STATUS: dict[str, object] = {"driver": "native", "digest": "", "slowest": []}  # the least that a status says
SIZES = {"a": 300_000, "folder/b": 3_000_000}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "tree", SIZES)


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def scrape(port: int, path: str = "/metrics") -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        return str(answer.read().decode())


def samples(text: str) -> dict[str, tuple[dict[str, str], float]]:
    """Every sample: name -> (labels, value)."""
    found = [each for family in text_string_to_metric_families(text) for each in family.samples]
    assert len({each.name for each in found}) == len(found)
    return {each.name: (each.labels, each.value) for each in found}


@pytest.mark.fuse
def test_the_port_tells_what_status_tells_at_that_moment(tmp_path: Path, tree: Path, port: int) -> None:
    with mounted(tmp_path, tree, cache="always", metrics_port=str(port)) as mount:
        labels, before = samples(scrape(port))["moorage_fetched_bytes_total"]
        assert (labels["mountpoint"], int(before)) == (str(mount.mountpoint), 0)
        assert (mount.mountpoint / "a").read_bytes()
        until(lambda: not mount.status()["fetch"]["in_flight"], what="the end of all fetches")
        now, status = samples(scrape(port)), mount.status()
        for name, value in {
            "moorage_fetched_bytes_total": 300_000,
            "moorage_dataset_files": 2,
            "moorage_dataset_bytes": 3_300_000,
            "moorage_stores_reachable": 1,
            "moorage_restarts_total": 0,
            "moorage_reads_total": status["reads"]["count"],
            "moorage_cache_misses_total": status["cache"]["misses"],
            "moorage_memory_limit_bytes": status["memory"]["limit_bytes"],
        }.items():
            assert now[name][1] == value, name
        assert now["moorage_mount_info"][0]["digest"] == status["digest"]


@pytest.mark.fuse
def test_there_is_nothing_else_at_the_port(tmp_path: Path, tree: Path, port: int) -> None:
    with mounted(tmp_path, tree, metrics_port=str(port)), pytest.raises(urllib.error.HTTPError, match="404"):
        scrape(port, "/")


@pytest.mark.fuse
def test_the_list_in_the_docs_is_what_is_exported(tmp_path: Path, tree: Path, port: int) -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| .+ \|$", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE)
    assert [("moorage_mount_info", "gauge"), *((each.name, each.kind) for each in METRICS)] == rows
    with mounted(tmp_path, tree, metrics_port=str(port)):
        exported = scrape(port)
    assert [*samples(exported)] == [name for name, _ in rows]  # each has a value: its place in the status is there
    assert re.findall(r"^# TYPE (\S+) (\S+)$", exported, re.MULTILINE) == rows
    assert not [value for _, value in samples(exported).values() if math.isnan(value)]


@pytest.mark.fuse
def test_the_port_is_this_machines_alone_and_free_again_at_once(tmp_path: Path, tree: Path, port: int) -> None:
    for _ in range(3):
        with mounted(tmp_path, tree, metrics_port=str(port)):
            scrape(port)
            listening = re.findall(rf": (\w+):{port:04X} 0+:0000 0A", Path("/proc/net/tcp").read_text())
            assert listening == ["0100007F"]
            assert f":{port:04X} " not in Path("/proc/net/tcp6").read_text()


@pytest.mark.fuse
def test_a_port_or_file_of_another_mount_is_refused_in_one_line(tmp_path: Path, tree: Path, port: int) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    second.mkdir(parents=True)
    first.mkdir()
    told = {"metrics_port": str(port), "metrics_file": str(tmp_path / "m.prom")}
    with mounted(first, tree, None, **told) as mount:
        for name, value in told.items():
            flag = f"--{name.replace('_', '-')}: "
            with (
                pytest.raises(BadInputError, match=rf"^{flag}.*the mount on {mount.mountpoint}; choose another"),
                mounted(second, tree, None, **{name: value}),
            ):
                pass
        assert samples(scrape(port))["moorage_uptime_seconds"][0] == {"mountpoint": str(mount.mountpoint)}


@pytest.mark.fuse
def test_a_port_of_something_else_is_refused_in_one_line(tmp_path: Path, tree: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        server.close()
        with (
            socket.create_server(("127.0.0.1", port)),
            pytest.raises(BadInputError, match=f"127.0.0.1:{port} is in use by another process; choose another"),
            mounted(tmp_path, tree, metrics_port=str(port)),
        ):
            pass


@pytest.mark.fuse
def test_the_file_is_whole_readable_by_others_and_gone_at_the_end(tmp_path: Path, tree: Path) -> None:
    path = tmp_path / "textfiles" / "m.prom"
    path.parent.mkdir()
    with mounted(tmp_path, tree, metrics_file=str(path)) as mount:
        assert path.stat().st_mode & 0o777 == 0o644
        labels, files = samples(path.read_text())["moorage_dataset_files"]
        assert (labels, files) == ({"mountpoint": str(mount.mountpoint)}, 2)
    assert list(path.parent.iterdir()) == []


@pytest.mark.fuse
@pytest.mark.parametrize(
    ("name", "said"),
    [("none/m.prom", "No such file"), ("tree", "Is a directory"), ("mnt/m.prom", "lies below the mount point")],
)
def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path, tree: Path, name: str, said: str) -> None:
    with (
        pytest.raises(BadInputError, match=f"--metrics-file: {tmp_path / name}:? {said}"),
        mounted(tmp_path, tree, metrics_file=str(tmp_path / name)),
    ):
        pass
    assert not list(tmp_path.rglob("*.half"))


@pytest.mark.fuse
def test_a_killed_mounts_file_is_taken_over(tmp_path: Path, tree: Path, port: int) -> None:
    told = {"metrics_file": str(tmp_path / "m.prom"), "metrics_port": str(port)}
    with mounted(tmp_path, tree, None, **told) as mount:
        kill(mount)
    assert (tmp_path / "m.prom").exists()
    client.detach(tmp_path / "mnt")
    (tmp_path / "manifest").unlink()
    with mounted(tmp_path, tree, None, **told):
        assert samples(scrape(port))["moorage_dataset_files"][1] == 2
    assert not (tmp_path / "m.prom").exists()


@contextmanager
def exporter(mountpoint: str, port: int | None, file: Path | None = None, text: str = "x") -> Iterator[None]:
    with exporting.exporting(Path(mountpoint), port, file, lambda: STATUS | {"mountpoint": mountpoint, "source": text}):
        yield


def test_the_port_of_the_same_mounts_last_worker_is_taken_over_when_it_ends(port: int) -> None:
    last = exporter("/mnt/a", port, text="last")
    last.__enter__()
    with exporter("/mnt/a", port, text="next"):
        assert 'source="last"' in scrape(port)
        last.__exit__(None, None, None)

        def answers() -> bool:
            try:
                return 'source="next"' in scrape(port)
            except OSError:  # between the two
                return False

        until(answers, what="the successor's answer")
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_who_opens_the_port_and_says_nothing_is_hung_up_on(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting._Handler, "timeout", 0.2)
    with exporter("/mnt/a", port), socket.create_connection(("127.0.0.1", port)) as mute:
        assert 'source="x"' in scrape(port)
        mute.settimeout(10)
        assert mute.recv(1) == b""


@pytest.mark.warns
def test_a_file_that_cannot_be_written_later_is_said_once_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(exporting, "_EVERY_S", 0.01)
    folder, away = tmp_path / "textfiles", tmp_path / "away"
    folder.mkdir()
    asked: list[int] = []

    def status() -> dict[str, object]:
        asked.append(1)
        return STATUS | {"mountpoint": "/mnt/a", "source": ""}

    with exporting.exporting(Path("/mnt/a"), None, folder / "m.prom", status):
        folder.rename(away)
        until(lambda: caplog.records, what="the warning")
        begun = len(asked)
        until(lambda: len(asked) > begun + 5, what="more attempts")
        (away / "m.prom").unlink()
        away.rename(folder)
        until((folder / "m.prom").exists, what="the file")
    assert len([each for each in caplog.records if "goes on trying" in each.getMessage()]) == 1
    assert list(folder.iterdir()) == []


@pytest.mark.fuse
@pytest.mark.parametrize("name", ODD_NAMES[2:5])
def test_a_mount_point_of_any_bytes_is_exported(tmp_path: Path, tree: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    with mounted(folder, tree, metrics_file=str(tmp_path / "m.prom")) as mount:
        text = (tmp_path / "m.prom").read_bytes().decode()
        expected = str(mount.mountpoint).encode("utf-8", "backslashreplace").decode()
        assert owner_of(text) == expected
        # The parser of the client library splits lines as `splitlines` does, so it is not asked here.
        assert "\nmoorage_dataset_files{" in text
