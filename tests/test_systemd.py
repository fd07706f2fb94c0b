"""The unit files: systemd accepts them, and nothing in them hides a mount from the machine or keeps it from mounting."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from mountd.fuse import mounting
from mountd.stores.registry import file_url
from tests.support.confined import options
from tests.support.content import content, make_tree
from tests.support.users import root_only
from tests.support.waiting import until

FOLDER = Path(__file__).parents[1] / "systemd"
UNIT, USER_UNIT = FOLDER / "mountd@.service", FOLDER / "user" / "mountd@.service"
UNITS = sorted(path for path in FOLDER.rglob("*") if path.is_file())
MOUNTD = Path(sys.executable).with_name("mountd")
COMMAND = re.compile(r"(/usr/|%h/\.)local/bin/mountd")

# Options after which the service runs in a mount namespace of its own, as systemd.exec(5) of 252 and 255 lists them, with
# those that only do so together with others, or in later versions, and those that imply one of the rest.
NAMESPACES = (
    *("PrivateTmp", "PrivateDevices", "PrivateMounts", "PrivateNetwork", "PrivateIPC", "PrivateUsers", "PrivatePIDs"),
    *("ProtectSystem", "ProtectHome", "ProtectKernelTunables", "ProtectKernelModules", "ProtectKernelLogs"),
    *("ProtectControlGroups", "ProtectProc", "ProtectHostname", "ProtectClock", "ProcSubset"),
    *("MountFlags", "MountAPIVFS", "MountImages", "MountImagePolicy", "ExtensionImages", "ExtensionImagePolicy"),
    *("ExtensionDirectories", "RootDirectory", "RootImage", "RootImageOptions", "RootImagePolicy", "RootEphemeral"),
    *("RootHash", "RootHashSignature", "RootVerity", "BindPaths", "BindReadOnlyPaths", "BindLogSockets"),
    *("ReadWritePaths", "ReadOnlyPaths", "InaccessiblePaths", "ExecPaths", "NoExecPaths", "TemporaryFileSystem"),
    *("ReadWriteDirectories", "ReadOnlyDirectories", "InaccessibleDirectories"),  # the same by their old names
    *("DynamicUser", "LogNamespace", "NetworkNamespacePath", "IPCNamespacePath", "JoinsNamespaceOf", "PAMName"),
    *("LoadCredential", "LoadCredentialEncrypted", "SetCredential", "SetCredentialEncrypted", "ImportCredential"),
)
# Options that take set-user-id from fusermount3: NoNewPrivileges, and what implies it without CAP_SYS_ADMIN.
NO_PRIVILEGES = (
    *("NoNewPrivileges", "SystemCallFilter", "SystemCallArchitectures", "SystemCallLog", "RestrictAddressFamilies"),
    *("RestrictNamespaces", "RestrictRealtime", "RestrictSUIDSGID", "RestrictFileSystems", "MemoryDenyWriteExecute"),
    *("LockPersonality", "PrivateDevices", "ProtectKernelTunables", "ProtectKernelModules", "ProtectKernelLogs"),
    *("ProtectClock", "ProtectHostname", "DynamicUser", "CapabilityBoundingSet", "SecureBits"),
)


def said(units: Iterable[Path], *flags: str) -> str:
    """What systemd-analyze finds wrong with `units`."""
    command = ["systemd-analyze", "verify", "--man=no", *flags, *map(str, units)]
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(next(iter(units)).parent)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    ours = [line for line in done.stderr.splitlines() if "mountd" in line or "mnt-data" in line]
    return "\n".join(ours)


def installed(folder: Path, units: Iterable[Path], change: tuple[str, str] = ("", "")) -> list[Path]:
    """Instances of the templates, with a command that exists, which verify wants."""
    made = [folder / unit.name.replace("@.", "@data.") for unit in units]
    for unit, target in zip(units, made, strict=True):
        target.write_text(COMMAND.sub("/bin/true", unit.read_text()).replace(*change))
    return made


@pytest.mark.parametrize("flags", [[], ["--user"]])
def test_systemd_accepts_them(tmp_path: Path, flags: list[str]) -> None:
    units = [unit for unit in UNITS if (unit.parent.name == "user") == bool(flags)]
    assert len(units) >= 2
    assert said(installed(tmp_path, units), *flags) == ""


@pytest.mark.parametrize("change", [("Type=notify", "Type=notifi"), ("WatchdogSec=30", "WatchdogSec=30x")])
def test_verify_would_notice(tmp_path: Path, change: tuple[str, str]) -> None:
    assert said(installed(tmp_path, [UNIT], change))


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: f"{unit.parent.name}/{unit.name}")
def test_nothing_makes_a_mount_namespace(unit: Path) -> None:
    assert options(unit.read_text()).keys().isdisjoint(NAMESPACES)


def test_the_check_for_namespaces_can_fail() -> None:
    given = options(UNIT.read_text().replace("UMask=", "PrivateTmp=true\nUMask="))
    assert not given.keys().isdisjoint(NAMESPACES)


def test_a_users_unit_leaves_fusermount3_its_right() -> None:
    assert options(USER_UNIT.read_text()).keys().isdisjoint(NO_PRIVILEGES)
    assert not options(UNIT.read_text()).keys().isdisjoint(NO_PRIVILEGES)


@pytest.mark.parametrize("unit", [UNIT, USER_UNIT])
def test_it_survives_its_supervisor(unit: Path) -> None:
    given = options(unit.read_text())
    assert (given["Type"], given["NotifyAccess"], given["KillMode"]) == ("notify", "main", "mixed")
    assert given["ExecStart"].endswith("mount --foreground ${SOURCE} ${MOUNTPOINT}")
    assert given["ExecStopPost"].endswith("mountd after-service ${MOUNTPOINT}")
    assert given["Restart"] == "on-failure"
    assert int(given["FileDescriptorStoreMax"]) >= len(("device", "table", "settings"))
    assert int(given["WatchdogSec"]) >= 10  # it is fed every second
    assert given["OnFailure"] == "mountd-clean@%i.service"
    clean = options(unit.with_name("mountd-clean@.service").read_text())
    assert clean["ExecStart"] == given["ExecStopPost"].removeprefix("-")
    assert clean["EnvironmentFile"] == given["EnvironmentFile"]


@root_only
def test_a_mount_works_under_its_restrictions(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree", {"a": 3_000_000})
    command = [sys.executable, "-m", "tests.support.confined", str(UNIT), str(MOUNTD), "mount", "--foreground"]
    environment = {**os.environ, "MOORAGE_CACHE_DIR": str(tmp_path / "cache"), "MOORAGE_CACHE": "always"}
    with subprocess.Popen([*command, file_url(tree), str(tmp_path / "mnt")], env=environment) as process:
        until(lambda: mounting.find(tmp_path / "mnt") or process.poll() is not None, what="the mount")
        assert (tmp_path / "mnt" / "a").read_bytes() == content("a", 0, 3_000_000)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert mounting.find(tmp_path / "mnt") is None


@root_only
def test_the_restrictions_are_real(tmp_path: Path) -> None:
    (tmp_path / "unit").write_text(UNIT.read_text().replace("@system-service @mount", "@system-service"))
    tree = make_tree(tmp_path / "tree", {"a": 1})
    command = [sys.executable, "-m", "tests.support.confined", str(tmp_path / "unit"), str(MOUNTD), "mount"]
    environment = {**os.environ, "MOORAGE_CACHE_DIR": str(tmp_path / "cache")}
    words = [*command, file_url(tree), str(tmp_path / "mnt")]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, "not permitted" in done.stderr) == (7, True), done.stderr


def test_systemd_makes_a_unit_of_the_line_in_fstab(tmp_path: Path) -> None:
    generator = Path("/usr/lib/systemd/system-generators/systemd-fstab-generator")
    if not generator.exists():
        pytest.skip("systemd-fstab-generator is not installed")
    mount = options((FOLDER / "mnt-data.mount").read_text())
    wishes = f"{mount['Options']},nofail,x-systemd.automount"
    (tmp_path / "fstab").write_text(f"{mount['What']} {mount['Where']} {mount['Type']} {wishes} 0 0\n")
    folders = [tmp_path / name for name in ("normal", "early", "late")]
    for folder in folders:
        folder.mkdir()
    environment = {**os.environ, "SYSTEMD_FSTAB": str(tmp_path / "fstab"), "SYSTEMD_LOG_TARGET": "console"}
    subprocess.run([generator, *folders], env=environment, check=True)
    made = options((folders[0] / "mnt-data.mount").read_text())
    assert (made["What"], made["Where"], made["Type"]) == (mount["What"], mount["Where"], mount["Type"])
    assert (folders[0] / "remote-fs.target.requires" / "mnt-data.automount").exists() or list(
        folders[0].glob("remote-fs*")
    )
    shutil.copy(folders[0] / "mnt-data.mount", tmp_path)
    assert said([tmp_path / "mnt-data.mount"]) == ""
