"""What mount(8) and fstab ask of mount.moorage: each option is done, or refused in one line."""

import os
from pathlib import Path

import pytest

from mountd.cli import fstab
from mountd.errors import BadInputError, NotFoundError

PLACES = ["file:///x", "/mnt"]
# The file-system-independent options of mount(8), with those of SELinux, of `mount --make-*` and of device mounts. They are
# those of the manual page of util-linux 2.38 ("FILESYSTEM-INDEPENDENT MOUNT OPTIONS"); many machines have no manual pages.
_DONE = """
    async atime noatime auto noauto defaults nodev diratime nodiratime dirsync exec noexec group iversion noiversion nomand
    _netdev nofail relatime norelatime nostrictatime lazytime nolazytime nosuid silent loud owner ro rw sync user nouser
    users nosymfollow X-mount.mkdir x-systemd.automount comment
"""
_REFUSED = """
    context fscontext defcontext rootcontext dev suid mand strictatime remount bind rbind move loop offset sizelimit
    shared slave private unbindable rshared rslave rprivate runbindable
"""
DONE, REFUSED = _DONE.split(), _REFUSED.split()


def words(*arguments: str) -> list[str]:
    """What `mountd mount` gets, without the places."""
    command = fstab.parse(arguments).command
    assert (command[0], *command[-3:]) == ("mount", "--", *PLACES)
    return list(command[1:-3])


def refusal(*arguments: str) -> str:
    with pytest.raises(BadInputError) as caught:
        fstab.parse(arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_two_places_come_first_or_last() -> None:
    assert words(*PLACES) == words("-o", "rw", *PLACES) == words("-v", PLACES[0], "-orw", PLACES[1]) == []


@pytest.mark.parametrize(
    "given",
    [["-o", "ro,memory=1GiB,allow_other"], ["-oro,memory=1GiB", "-oallow-other"], ["-svo", "memory=1GiB,allow_other,"]],
)
def test_our_settings_are_options_in_any_spelling(given: list[str]) -> None:
    assert words(*PLACES, *given) == words(*given, *PLACES) == ["--memory=1GiB", "--allow-other"]


@pytest.mark.parametrize("name", [*DONE, *REFUSED])
def test_every_option_of_mount_is_done_or_refused_in_one_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    if name in REFUSED:
        assert refusal(*PLACES, "-o", name).startswith(f"option {name}: ")
    else:
        assert words(*PLACES, "-o", name) == []
        assert fstab.parse([*PLACES, "-o", name]).put_on == ((name,) if name in {"noexec", "nosymfollow"} else ())


def test_a_comma_may_be_part_of_a_value() -> None:
    assert words(*PLACES, "-o", r"cache_dir=/a\,b,rw") == ["--cache-dir=/a,b"]
    assert words(*PLACES, "-o", 'ro,cache_dir="/a,b c",memory=1GiB') == ["--cache-dir=/a,b c", "--memory=1GiB"]
    assert words(*PLACES, "-o", r"cache_dir=/a\b") == [r"--cache-dir=/a\b"]


def test_an_unknown_option_is_named_with_the_nearest() -> None:
    assert refusal(*PLACES, "-o", "ro,cachedir=/secret") == "option cachedir: not known; did you mean cache_dir?"
    assert refusal(*PLACES, "-o", "_netdevice") == "option _netdevice: not known; did you mean _netdev?"
    assert "cache_dir, " in refusal(*PLACES, "-o", "zzz")
    assert "json" in refusal(*PLACES, "-o", "json")  # an option of the command, and no setting
    assert "foreground" in refusal(*PLACES, "-o", "foreground")


def test_sloppy_ignores_what_is_unknown_and_tells_it() -> None:
    request = fstab.parse([*PLACES, "-s", "-o", "ro,zzz=1,memory=1GiB"])
    assert (request.ignored, request.command[1]) == (("zzz",), "--memory=1GiB")
    assert "remount" in refusal(*PLACES, "-s", "-o", "remount")  # known, and not to be had


@pytest.mark.parametrize("option", ["memory", "allow_other=true", "credential"])
def test_a_value_that_lacks_or_is_too_much_is_said(option: str) -> None:
    assert option.partition("=")[0] in refusal(*PLACES, "-o", option)


def test_exec_takes_back_the_noexec_of_users() -> None:
    assert fstab.parse([*PLACES, "-o", "rw,noexec,nosuid,nodev,users,exec"]).put_on == ()


def test_only_root_can_have_noexec(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "users,exec" in refusal(*PLACES, "-o", "rw,noexec,nosuid,nodev,users")


@pytest.mark.parametrize("given", [["-N", "/proc/1/ns/mnt"], ["-t", "moorage.sub"], ["-t", "ext4"], ["-x"], ["-o"]])
def test_flags_that_cannot_be_done_are_refused(given: list[str]) -> None:
    assert refusal(*PLACES, *given)


@pytest.mark.parametrize("kind", ["moorage", "fuse.moorage"])
def test_the_type_is_no_place(kind: str) -> None:
    assert words("-t", kind, *PLACES) == []


@pytest.mark.parametrize("places", [[], ["file:///x"], ["file:///x", "/mnt", "/more"]])
def test_other_than_two_places_is_wrong_use(places: list[str]) -> None:
    assert "SOURCE DIR" in refusal(*places)


@pytest.mark.parametrize("source", ["https://a.blob.core.windows.net/c/?sv=1&sig=SECRET", "https://u:SECRET@host/file"])
def test_a_secret_in_the_source_is_refused_with_the_remedy(source: str) -> None:
    said = refusal(source, "/mnt")
    assert "credential=file:PATH" in said
    assert "SECRET" not in said


def test_a_credential_is_named_and_never_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("sv=1&sig=SECRET")
    assert words(*PLACES, "-o", f"credential=file:{tmp_path}/key") == [f"--credential=file:{tmp_path}/key"]
    monkeypatch.setenv("TOKEN", "sig=1")
    assert words(*PLACES, "-o", "credential=env:TOKEN") == ["--credential=env:TOKEN"]
    said = refusal(*PLACES, "-o", "credential=sv=1&sig=SECRET")
    assert "file:PATH" in said
    assert "SECRET" not in said


def test_a_credential_is_looked_for_also_when_nothing_is_mounted(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        fstab.parse([*PLACES, "-f", "-o", f"credential=file:{tmp_path}/none"])
