"""Making and ending mounts: mount(2) for root, `fusermount3` for everybody else.

Root mounts by itself, so that an input mount is a plain `pip install`; for others `fusermount3` (package fuse3), which is
set-user-id, mounts and passes the device over a socket. A mount is noatime: otherwise every read would drop the kernel's
attributes of the file. That of an input is read-only, too.

What is mounted where is read from /proc/self/mountinfo and never by touching the mount, which may hang or be dead.
"""

import array
import ctypes
import errno
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mountd.errors import FuseUnavailableError, MountPointError
from mountd.fuse.protocol import MAX_READ_BYTES, Limits, Owner

DEVICE = Path("/dev/fuse")
FS_TYPE = "fuse.moorage"
_MOUNTINFO = Path("/proc/self/mountinfo")
_CONNECTIONS = Path("/sys/fs/fuse/connections")
_MTAB = Path("/etc/mtab")
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOATIME = 1, 2, 4, 1024
_MNT_DETACH = 2
_HELPER_TIMEOUT_S = 20
_ASK_S = 2.0
_SYMLINKS = 40  # one after the other; the kernel follows no more either


@dataclass(frozen=True, slots=True)
class MountEntry:
    """One line of the mount table; `device` is MAJ:MIN as /sys/class/bdi and /sys/fs/fuse/connections name it."""

    mountpoint: Path
    device: str
    fs_type: str
    source: str


def why_not(driver: str = "native") -> str | None:
    """Why this process cannot mount, in one line with the remedy; None if it can."""
    if sys.platform != "linux":
        return f"FUSE mounts need Linux, and this is {sys.platform}"
    if not DEVICE.exists():
        return "/dev/fuse is missing: load the module (modprobe fuse), or start the container with --device /dev/fuse"
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return f"/dev/fuse may not be opened by this user: chmod 666 {DEVICE}, or run as root"
    reason = _why_not_root() if os.geteuid() == 0 else _why_no_helper()
    return _why_no_pyfuse3() if reason is None and driver == "pyfuse3" else reason


def mounts() -> list[MountEntry]:
    """Every mount of this machine's table, in the order they were made."""
    try:
        table = os.fsdecode(_MOUNTINFO.read_bytes())
    except OSError:
        return []
    # Only a newline ends a line: the kernel escapes it, but no other of the many characters that `splitlines` splits at.
    return [_parse(line) for line in table.split("\n") if line]


def find(mountpoint: Path) -> MountEntry | None:
    """The mount that is on top at `mountpoint`, by the table."""
    wanted = resolve(mountpoint)
    return next((entry for entry in reversed(mounts()) if entry.mountpoint == wanted), None)


def end(mountpoint: Path, device: str, *, lazy: bool) -> None:
    """As `unmount`, but of the mount with this MAJ:MIN and no other; one that is gone already is no error.

    Raises:
        MountPointError: it is busy (not with `lazy`), another mount covers it, or the kernel refused.
    """
    stack = [entry for entry in mounts() if entry.mountpoint == mountpoint]
    if not any(entry.device == device for entry in stack):
        return
    if stack[-1].device != device:
        raise MountPointError(f"{mountpoint}: {stack[-1].source} is mounted over it; unmount that first")
    unmount(mountpoint, lazy=lazy)


def resolve(mountpoint: Path) -> Path:
    """An absolute path without symlinks; the mount itself is not asked for anything, because it may be dead or hang.

    `readlink` asks nothing of what is no symlink; `stat`, and so `Path.resolve`, would.
    """
    path = _with_real_parent(mountpoint)
    for _ in range(_SYMLINKS):
        try:
            path = _with_real_parent(path.parent / path.readlink())
        except OSError:  # no symlink: the usual end
            break
    return path


def _with_real_parent(path: Path) -> Path:
    if path.name in {"", ".."}:  # the name of a folder above, not of a mount
        return Path(os.path.realpath(path))
    return Path(os.path.realpath(path.parent)) / path.name


def refuse_mounted(mountpoint: Path) -> None:
    """See that nothing is mounted on the absolute `mountpoint` but, perhaps, a dead mount of this user's own.

    Raises:
        MountPointError: a living mount is there, or somebody else's.
    """
    entry = find(mountpoint)
    if entry is None or not entry.fs_type.startswith("fuse"):
        return
    if not is_dead(mountpoint):
        raise MountPointError(
            f"{mountpoint}: {entry.source} is mounted there already; end it first: mountd unmount {mountpoint}"
        )
    if entry.fs_type != FS_TYPE:
        raise MountPointError(f"{mountpoint}: a dead mount of another program lies there; end it first: umount")


def clear_dead(mountpoint: Path) -> bool:
    """Take a dead mount of ours off; only for whoever has the claim. True if there was one.

    Raises:
        MountPointError: it cannot be taken off.
    """
    entry = find(mountpoint)
    if entry is None or entry.fs_type != FS_TYPE or not is_dead(mountpoint):
        return False
    unmount(mountpoint, lazy=True)
    return True


def check(mountpoint: Path) -> Path:
    """Return the absolute `mountpoint`, made if it is missing; it is an empty folder that nothing of FUSE is mounted on.

    Raises:
        MountPointError: it is a file, not empty, mounted already, a dead mount, or cannot be made.
    """
    path = resolve(mountpoint)
    entry = find(path)
    if entry is not None and entry.fs_type.startswith("fuse"):
        raise MountPointError(f"{path}: {entry.source} is mounted there already; end it first: mountd unmount {path}")
    try:
        path.mkdir(parents=True, exist_ok=True)
        if any(path.iterdir()):
            raise MountPointError(f"{path}: not empty, and a mount would hide what is in it; choose an empty folder")
    except FileExistsError:
        raise MountPointError(f"{path}: a file, not a folder; choose an empty folder") from None
    except OSError as error:
        raise MountPointError(f"{path}: {error.strerror}; choose an empty folder that you may use") from error
    return path


def is_dead(mountpoint: Path) -> bool:
    """True if the process that served `mountpoint` is gone; a mount that does not answer at all is not dead."""
    told: list[int | None] = []

    def ask() -> None:
        try:
            os.statvfs(mountpoint)  # always a request; `stat` is answered by the kernel, which keeps attributes
        except OSError as error:
            told.append(error.errno)

    asking = threading.Thread(target=ask, daemon=True)  # a mount that hangs would hold whoever asks it
    asking.start()
    asking.join(_ASK_S)
    return bool(told) and told[0] in {errno.ENOTCONN, errno.ECONNABORTED}


def mount(mountpoint: Path, source: str, *, allow_other: bool, writable: bool = False) -> int:
    """Mount and return the open device; the kernel's INIT waits on it. `writable`: the mount of an output.

    Raises:
        FuseUnavailableError: this user or machine cannot mount.
        MountPointError: the kernel refused this mount point.
    """
    reason = why_not()
    if reason is not None:
        raise FuseUnavailableError(
            f"{mountpoint}: cannot mount: {reason}; or use `mountd download`, which needs no FUSE"
        )
    return (
        _mount_as_root(mountpoint, source, allow_other, writable)
        if os.geteuid() == 0
        else _mount_by_helper(mountpoint, source, allow_other, writable)
    )


def unmount(mountpoint: Path, *, lazy: bool) -> None:
    """End the mount; `lazy` detaches it now, and readers keep what they have open.

    Raises:
        MountPointError: it is busy (not with `lazy`), or the kernel refused.
    """
    if os.geteuid() == 0:
        result = _libc().umount2(os.fsencode(mountpoint), _MNT_DETACH if lazy else 0)
        if result:
            code = ctypes.get_errno()
            if code == errno.EINVAL:
                return  # nothing is mounted there any more
            raise MountPointError(f"{mountpoint}: {os.strerror(code)}{_busy_hint(code)}")
        return
    command = ["fusermount3", "-u", *(["-z"] if lazy else []), "--", str(mountpoint)]
    done = _run(command)
    if done.returncode and find(mountpoint) is not None:
        raise MountPointError(f"{mountpoint}: {done.stderr.strip() or 'fusermount3 failed'}")


def set_read_ahead(device: str, size_bytes: int) -> bool:
    """Set how far the kernel reads ahead on the mount with this MAJ:MIN; only root may. True if it is so now."""
    knob = Path(f"/sys/class/bdi/{device}/read_ahead_kb")
    try:
        knob.write_text(str(size_bytes // 1024))
    except OSError:
        return False
    return True


def set_background(device: str, limits: Limits) -> bool:
    """Set how many reads the kernel may have in flight on the mount with this MAJ:MIN. True if it is so now.

    For a driver that cannot say it when it agrees with the kernel; works where fusectl is mounted (systemd does that).
    """
    folder = _CONNECTIONS / device.partition(":")[2]
    try:
        (folder / "max_background").write_text(str(limits.max_background))
        (folder / "congestion_threshold").write_text(str(limits.congestion_threshold))
    except OSError:
        return False
    return True


def _mount_as_root(mountpoint: Path, source: str, allow_other: bool, writable: bool) -> int:  # noqa: FBT001  # private
    device = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    owner = Owner(os.getuid(), os.getgid())
    options = [f"fd={device}", "rootmode=40000", f"user_id={owner.uid}", f"group_id={owner.gid}", "default_permissions"]
    options += [f"max_read={MAX_READ_BYTES}", *(["allow_other"] if allow_other else [])]
    flags = _MS_NOSUID | _MS_NODEV | _MS_NOATIME | (0 if writable else _MS_RDONLY)
    arguments = (os.fsencode(source), os.fsencode(mountpoint), FS_TYPE.encode(), flags, ",".join(options).encode())
    if _libc().mount(*arguments):
        code = ctypes.get_errno()
        os.close(device)
        if code in {errno.EPERM, errno.EACCES, errno.ENODEV}:
            raise FuseUnavailableError(f"{mountpoint}: mount(2): {os.strerror(code)}; `mountd doctor` tells what lacks")
        raise MountPointError(f"{mountpoint}: mount(2): {os.strerror(code)}; choose another folder")
    return device


def _mount_by_helper(mountpoint: Path, source: str, allow_other: bool, writable: bool) -> int:  # noqa: FBT001  # private
    name = source.replace("\\", "\\\\").replace(",", "\\,")
    access = "rw" if writable else "ro"
    options = [f"fsname={name}", "subtype=moorage", access, "nosuid", "nodev", "noatime", "default_permissions"]
    options += [f"max_read={MAX_READ_BYTES}", *(["allow_other"] if allow_other else [])]
    ours, theirs = socket.socketpair()
    with ours, theirs:
        environment = {**os.environ, "_FUSE_COMMFD": str(theirs.fileno())}
        command = ["fusermount3", "-o", ",".join(options), "--", str(mountpoint)]
        done = _run(command, environment, (theirs.fileno(),))
        theirs.close()
        device = None if done.returncode else _receive_descriptor(ours)
    if device is None:
        said = done.stderr.strip().splitlines()
        raise FuseUnavailableError(f"{mountpoint}: {said[-1] if said else 'fusermount3 passed no device'}")
    os.set_inheritable(device, False)
    return device


def _receive_descriptor(ours: socket.socket) -> int | None:
    _, ancillary, _, _ = ours.recvmsg(1, socket.CMSG_SPACE(array.array("i").itemsize))
    descriptors = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: descriptors.itemsize])
    return descriptors[0] if descriptors else None


def _run(
    command: list[str], environment: Mapping[str, str] | None = None, pass_fds: tuple[int, ...] = ()
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_HELPER_TIMEOUT_S,
            check=False,
            cwd="/",
            env=environment,
            pass_fds=pass_fds,
        )
    except FileNotFoundError:
        raise FuseUnavailableError(f"{command[0]} is missing: apt-get install fuse3") from None
    except subprocess.TimeoutExpired:
        raise MountPointError(
            f"{command[0]} did not return within {_HELPER_TIMEOUT_S} s; is the mount hanging?"
        ) from None


def _busy_hint(code: int) -> str:
    return "; something has files open there (fuser -m tells who)" if code == errno.EBUSY else ""


def _parse(line: str) -> MountEntry:
    left, _, right = line.partition(" - ")
    fields, (fs_type, source, *_) = left.split(" "), right.split(" ")
    return MountEntry(Path(_unescape(fields[4])), fields[2], fs_type, _unescape(source))


def _unescape(field: str) -> str:
    """The kernel writes blanks, tabs, newlines, backslashes, and in sources `#`, as three octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def _why_not_root() -> str | None:
    if not _has_sys_admin():
        return "root lacks CAP_SYS_ADMIN here: start the container with --cap-add SYS_ADMIN"
    return None


def _why_no_helper() -> str | None:
    if shutil.which("fusermount3") is None:
        return "fusermount3 is missing, and only root mounts without it: apt-get install fuse3"
    if not _MTAB.exists():
        return (
            f"{_MTAB} is missing, and fusermount3 unmounts nothing without it: as root, ln -s /proc/self/mounts {_MTAB}"
        )
    return None if _has_sys_admin() else _why_helper_gains_nothing()


def _why_helper_gains_nothing() -> str | None:
    """Why the set-user-id `fusermount3` does not get root's right to mount; None if it does."""
    if not _has_sys_admin("CapBnd"):
        return "no process here may have CAP_SYS_ADMIN: start the container with --cap-add SYS_ADMIN"
    if _status("NoNewPrivs") == "1":
        return (
            "this process may gain no right (no_new_privs), and fusermount3 must: start the container without "
            "no-new-privileges, the service without NoNewPrivileges= and what implies it"
        )
    return None


def _why_no_pyfuse3() -> str | None:
    try:
        from mountd.fuse import libfuse  # noqa: F401  # with all that it needs, libfuse too
    except ImportError as error:
        return (
            f"the driver pyfuse3 cannot be loaded ({error}): apt-get install gcc pkg-config libfuse3-dev python3-dev, "
            "then pip install 'moorage[fuse]'"
        )
    return None


def _has_sys_admin(capabilities: str = "CapEff") -> bool:
    return bool(int(_status(capabilities), 16) >> 21 & 1)


def _status(name: str) -> str:
    """What the kernel tells of this process under `name`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(value.strip() for key, _, value in (line.partition(":") for line in lines) if key == name)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
