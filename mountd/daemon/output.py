"""The composition of the worker of an output: a destination, a spool, and the driver over it.

The end of an output is a commit: the mount goes first, so that nothing more is written, then all that was closed is brought
to the store. Who asked for it (`commit`) is told before the worker leaves; a mount that ends in any other orderly way is
committed too, unless it belongs to a job, which decides by its own success. What did not come to the store stays in the
spool, and the next mount of the same URL goes on with it.

The lock protects `_is_off` and `_commits`; under it nothing waits.
"""

import logging
import os
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NoReturn

from mountd import config
from mountd.contract.serving import Device, Work
from mountd.errors import BadInputError, DefectError, FuseUnavailableError, MountdError, MountPointError
from mountd.fuse import mounting
from mountd.fuse.protocol import Owner
from mountd.fuse.table import InFlightTable
from mountd.uploading.destination import Destination
from mountd.uploading.spool import Spool, open_spool

if TYPE_CHECKING:
    from array import array

    from mountd.contract.starting import Order
    from mountd.fuse.libfuse_output import Driver
    from mountd.stores.credentials import Credential

_LOG = logging.getLogger(__name__)
_POLL_S = 0.1
_SHOWN = 3
_ANSWER_S = 20.0  # less than a starter's patience: it must hear why there is no mount


class OutputWorker:
    """Everything the mount of one output is made of."""

    plan_position = 0  # an output has no plan

    def __init__(self, work: Work, parts: ExitStack) -> None:
        order = work.order
        self._work, self._started = work, time.monotonic() - work.age_s
        self.settings = config.load(order.settings).settings
        self.mountpoint = order.mountpoint
        if reason := mounting.why_not("pyfuse3"):
            raise FuseUnavailableError(f"{self.mountpoint}: cannot mount: {reason}")
        self._run_id = order.mark.partition("=")[2]
        self.table = InFlightTable(work.table)
        self.ended = threading.Event()
        self._lock = threading.Lock()
        self._is_off, self._commits = False, 0  # requests to commit that have no answer yet
        self._driver: Driver | None = None
        self._number = ""
        self.spool = self._open_spool(order)
        parts.callback(self.spool.close)
        if not order.lifeline:
            parts.callback(self._commit_at_the_end)

    def _open_spool(self, order: "Order") -> Spool:
        settings, output = self.settings, order.output
        if output is None:
            raise DefectError(f"{self.mountpoint}: the order is not for an output")
        folder = output.spool
        if mounting.resolve(folder).is_relative_to(self.mountpoint):
            raise BadInputError(f"{folder}: the spool lies below the mount point {self.mountpoint}; see --spool-dir")
        credential = order.credentials.get(output.url)
        if not self._work.restarts:  # later, a store that is away for a moment must not end the mount
            Destination.open(output.url, output.prefix, credential, deadline_s=_ANSWER_S).controls("")
        destination = Destination.open(output.url, output.prefix, credential)
        try:
            return open_spool(
                destination,
                folder,
                settle_s=settings.settle_s,
                limit_bytes=settings.spool_size_bytes,
                remote=settings.fsync == "remote",
            )
        except OSError as error:
            why = f"the spool {folder} cannot be used: {error.strerror}; choose another --spool-dir"
            raise BadInputError(f"{self.mountpoint}: {why}") from None

    def serve(self, device: Device) -> "Driver":
        """Answer the kernel from now on."""
        from mountd.fuse.libfuse_output import Driver

        self._number = device.number
        self._driver = Driver(device.descriptor, self.spool, Owner(os.getuid(), os.getgid()), self._on_off)
        self._driver.start()
        return self._driver

    def _on_off(self) -> None:
        """The kernel has ended the mount."""
        with self._lock:
            self._is_off = True
            if self._commits:
                return
        self.ended.set()

    def commit(self, wait_s: float) -> dict[str, Any]:
        """Take the mount off, waiting so long until nobody uses it, and bring all of it to the store; what is there.

        Raises:
            MountPointError: it is in use, and stays mounted.
            MountdError: not all of it is in the store; the rest stays in the spool.
        """
        with self._lock:
            self._commits += 1
            is_second = self._commits > 1
        if is_second:
            raise MountPointError(f"{self.mountpoint}: is being committed already; wait for the end of that")
        self._take_off(time.monotonic() + wait_s)
        try:
            return self._committed()
        except MountdError as error:
            rest = "the rest waits in the spool; mount it again to go on"
            raise type(error)(f"{self.mountpoint}: {error}; {rest}") from None
        except OSError as error:
            raise MountPointError(
                f"{self.mountpoint}: the spool's disk: {error.strerror}; what it holds stays"
            ) from error

    def leave(self) -> None:
        """The outcome of a commit has been told: end if the mount has ended."""
        with self._lock:
            self._commits -= 1
            is_off = self._is_off and not self._commits
        if is_off:
            self.ended.set()

    def _take_off(self, end_s: float) -> None:
        while not self._is_off:
            try:
                mounting.end(self.mountpoint, self._number, lazy=False)
            except MountPointError as error:
                if time.monotonic() >= end_s:
                    names = ", ".join(self.spool.open_paths()[:_SHOWN]) or "a folder of it"
                    raise MountPointError(f"{self.mountpoint}: in use ({names}), and stays mounted: {error}") from None
            else:
                return
            time.sleep(_POLL_S)

    def _committed(self) -> dict[str, Any]:
        done = self.spool.commit(self._run_id)
        return {"files": done.files, "bytes": done.size_bytes, "etags": dict(done.etags)}

    def _commit_at_the_end(self) -> None:
        """The mount has ended without a `commit`: do it all the same."""
        with self._lock:
            if self._commits:
                return
        try:
            self._committed()
        except (MountdError, OSError) as error:
            _LOG.error("%s: not all of it is in the store: %s", self.mountpoint, error)

    def status(self) -> dict[str, Any]:
        """What `mountd status --json` prints."""
        told = self.spool.progress().told()
        return {
            "mountpoint": str(self.mountpoint),
            "source": self._work.order.source,
            "driver": "pyfuse3",
            "supervisor_pid": self._work.supervisor_pid,
            "worker_pid": os.getpid(),
            "restarts": self._work.restarts,
            "uptime_s": round(time.monotonic() - self._started, 3),
            "output": {"open_files": self._driver.open_files if self._driver else 0, **told},
        }

    def follow(self, _: "array[int]", __: str) -> None:
        """Raise: as `_refuse`."""
        self._refuse("follows no plan")

    def warming(self, _: list[str]) -> NoReturn:
        """Raise: as `_refuse`."""
        self._refuse("has nothing to warm")

    def renew(self, _: str, __: "Credential") -> NoReturn:
        """Raise: as `_refuse`."""
        self._refuse("takes a new credential when it is mounted again")

    def _refuse(self, what: str) -> NoReturn:
        raise BadInputError(f"{self.mountpoint}: an output {what}")
