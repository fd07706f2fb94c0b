"""Credentials that become others under a mount: looked up again where they came from, or handed in by its owner."""

import errno
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from mountd import client
from mountd.cli import mountd, run
from mountd.errors import AccessDeniedError, BadInputError
from mountd.freeze import FreezeSource, freeze
from mountd.stores.credentials import Credential
from mountd.stores.credentials.origins import from_option
from tests.support.azurite import KEY, Azurite
from tests.support.content import content
from tests.support.waiting import until

pytestmark = [pytest.mark.fuse, pytest.mark.azurite]
FILES = {f"f{number}": 1000 + number for number in range(8)}


@pytest.fixture(scope="module")
def url(azurite: Azurite) -> str:
    found = azurite.make_container("renewed")
    for name, size in FILES.items():
        azurite.put("renewed", name, content(name, 0, size))
    return found


@contextmanager
def mounted(folder: Path, azurite: Azurite, url: str, credential: Credential) -> Iterator[client.Mount]:
    """A mount by `credential` of what was frozen by another one. Nothing is cached: each read needs a right to read."""
    freeze([FreezeSource(url, Credential("connection_string", azurite.connection_string))], folder / "manifest")
    settings = {"cache_dir": str(folder / "cache"), "cache": "off"}
    with client.start(
        folder / "manifest",
        folder / "mnt",
        source=url,
        credentials={url: credential},
        settings=settings,
        lifeline=True,
    ) as mount:
        yield mount


def is_right(mount: client.Mount, name: str) -> bool:
    return (mount.mountpoint / name).read_bytes() == content(name, 0, FILES[name])


def is_refused(mount: client.Mount, name: str) -> bool:
    try:
        (mount.mountpoint / name).read_bytes()
    except OSError as error:
        return error.errno in {errno.EACCES, errno.EIO}
    return False


def test_a_file_with_a_new_token_is_read_again_when_the_old_one_is_refused(
    azurite: Azurite, url: str, tmp_path: Path
) -> None:
    place = tmp_path / "sas"
    place.write_text(azurite.sas("renewed", "l"))
    with mounted(tmp_path, azurite, url, from_option(f"file:{place}")) as mount:
        place.write_text(azurite.sas("renewed", "rl"))
        assert all(is_right(mount, name) for name in FILES)  # the first read was refused, and asked again


def test_a_token_near_its_end_is_replaced_without_a_failed_read(azurite: Azurite, url: str, tmp_path: Path) -> None:
    place, mark = tmp_path / "sas", tmp_path / "asked"
    place.write_text(azurite.sas("renewed"))
    line = f"sh -c 'echo x >>{mark}; cat {place}'"
    near = Credential("sas", azurite.sas("renewed", lasts=timedelta(seconds=100)), f"command:{line}")
    with mounted(tmp_path, azurite, url, near) as mount:
        assert all(is_right(mount, name) for name in FILES)
        until(mark.exists, what="the look at the place")
        assert all(is_right(mount, name) for name in FILES)
        assert mark.read_text() == "x\n"  # once: the new token is good for hours


@pytest.mark.warns
def test_what_is_handed_in_is_used_by_this_worker_the_next_and_an_upgraded_one(
    azurite: Azurite, url: str, tmp_path: Path
) -> None:
    with mounted(tmp_path, azurite, url, Credential("sas", azurite.sas("renewed", "l"))) as mount:
        assert is_refused(mount, "f0")
        assert client.credentials(mount.mountpoint, Credential("sas", azurite.sas("renewed"))) == [url]
        assert is_right(mount, "f1")
        worker = int(mount.status()["worker_pid"])
        os.kill(worker, signal.SIGKILL)
        assert is_right(mount, "f2")
        client.upgrade(mount.mountpoint)  # the supervisor becomes new code, too, and hands on what it was told
        assert is_right(mount, "f3")
        os.kill(int(mount.status()["worker_pid"]), signal.SIGKILL)
        assert is_right(mount, "f4")


def test_what_is_handed_in_for_another_account_or_source_changes_nothing(
    azurite: Azurite, url: str, tmp_path: Path
) -> None:
    with mounted(tmp_path, azurite, url, Credential("connection_string", azurite.connection_string)) as mount:
        other = azurite.connection_string.replace("AccountName=devstoreaccount1", "AccountName=another")
        with pytest.raises(AccessDeniedError, match="for the storage account 'another'"):
            client.credentials(mount.mountpoint, Credential("connection_string", other))
        with pytest.raises(BadInputError, match=f"no such source; it has {url}"):
            client.credentials(mount.mountpoint, Credential("key", KEY), "https://another/")
        assert all(is_right(mount, name) for name in FILES)


def test_the_command_hands_in_what_it_finds_and_shows_no_secret(
    azurite: Azurite, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_KEY", "AZURE_STORAGE_SAS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    place = tmp_path / "key"
    place.write_text(KEY)
    invoke = CliRunner().invoke
    with mounted(tmp_path, azurite, url, Credential("sas", azurite.sas("renewed", "l"))) as mount:
        done = invoke(mountd, ["credentials", str(mount.mountpoint), "--credential", f"file:{place}"])
        assert (done.exit_code, done.output) == (0, f"{mount.mountpoint}: {url} is read with the new credential\n")
        assert is_right(mount, "f5")
        for arguments in ([], ["--credential", "env:NONE_SUCH"]):
            failed = invoke(mountd, ["credentials", str(mount.mountpoint), *arguments])
            assert failed.exception is not None
            assert KEY not in str(failed.exception)


@pytest.mark.warns
@pytest.mark.parametrize("verb", ["freeze", "download", "mount", "diff"])
def test_an_expired_token_is_refused_at_the_start_and_one_that_ends_soon_is_a_warning(
    azurite: Azurite, url: str, tmp_path: Path, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    place, target = tmp_path / "sas", tmp_path / "target"
    credential = f"--credential=file:{place}"
    freeze([FreezeSource(url, Credential("connection_string", azurite.connection_string))], tmp_path / "manifest")
    command = {
        "freeze": ["freeze", url, f"--output={target}", credential],
        "download": ["download", url, str(target), credential],
        "mount": ["mount", url, str(target), credential, f"--cache-dir={tmp_path}/cache"],
        "diff": ["diff", f"{tmp_path}/manifest", credential],
    }[verb]
    place.write_text(azurite.sas("renewed", lasts=timedelta(minutes=-5)))
    assert run(command) == AccessDeniedError.exit_code
    err = capsys.readouterr().err
    assert err.startswith("mountd: the SAS token expired at ")
    assert err.count("\n") == 1
    assert not target.exists()
    place.write_text(azurite.sas("renewed", lasts=timedelta(minutes=30)))
    if verb == "mount":
        target.mkdir()
    assert run(command) == 0
    try:
        (line,) = [line for line in capsys.readouterr().err.splitlines() if "WARNING" in line]
        assert "the SAS token expires in 30 minutes, at " in line
        assert "it will be looked up again where it came from" in line
        assert "sig=" not in line
    finally:
        if verb == "mount":
            client.stop(target)
