"""`mountd doctor`: each line a verdict and a remedy, with a source and without, and never a hang."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mountd.cli import machine_checks, store_checks
from mountd.cli.findings import Check, Finding, examine, ok
from mountd.errors import NotFoundError
from mountd.freeze import FreezeSource, freeze
from mountd.stores.credentials import Credential, sas
from mountd.stores.registry import file_url, parse_source
from tests.support.azurite import KEY, Azurite
from tests.support.content import make_tree
from tests.support.fileshare_server import FileShares
from tests.support.http_server import HttpServer
from tests.support.killing import kill
from tests.support.mounts import mounted

MOUNTD = Path(sys.executable).with_name("mountd")
NOW = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AZURE_", "MOORAGE_"))}
    return {**kept, "MOORAGE_CACHE_DIR": str(tmp_path / "cache"), "XDG_CONFIG_HOME": str(tmp_path / "config")}


def doctor(environment: dict[str, str], *arguments: object, code: int = 0) -> dict[str, tuple[str, str]]:
    """Run it: check -> (verdict, text), of the last line of each check."""
    command = [str(MOUNTD), "doctor", "--json", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)
    assert (done.returncode, done.stderr) == (code, ""), done.stdout
    return {row["check"]: (row["verdict"], row["text"]) for row in json.loads(done.stdout)}


def only(found: Iterable[Finding]) -> tuple[str, str]:
    (one,) = found
    return one.verdict, one.text


@pytest.mark.fuse
def test_without_a_source_the_machine_is_looked_at_and_nothing_is_left(environment: dict[str, str]) -> None:
    told = doctor(environment)
    assert {name for name, (verdict, _) in told.items() if verdict == "fail"} == set()
    assert {*told} >= {"kernel", "fuse", "fusermount3", "cache", "memory", "clock", "descriptors", "threads"}
    assert told["credential"] == ("ok", "credential: none in the environment")
    assert not Path(environment["MOORAGE_CACHE_DIR"]).exists()


@pytest.mark.azurite
def test_a_container_is_reached_compared_by_its_clock_and_listed(environment: dict[str, str], azurite: Azurite) -> None:
    url = azurite.make_container("doctor")
    secret = {"AZURE_STORAGE_CONNECTION_STRING": azurite.connection_string}
    assert doctor({**environment, **secret}, url)["listing"][0] == "warn"  # empty
    azurite.put("doctor", "folder/a b", b"data")
    for source in (url, f"{url}folder", f"{url}folder/a%20b"):
        told = doctor({**environment, **secret}, source)
        assert told["credential"] == ("ok", "credential: connection_string from the environment")
        assert told["connection"][0] == told["store clock"][0] == told["listing"][0] == "ok"
        assert "127.0.0.1" in told["connection"][1]
        assert told["listing"][1].endswith(" ms")
    told = doctor(environment, url, "--credential", "anonymous", code=5)
    assert told["credential"][1] == "credential: anonymous from --credential"
    assert told["listing"][0] == "fail"
    assert "AZURE_STORAGE_CONNECTION_STRING" in told["listing"][1]


def test_a_file_share_is_reached_and_listed(environment: dict[str, str]) -> None:
    with FileShares.start() as server:
        url, secret = server.make_share("doctor"), {"AZURE_STORAGE_KEY": KEY}
        server.put("doctor", "folder/a b", b"data")
        for source in (url, f"{url}folder", f"{url}folder/a%20b"):
            told = doctor({**environment, **secret}, source)
            assert told["connection"][0] == told["store clock"][0] == told["listing"][0] == "ok"
            assert told["listing"][1].endswith(" ms")
        assert "never public" in doctor(environment, url, code=5)["listing"][1]


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("abfss://lake@acct.dfs.core.windows.net/", ["acct.dfs.core.windows.net", "acct.blob.core.windows.net"]),
        ("abfs://lake@127.0.0.1:9/acct/", ["127.0.0.1"]),
        ("https://acct.blob.core.windows.net/cont/", ["acct.blob.core.windows.net"]),
    ],
)
def test_every_address_that_a_store_is_asked_at_is_tried(
    url: str, hosts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def refused(address: tuple[str, int], *_: object, **__: object) -> None:
        tried.append(address[0])
        raise ConnectionRefusedError

    for variable in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(variable)
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *_, **__: [(0, 0, 0, "", (host, 443))])
    monkeypatch.setattr(socket, "create_connection", refused)
    for check in store_checks.source_checks(url, Credential("anonymous")):
        if check.name == "connection":
            assert only(check.look())[0] == "fail"
    assert tried == hosts


def test_a_store_that_is_not_there_fails_with_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_checks, "_LIST_S", 1)
    checks = store_checks.source_checks("http://127.0.0.1:9/devstoreaccount1/container/", Credential("anonymous"))
    connection, clock, listing = examine(checks)
    assert [(each.verdict, each.code) for each in (connection, clock, listing)] == [
        ("fail", 8),
        ("warn", 0),
        ("fail", 8),
    ]
    assert "127.0.0.1:9 (127.0.0.1) cannot be reached" in connection.text


def test_a_name_that_has_no_address_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(variable)
    source = parse_source("https://moorage.invalid/a.csv")
    verdict, text = only(store_checks._connection(source))
    assert verdict == "fail"
    assert "moorage.invalid has no address" in text
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    assert "through the proxy" in only(store_checks._connection(source))[1]


def test_a_folder_a_file_of_the_web_and_a_manifest_are_sources_too(environment: dict[str, str], tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree", {"a": 10})
    assert doctor(environment, file_url(tree))["listing"][0] == "ok"
    freeze([FreezeSource(file_url(tree))], tmp_path / "m")
    assert doctor(environment, tmp_path / "m")["listing"][0] == "ok"
    with HttpServer.start() as server:
        url = server.put("/a.csv", b"data", etag='"1"')
        assert doctor(environment, url)["listing"][0] == "ok"
        assert doctor(environment, f"{url}x", code=4)["listing"][0] == "fail"
    assert "no such" in doctor(environment, "file:///no/such/folder", code=4)["listing"][1]
    assert doctor(environment, "nonsense", code=3)["source"][0] == "fail"


def test_an_expired_token_is_a_failure_and_is_not_shown(environment: dict[str, str]) -> None:
    token = "sv=2024-11-04&st=2020-01-01&se=2021-01-01T00%3A00%3A00Z&sig=T0PSECRET"  # noqa: S105  # nobody's
    for name, value in (
        ("AZURE_STORAGE_SAS_TOKEN", token),
        ("AZURE_STORAGE_CONNECTION_STRING", f"AccountName=a;SharedAccessSignature={token}"),
    ):
        verdict, text = doctor({**environment, name: value}, code=5)["credential"]
        assert verdict == "fail"
        assert "expired at 2021-01-01 00:00 UTC; make a new one" in text
        assert "T0PSECRET" not in text


@pytest.mark.parametrize(
    ("begin", "end", "verdict", "said"),
    [
        (None, None, "ok", "credential: sas"),
        (None, NOW + timedelta(days=9), "ok", "good until 2026-07-10"),
        (None, NOW, "fail", "expired"),
        (None, NOW + timedelta(hours=1), "warn", "expires at 2026-07-01 13:00 UTC"),
        (NOW + timedelta(hours=1), NOW + timedelta(days=9), "warn", "good from 2026-07-01 13:00 UTC on only"),
    ],
)
def test_the_dates_of_a_token_are_judged(begin: datetime | None, end: datetime | None, verdict: str, said: str) -> None:
    finding = store_checks._dated("credential: sas", begin, end, NOW)
    assert (finding.verdict, said in finding.text) == (verdict, True)


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("se=2030-01-02", datetime(2030, 1, 2, tzinfo=UTC)),
        ("sig=x&se=2030-01-02T03:04Z", datetime(2030, 1, 2, 3, 4, tzinfo=UTC)),
        ("sig=x&se=soon", None),
        ("sig=base=2030-01-02", None),
    ],
)
def test_a_date_of_a_token_is_found(text: str, when: datetime | None) -> None:
    assert sas.ends_at(Credential("sas", text)) == when
    assert sas.ends_at(Credential("key", text)) is None


def test_a_clock_that_is_wrong_is_a_warning_and_refuses_nothing() -> None:
    assert store_checks._compared(NOW, NOW + timedelta(seconds=3)).text == "store clock: this machine's is 3 s ahead"
    finding = store_checks._compared(NOW, NOW - timedelta(minutes=20))
    assert (finding.verdict, finding.code) == ("warn", 0)
    assert "1200 s behind: signed requests may be refused; set it" in finding.text


def test_a_check_that_hangs_or_breaks_is_a_warning_and_the_others_go_on() -> None:
    forever = threading.Event()

    def hang() -> Iterator[Finding]:
        forever.wait()
        yield ok("hang", "it came to an end")

    def broken() -> Iterator[Finding]:
        raise ZeroDivisionError

    def ours() -> Iterator[Finding]:
        raise NotFoundError("x: not there")

    def fine() -> Iterator[Finding]:
        yield ok("fine", "all is well")

    looks = (hang, broken, ours, fine)
    begun_s = time.monotonic()
    try:
        found = list(examine([Check(look.__name__, 0.2, look) for look in looks]))
    finally:
        forever.set()
    assert time.monotonic() - begun_s < 10
    assert [each.verdict for each in found] == ["warn", "warn", "fail", "ok"]
    assert found[0].text == "hang: no answer within 0.2 s; something it asks hangs"
    assert "ZeroDivisionError" in found[1].text
    assert (found[2].text, found[2].code) == ("ours: x: not there", 4)


@pytest.mark.fuse
def test_a_dead_mount_is_named(environment: dict[str, str], tmp_path: Path) -> None:
    with mounted(tmp_path, make_tree(tmp_path / "tree", {"a": 10})) as mount:
        kill(mount)
        verdict, text = doctor(environment)["mounts"]
    assert verdict == "warn"
    assert f"mountd unmount {tmp_path / 'mnt'}" in text


class TestTheMachine:
    def test_an_old_kernel_fails_and_one_without_resend_does_not(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for release, verdict, said in (
            ("4.19.0-27-amd64", "fail", "from 5.4 on is needed"),
            ("6.1.0-28-amd64", "ok", "no FUSE_NOTIFY_RESEND"),
            ("6.10.3", "ok", "with FUSE_NOTIFY_RESEND"),
            ("next", "ok", "no FUSE_NOTIFY_RESEND"),
        ):
            monkeypatch.setattr("platform.release", lambda release=release: release)
            told = only(machine_checks.kernel())
            assert (told[0], said in told[1]) == (verdict, True)

    def test_a_device_that_a_container_forbids_is_told(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr("mountd.client.why_no_fuse", lambda: None)
        monkeypatch.setattr("mountd.fuse.mounting.DEVICE", tmp_path)  # which cannot be opened for writing
        verdict, text = only(machine_checks.fuse())
        assert verdict == "fail"
        assert "--device /dev/fuse" in text

    def test_a_user_needs_a_helper_that_is_set_user_id_and_leave_for_others(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        helper, conf = tmp_path / "fusermount3", tmp_path / "fuse.conf"
        helper.touch(0o755)
        monkeypatch.setattr(machine_checks, "_is_root", lambda: False)
        monkeypatch.setattr(machine_checks, "_FUSE_CONF", conf)
        monkeypatch.setattr("mountd.client.why_no_fuse", lambda: None)
        monkeypatch.setattr("shutil.which", lambda _: str(helper))
        assert f"chmod u+s {helper}" in only(machine_checks.fusermount())[1]
        assert only(machine_checks.other_users())[0] == "warn"
        conf.write_text("#user_allow_other\n")
        assert only(machine_checks.other_users())[0] == "warn"
        conf.write_text("# all\n user_allow_other \n")
        assert only(machine_checks.other_users())[0] == "ok"

    @pytest.mark.parametrize(
        ("kind", "said"), [("nfs4", "a network's file system"), ("fuse.sshfs", "a network's"), ("tmpfs", "is memory")]
    )
    def test_a_cache_that_is_no_local_disk_is_a_warning(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, said: str
    ) -> None:
        monkeypatch.setenv("MOORAGE_CACHE_DIR", str(tmp_path))
        monkeypatch.setattr(machine_checks, "_file_system", lambda _: kind)
        verdict, text = only(machine_checks.cache())
        assert (verdict, said in text, "--cache-dir" in text) == ("warn", True, True)

    def test_a_cache_disk_that_is_full_is_a_warning(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("MOORAGE_CACHE_DIR", str(tmp_path))
        monkeypatch.setattr(machine_checks, "_why_not_written", lambda _: "No space left on device")
        monkeypatch.setenv("MOORAGE_CACHE_SIZE", "10MiB")
        verdict, text = only(machine_checks.cache())
        assert verdict == "warn"
        assert "may not be written (No space left on device): set --cache-dir" in text
        assert "holds little" in text

    def test_the_file_system_of_a_path_is_the_deepest_mount_above_it(self) -> None:
        assert machine_checks._file_system(Path("/proc/self")) == "proc"

    def test_a_budget_beyond_the_containers_limit_is_a_warning(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MOORAGE_MEMORY", "100MiB")
        for limit, verdict in ((None, "ok"), (150 << 20, "warn"), (1 << 30, "ok"), (1 << 62, "ok")):
            monkeypatch.setattr(machine_checks, "cgroup_limit", lambda limit=limit: limit)
            assert only(machine_checks.memory())[0] == verdict

    def test_limits_that_are_too_low_are_told(self, environment: dict[str, str]) -> None:
        command = f"ulimit -n 256; exec {MOUNTD} doctor"
        done = subprocess.run(
            ["sh", "-c", command], capture_output=True, text=True, check=False, env=environment, timeout=60
        )
        assert "warn  descriptors: 256 a process, 1024 are wanted: ulimit -n 1024" in done.stdout

    def test_threads_that_cannot_be_had_are_a_failure(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(_: threading.Thread) -> None:
            raise RuntimeError

        monkeypatch.setattr(threading.Thread, "start", refuse)
        assert only(machine_checks.threads()) == (
            "fail",
            "threads: 0 can be had, a mount wants 128: raise ulimit -u or pids.max",
        )

    def test_a_clock_in_the_past_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert only(machine_checks.clock())[0] == "ok"
        monkeypatch.setattr(machine_checks, "_BEFORE_THIS_WAS_WRITTEN", datetime.now(UTC) + timedelta(days=1))
        assert only(machine_checks.clock())[0] == "warn"
