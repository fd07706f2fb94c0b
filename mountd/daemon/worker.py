"""The composition of one worker: what reading is composed of, and above it the driver, built here and nowhere else."""

import json
import os
import threading
import time
from array import array
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mountd import config
from mountd.composing import Common, Reading
from mountd.contract.serving import Device, Work
from mountd.daemon import watching
from mountd.dataset.extents import FileKey
from mountd.dataset.manifest import Entry, Manifest
from mountd.errors import BadInputError, FuseUnavailableError, NotFoundError
from mountd.fuse import mounting
from mountd.fuse.kernel import Driver
from mountd.fuse.operations import Operations
from mountd.fuse.protocol import InitFlag, Owner
from mountd.fuse.table import InFlightTable
from mountd.reading.needed import LONGEST
from mountd.reading.warming import Files, Warming
from mountd.stores import registry
from mountd.stores.credentials import Credential
from mountd.units import format_size

if TYPE_CHECKING:
    from mountd.fuse import libfuse

_STATUS_ATTRIBUTE_BYTES = 2048


class Worker:
    """Everything one mount is made of, from `open` to `close`."""

    def __init__(self, work: Work, parts: ExitStack) -> None:
        order = work.order
        self.order, self._work, self._started = order, work, time.monotonic() - work.age_s
        self.settings = config.load(order.settings).settings
        self.mountpoint = order.mountpoint
        if self.settings.driver == "pyfuse3" and (reason := mounting.why_not("pyfuse3")):
            raise FuseUnavailableError(f"{self.mountpoint}: cannot mount: {reason}")
        self.table = InFlightTable(work.table)
        _refuse_inside(self.mountpoint, order.manifest, self.settings.cache_dir)
        self.manifest = parts.enter_context(Manifest.open(order.manifest))
        common = Common(self.settings, parts)
        self.metrics = common.metrics
        reading = Reading.open(self.manifest, order.credentials, common, parts)
        self.cache, self.files, self._providers = reading.cache, reading.files, reading.providers
        self._fetcher, self._prefetcher = reading.fetcher, reading.prefetcher
        self._plan, self._reader = reading.plan, reading.reader
        self.ended = threading.Event()
        self._export(parts)

    def renew(self, source: str, credential: Credential) -> list[str]:
        """Use another credential for `source` ('': every one that takes any); the URLs of those that now use it.

        Raises:
            BadInputError: there is no such source.
            AccessDeniedError: it is for another account.
        """
        sources = [url for url in self._providers if source in {"", url}]
        if not sources:
            known = ", ".join(self._providers) or "none that takes a credential"
            raise BadInputError(f"{self.mountpoint}: no such source; it has {known}")
        for url in sources:
            registry.check_credential(url, credential)
        for url in sources:
            self._providers[url].replace(credential)
        return sources

    def serve(self, device: Device) -> "Driver | libfuse.Driver":
        """Go on where a dead worker left, or begin: from now on the kernel is answered."""
        owner = Owner(os.getuid(), os.getgid())
        self._follow_again()
        driver = self._by_libfuse(device, owner) if self.settings.driver == "pyfuse3" else self._native(device, owner)
        driver.start()
        return driver

    def _native(self, device: Device, owner: Owner) -> Driver:
        operations = Operations(self.files, owner, device.agreed, self.status_attribute)
        resend = bool(device.agreed & InitFlag.HAS_RESEND)
        return Driver(device.descriptor, self.table, operations, self.ended.set, resend=resend)

    def _by_libfuse(self, device: Device, owner: Owner) -> "libfuse.Driver":
        from mountd.fuse import libfuse  # only here: it is an extra that a plain installation lacks

        return libfuse.Driver(device.descriptor, self.files, owner, self.status_attribute, self.ended.set)

    @property
    def plan_position(self) -> int:
        """How far readers are along the plan."""
        return self._plan.status()["position"]

    def _follow_again(self) -> None:
        """Take up the plan that a dead worker was following, from where it was."""
        if self._work.plan is None:
            return
        order = array("I")
        order.frombytes(os.pread(self._work.plan, os.fstat(self._work.plan).st_size, 0))
        position = self.table.plan_position
        self.follow(order, self._work.plan_digest)
        if 0 < position <= len(order):
            self._plan.note(order[position - 1])

    def _export(self, parts: ExitStack) -> None:
        port, file = self.settings.metrics_port, self.settings.metrics_file
        if port is not None or file is not None:
            from mountd.daemon.exporting import exporting  # only here: few mounts are asked for it

            parts.enter_context(exporting(self.mountpoint, port, file, self.status))

    def follow(self, order: "array[int]", digest: str) -> None:
        """Fetch along `order`, inodes of files in the order in which they will be read.

        Raises:
            BadInputError: it was made for another dataset, or is too long.
        """
        if digest != self.manifest.digest:
            raise BadInputError(
                f"{self.mountpoint}: the plan is for another dataset ({digest}); make it from this mount"
            )
        if len(order) > LONGEST:
            raise BadInputError(f"{self.mountpoint}: a plan of {len(order)} entries; the most is {LONGEST}")
        if order and self.manifest.entry(max(order)) is None:
            raise BadInputError(
                f"{self.mountpoint}: the plan names inode {max(order)}, which the dataset does not have"
            )
        self._plan.follow(order, self._to_fetch)

    def warming(self, paths: Sequence[str]) -> tuple[Warming, Files, int]:
        """A run that brings the files at or below `paths` (none: all) to the disk, these files, and their bytes.

        Raises:
            NotFoundError: one of the paths is not in the dataset.
            BadInputError: there is no disk cache, or it is too small for them.
        """
        if self.cache.disk is None:
            why = "is off (--cache)" if self.settings.cache == "off" else "is not used: local folders are read in place"
            raise BadInputError(f"{self.mountpoint}: nothing to warm: the cache {why}")
        size = sum(each.size for each in _below(self.manifest, paths)) if paths else self.manifest.size_bytes
        limit = self.settings.cache_size_bytes
        if size > limit:
            raise BadInputError(
                f"{self.mountpoint}: {format_size(size)} to warm, and the cache may hold {format_size(limit)}; "
                "name fewer paths, or mount with a larger --cache-size"
            )
        return Warming(self._fetcher, self.cache.memory, self.cache.disk), partial(self._files_below, paths), size

    def _files_below(self, paths: Sequence[str]) -> Iterator[FileKey]:
        return (file for each in _below(self.manifest, paths) if (file := self._to_fetch(each.inode)) is not None)

    def _to_fetch(self, inode: int) -> FileKey | None:
        file = self.files.file(inode)
        return None if self._reader.reads_in_place(file) else file

    def commit(self, _: float) -> dict[str, Any]:
        """Raise: nothing is written here.

        Raises:
            BadInputError: always.
        """
        raise BadInputError(f"{self.mountpoint}: an input; only an output is committed")

    def leave(self) -> None:
        """Nothing was committed, so the mount goes on."""

    def status(self) -> dict[str, Any]:
        """What `mountd status --json` prints. None is a thing that this version does not measure."""
        counters = self.metrics.snapshot()
        memory, cache = self.cache.status()
        return {
            "mountpoint": str(self.mountpoint),
            "source": self.order.source,
            "driver": self.settings.driver,
            "supervisor_pid": self._work.supervisor_pid,
            "worker_pid": os.getpid(),
            "restarts": self._work.restarts,
            "files": self.manifest.file_count,
            "bytes": self.manifest.size_bytes,
            "digest": self.manifest.digest,
            "uptime_s": round(time.monotonic() - self._started, 3),
            "reads": counters["reads"],
            "fetch": counters["fetch"],
            "cache": {
                **counters["cache"],
                "bytes": cache.used_bytes,
                "limit_bytes": cache.limit_bytes,
                "corrupt": cache.corrupt + memory.corrupt,
            },
            "memory": {"used_bytes": memory.used_bytes, "limit_bytes": memory.limit_bytes},
            "prefetch": {"used_bytes": memory.ahead_read_bytes, "wasted_bytes": memory.ahead_wasted_bytes},
            "windows": self._prefetcher.status(),
            "plan": self._plan.status(),
            **watching.told(self.metrics.reach(), self._reader.slowest.reads(), self._path),
        }

    def _path(self, inode: int) -> str:
        return self.manifest.path(self.files.entry(inode))

    def status_attribute(self) -> bytes:
        """`status` as an extended attribute: always of one length, so that asking for the size first works."""
        status = {name: value for name, value in self.status().items() if name not in watching.LONG}
        text = json.dumps(status).encode()
        if len(text) > _STATUS_ATTRIBUTE_BYTES:  # a source of a thousand characters: the counters matter more
            text = json.dumps({**status, "source": "", "mountpoint": ""}).encode()
        return text.ljust(_STATUS_ATTRIBUTE_BYTES)


def _below(manifest: Manifest, paths: Sequence[str]) -> Iterator[Entry]:
    tops = {path.strip("/") for path in paths} or {""}
    for top in sorted(tops):
        found = manifest.find(top)
        if found is None:
            raise NotFoundError(f"{top}: not in the dataset")
        if any(other != top and top.startswith(other and other + "/") for other in tops):
            continue  # it comes with the folder that it lies in
        if not found.is_directory:
            yield found
        yield from (entry for _, entry in manifest.walk(top) if not entry.is_directory)


def _refuse_inside(mountpoint: Path, manifest: Path, cache_dir: Path) -> None:
    """A mount that needs a file which lies below itself would wait for itself for ever."""
    for what, path in (("the manifest", manifest), ("the cache folder", cache_dir)):
        if mounting.resolve(path).is_relative_to(mountpoint):
            raise BadInputError(f"{path}: {what} lies below the mount point {mountpoint}; keep it elsewhere")
