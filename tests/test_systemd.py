"""The unit file: systemd accepts it, and nothing in it would hide the mount from the machine."""

import re
import subprocess
from pathlib import Path

UNIT = Path(__file__).parents[1] / "systemd" / "mountd@.service"

# Options after which the service runs in a mount namespace of its own, as systemd.exec(5) lists them.
NAMESPACES = (
    *("PrivateTmp", "PrivateDevices", "PrivateMounts", "PrivateNetwork", "PrivateIPC", "PrivateUsers", "PrivatePIDs"),
    *("ProtectSystem", "ProtectHome", "ProtectKernelTunables", "ProtectKernelModules", "ProtectKernelLogs"),
    *(
        "ProtectControlGroups",
        "ProtectProc",
        "ProtectHostname",
        "ProtectClock",
        "ProcSubset",
        "MountFlags",
        "MountAPIVFS",
    ),
    *("ReadWritePaths", "ReadOnlyPaths", "InaccessiblePaths", "ExecPaths", "NoExecPaths", "TemporaryFileSystem"),
    *("BindPaths", "BindReadOnlyPaths", "RootDirectory", "RootImage", "MountImages", "ExtensionImages"),
    *(
        "ExtensionDirectories",
        "DynamicUser",
        "LogNamespace",
        "NetworkNamespacePath",
        "IPCNamespacePath",
        "JoinsNamespaceOf",
    ),
)


def options(text: str) -> dict[str, str]:
    return dict(re.findall(r"^([A-Za-z]+)=(.*)$", text, re.MULTILINE))


def test_systemd_accepts_it(tmp_path: Path) -> None:
    # verify wants the command to exist, and an instance of the template.
    (tmp_path / "mountd@data.service").write_text(UNIT.read_text().replace("/usr/local/bin/mountd", "/bin/true"))
    command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / "mountd@data.service")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = [line for line in done.stderr.splitlines() if "mountd@data" in line]
    assert (done.returncode, said) == (0, []), done.stderr


def test_verify_would_notice(tmp_path: Path) -> None:
    (tmp_path / "mountd@data.service").write_text(UNIT.read_text().replace("Type=notify", "Type=notifi"))
    command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / "mountd@data.service")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "mountd@data" in done.stderr


def test_nothing_makes_a_mount_namespace() -> None:
    given = options(UNIT.read_text())
    assert given["Type"] == "notify"
    assert given.keys().isdisjoint(NAMESPACES)


def test_the_check_for_namespaces_can_fail() -> None:
    given = options(UNIT.read_text().replace("UMask=", "PrivateTmp=true\nUMask="))
    assert not given.keys().isdisjoint(NAMESPACES)


def test_it_stays_in_the_foreground_and_takes_what_and_where_from_the_file() -> None:
    given = options(UNIT.read_text())
    assert given["ExecStart"].endswith("mount --foreground ${SOURCE} ${MOUNTPOINT}")
    assert given["EnvironmentFile"] == "/etc/moorage/%i.env"
