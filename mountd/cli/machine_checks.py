"""What a doctor looks at on this machine: kernel, FUSE, cache disk, clock, limits, dead mounts. Nothing is changed."""

import errno
import os
import platform
import re
import shutil
import stat
import tempfile
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from mountd import client, config, records
from mountd.cache.folder import prepare_folder
from mountd.cgroup import cgroup_limit
from mountd.cli.findings import Check, Finding, fail, ok, warn
from mountd.errors import MountdError
from mountd.fuse import mounting
from mountd.units import format_size

try:
    import resource
except ImportError:  # not on this platform, which has no mounts either
    resource = None  # type: ignore[assignment]  # mypy checks for Linux

_LIMIT_S = 8.0
_OLDEST, _RESENDS = (5, 4), (6, 9)
_FUSE_CONF = Path("/etc/fuse.conf")
_REMOTE: Final = re.compile(r"nfs\d?|cifs|smb\d?|smbfs|9p|virtiofs|ceph|lustre|gpfs|afs|beegfs\w*|gluster\w*|fuse\..*")
_NO_LIMIT_BYTES = 1 << 60  # how the first version of control groups says so
_LEAST_CACHE_BYTES = 1 << 30
_LEAST_FREE_FILES = 10_000  # segments of 64 MiB: enough for any cache
_DESCRIPTORS = 1024  # connections, segments and what the interpreter has open, with room to spare
_THREADS = 128  # a worker's, and some
_BEFORE_THIS_WAS_WRITTEN = datetime(2026, 1, 1, tzinfo=UTC)


def machine_checks() -> list[Check]:
    """All of them, in the order in which they are told."""
    looks = (
        ("kernel", kernel),
        ("fuse", fuse),
        ("fusermount3", fusermount),
        ("allow_other", other_users),
        ("cache", cache),
        ("memory", memory),
        ("clock", clock),
        ("descriptors", descriptors),
        ("threads", threads),
        ("mounts", dead_mounts),
    )
    return [Check(name, _LIMIT_S, look) for name, look in looks]


def kernel() -> Iterator[Finding]:
    """Its version, and what of FUSE depends on that."""
    release = platform.release()
    text = f"{platform.system()} {release}, Python {platform.python_version()}"
    numbers = re.match(r"(\d+)\.(\d+)", release)
    version = (int(numbers[1]), int(numbers[2])) if numbers else _OLDEST
    if platform.system() == "Linux" and version < _OLDEST:
        yield fail("kernel", f"{text}: a kernel from 5.4 on is needed; download, which needs none")
    elif version < _RESENDS:
        yield ok("kernel", f"{text}; no FUSE_NOTIFY_RESEND (from 6.9 on), Moorage's own table of requests does without")
    else:
        yield ok("kernel", f"{text}; with FUSE_NOTIFY_RESEND")


def fuse() -> Iterator[Finding]:
    """Whether this user can mount, and whether the device can really be opened: a container may forbid it all the same."""
    if reason := client.why_no_fuse():
        yield fail("fuse", reason)
        return
    try:
        os.close(os.open(mounting.DEVICE, os.O_RDWR))
    except OSError as error:
        remedy = "load the module: modprobe fuse" if error.errno == errno.ENODEV else "start with --device /dev/fuse"
        yield fail("fuse", f"{mounting.DEVICE}: {error.strerror} when it is opened; {remedy}")
    else:
        yield ok("fuse", "FUSE: this user can mount")


def fusermount() -> Iterator[Finding]:
    """The helper that mounts for all but root; that it is missing is `fuse`'s to say."""
    path = shutil.which("fusermount3")
    if _is_root():
        yield ok("fusermount3", f"fusermount3: {path or 'not here'}; root mounts without it")
    elif path is not None:
        told = Path(path).stat()
        if told.st_uid == 0 and told.st_mode & stat.S_ISUID:
            yield ok("fusermount3", f"fusermount3: {path}, set-user-id root")
        else:
            yield fail("fusermount3", f"fusermount3: {path} is not set-user-id root: chmod u+s {path}, as root")


def other_users() -> Iterator[Finding]:
    """Whether --allow-other will work."""
    if _is_root() or client.why_no_fuse():
        return  # root needs no leave; or nobody can be let in
    try:
        lines = _FUSE_CONF.read_text().splitlines()
    except OSError:
        lines = []
    if "user_allow_other" in (line.strip() for line in lines):
        yield ok("allow_other", f"--allow-other: allowed by {_FUSE_CONF}")
    else:
        yield warn("allow_other", f"--allow-other will fail: put a line user_allow_other into {_FUSE_CONF} (as root)")


def cache() -> Iterator[Finding]:
    """The cache's folder, and the disk that it is on."""
    try:
        loaded = config.load().settings
        if loaded.cache_dir.exists():
            prepare_folder(loaded.cache_dir)
    except MountdError as error:
        yield fail("cache", str(error))
        return
    folder = loaded.cache_dir
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free, kind = shutil.disk_usage(existing).free, _file_system(existing)
    text = f"cache: {folder} ({kind}), up to {format_size(loaded.cache_size_bytes)}, {format_size(free)} free"
    remedies = list(_disk_remedies(existing, loaded.cache_size_bytes, kind))
    yield warn("cache", f"{text}; {'; '.join(remedies)}") if remedies else ok("cache", text)


def _disk_remedies(existing: Path, size_bytes: int, kind: str) -> Iterator[str]:
    if why := _why_not_written(existing):
        yield f"may not be written ({why}): set --cache-dir"
    if _REMOTE.fullmatch(kind):
        yield "a network's file system is slower than the store it stands for: set --cache-dir to a local disk"
    if kind in {"tmpfs", "ramfs"}:
        yield "this is memory, and comes on top of --memory: set --cache-dir to a disk, or a small --cache-size"
    if size_bytes < _LEAST_CACHE_BYTES:
        yield "that holds little: free some room, or set --cache-dir to a larger disk"
    told = os.statvfs(existing) if hasattr(os, "statvfs") else None
    if told is not None and told.f_files and told.f_favail < _LEAST_FREE_FILES:
        yield f"room for {told.f_favail} more files only: remove some"


def _why_not_written(folder: Path) -> str | None:
    try:
        with tempfile.TemporaryFile(dir=folder) as stream:  # never has a name where the file system allows that
            stream.write(b"\0" * 4096)
            stream.flush()
    except OSError as error:
        return error.strerror
    return None


def _file_system(path: Path) -> str:
    """The type of the file system that `path` is on, by the mount table."""
    real = Path(os.path.realpath(path))
    above = [each for each in mounting.mounts() if real.is_relative_to(each.mountpoint)]
    return max(above, key=lambda each: len(each.mountpoint.parts)).fs_type if above else "unknown"


def memory() -> Iterator[Finding]:
    """The budget against the container's limit."""
    budget, limit = config.load().settings.memory_bytes, cgroup_limit()
    text = f"memory: {format_size(budget)} for data on its way"
    if limit is None or limit >= _NO_LIMIT_BYTES:
        yield ok("memory", f"{text}; no limit of a container")
    elif budget > limit // 2:
        yield warn(
            "memory", f"{text}, and the container may have {format_size(limit)}: set --memory to a quarter of it"
        )
    else:
        yield ok("memory", f"{text}; the container may have {format_size(limit)}")


def clock() -> Iterator[Finding]:
    """Whether the time is one that there can be; a store's clock is compared with it when a SOURCE is given."""
    now = datetime.now(UTC)
    if now < _BEFORE_THIS_WAS_WRITTEN:
        yield warn("clock", f"clock: {now:%Y-%m-%d %H:%M} UTC is in the past: signed requests will be refused; set it")
    else:
        yield ok("clock", f"clock: {now:%Y-%m-%d %H:%M:%S} UTC")


def descriptors() -> Iterator[Finding]:
    """How many files a process may have open."""
    if resource is not None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft == resource.RLIM_INFINITY or soft >= _DESCRIPTORS:
            yield ok("descriptors", f"descriptors: {soft if soft >= 0 else 'any number of'} a process")
        else:
            at_most = f" (root only: the hard limit is {hard})" if hard < _DESCRIPTORS else ""
            text = f"descriptors: {soft} a process, {_DESCRIPTORS} are wanted: ulimit -n {_DESCRIPTORS}{at_most}"
            yield warn("descriptors", text)


def threads() -> Iterator[Finding]:
    """Whether a worker's threads can be had: they are made, and ended; no limit says it as surely (ulimit -u, pids.max)."""
    done, made = threading.Event(), 0
    try:
        for _ in range(_THREADS):
            threading.Thread(target=done.wait, daemon=True).start()
            made += 1
    except RuntimeError:
        yield fail("threads", f"threads: {made} can be had, a mount wants {_THREADS}: raise ulimit -u or pids.max")
    else:
        yield ok("threads", f"threads: {_THREADS} can be had")
    finally:
        done.set()


def dead_mounts() -> Iterator[Finding]:
    """Mounts whose worker is gone."""
    every = records.every()
    dead = [record for record in every if not record.alive]
    for record in dead:
        yield warn("mounts", f"{record.mountpoint}: a dead mount; clean it up: mountd unmount {record.mountpoint}")
    if every and not dead:
        yield ok("mounts", f"mounts: {len(every)}, all with a living worker")


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0
