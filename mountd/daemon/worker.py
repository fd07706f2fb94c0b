"""The composition of one worker: the layers, from the stores up to the driver, built here and nowhere else."""

import json
import os
import resource
import threading
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mountd import config
from mountd.cache.base import ExtentCache
from mountd.cache.files import FileCache
from mountd.cache.memory import MemoryCache
from mountd.cache.tiers import TieredCache
from mountd.config import Settings
from mountd.contract import Order
from mountd.dataset.manifest import Manifest
from mountd.errors import BadInputError
from mountd.fuse import kernel, mounting
from mountd.fuse.kernel import Driver
from mountd.fuse.operations import Operations
from mountd.fuse.protocol import Limits, Owner
from mountd.metrics import Metrics
from mountd.reading.fetcher import Fetcher
from mountd.reading.reader import EXTENT_BYTES, Reader
from mountd.stores import registry
from mountd.vfs import FileSystem

if TYPE_CHECKING:
    from mountd.fuse import libfuse

_AHEAD_THREADS = 16
_QUEUE_BYTES = 32 << 20
_LEAST_MEMORY_BYTES = 16 << 20
_STATUS_ATTRIBUTE_BYTES = 2048


class Worker:
    """Everything one mount is made of, from `open` to `close`."""

    def __init__(self, order: Order, parts: ExitStack) -> None:
        self.order, self._started = order, time.monotonic()
        self.settings = config.load(order.settings).settings
        self.mountpoint = mounting.check(order.mountpoint)
        _refuse_inside(self.mountpoint, order.manifest, self.settings.cache_dir)
        self.manifest = parts.enter_context(Manifest.open(order.manifest))
        self.metrics = Metrics()
        deadline_s = self.settings.read_deadline_s
        count_retry = partial(self.metrics.add, "fetch_retries")
        stores = {
            url: registry.open_reader(url, order.credentials.get(url), deadline_s=deadline_s, on_retry=count_retry)
            for url in self.manifest.sources
        }
        in_place = self.settings.cache == "auto"
        self.cache = _open_cache(
            self.settings, on_disk=not (in_place and all(each.in_place for each in stores.values()))
        )
        parts.callback(self.cache.close)
        fetcher = Fetcher(stores, self.cache, self.metrics, ahead_threads=_AHEAD_THREADS, deadline_s=deadline_s)
        parts.enter_context(fetcher)
        reader = Reader(self.manifest, stores, fetcher, self.metrics, in_place=in_place)
        self.files = FileSystem(self.manifest, reader)
        self.ended = threading.Event()
        self.device_number = ""  # MAJ:MIN, once mounted

    def mount(self) -> "Driver | libfuse.Driver":
        """Mount, agree with the kernel and begin to serve."""
        settings = self.settings
        name = self.order.source or str(self.order.manifest)
        device = mounting.mount(self.mountpoint, name, allow_other=settings.allow_other, driver=settings.driver)
        entry = mounting.find(self.mountpoint)
        self.device_number = entry.device if entry is not None else ""
        owner = Owner(os.getuid(), os.getgid())
        driver = self._by_libfuse(device, owner) if settings.driver == "pyfuse3" else self._native(device, owner)
        driver.start()
        mounting.set_read_ahead(self.device_number, settings.read_ahead_bytes)
        return driver

    def _native(self, device: int, owner: Owner) -> Driver:
        agreed = kernel.negotiate(device, Limits())
        return Driver(device, Operations(self.files, owner, agreed, self.status_attribute), self.ended.set)

    def _by_libfuse(self, device: int, owner: Owner) -> "libfuse.Driver":
        from mountd.fuse import libfuse  # only here: it is an extra that a plain installation lacks

        mounting.set_background(self.device_number, Limits())
        return libfuse.Driver(device, self.files, owner, self.status_attribute, self.ended.set)

    def status(self) -> dict[str, Any]:
        """What `mountd status --json` prints. None is a thing that this version does not measure."""
        counters = self.metrics.snapshot()
        cache = self.cache.status()
        return {
            "mountpoint": str(self.mountpoint),
            "source": self.order.source,
            "driver": self.settings.driver,
            "supervisor_pid": None,
            "worker_pid": os.getpid(),
            "restarts": 0,
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
                "corrupt": cache.corrupt,
            },
            "memory": {"used_bytes": _resident_bytes(), "limit_bytes": self.settings.memory_bytes},
            "prefetch": {"used_bytes": counters["prefetch"]["bytes"], "wasted_bytes": None},
            "plan": {"position": 0, "length": 0},
        }

    def status_attribute(self) -> bytes:
        """`status` as an extended attribute: always of one length, so that asking for the size first works."""
        text = json.dumps(self.status()).encode()
        if len(text) > _STATUS_ATTRIBUTE_BYTES:  # a source of a thousand characters: the counters matter more
            text = json.dumps({**self.status(), "source": "", "mountpoint": ""}).encode()
        return text.ljust(_STATUS_ATTRIBUTE_BYTES)


def _open_cache(settings: Settings, *, on_disk: bool) -> ExtentCache:
    """The tiers of the cache. One memory budget: what is in flight and what waits for the disk come off it first."""
    in_flight_bytes = (kernel.WAITING_THREADS + _AHEAD_THREADS) * EXTENT_BYTES
    spare_bytes = settings.memory_bytes - in_flight_bytes - _QUEUE_BYTES
    memory = MemoryCache(max(_LEAST_MEMORY_BYTES, spare_bytes))
    if settings.cache == "off" or not on_disk:
        return memory
    return TieredCache(memory, FileCache(settings.cache_dir, settings.cache_size_bytes, _QUEUE_BYTES))


def _refuse_inside(mountpoint: Path, manifest: Path, cache_dir: Path) -> None:
    """A mount that needs a file which lies below itself would wait for itself for ever."""
    for what, path in (("the manifest", manifest), ("the cache folder", cache_dir)):
        if mounting.resolve(path).is_relative_to(mountpoint):
            raise BadInputError(f"{path}: {what} lies below the mount point {mountpoint}; keep it elsewhere")


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
