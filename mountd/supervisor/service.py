"""A mount and whoever serves it: the device, the in-flight table, and one worker after another.

The device stays open here, so the kernel aborts nothing when a worker dies: requests wait, and the next worker answers them.
A worker is told to serve only when the one before it is dead. An upgrade is the same with a live one: the successor is
started first, and the old worker ends when the successor is ready.

Under pyfuse3 the device is the worker's alone, and libfuse agrees with the kernel once: then a worker's death ends the
mount, and the next worker gets a new one in its place.

Single-threaded: everything here is called by the supervisor's loop.
"""

import json
import logging
import os
import select
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from mountd.contract import starting
from mountd.contract.serving import Device, Message, Work
from mountd.contract.starting import Order
from mountd.errors import DefectError, MountdError, MountPointError
from mountd.fuse import handshake, mounting
from mountd.fuse.protocol import Limits
from mountd.fuse.table import InFlightTable
from mountd.stores.credentials import Credential
from mountd.supervisor import restarting
from mountd.supervisor.bare import BareFolder
from mountd.supervisor.refusing import Refuser
from mountd.supervisor.restarting import HangWatch, OutputPolicy, Policy, RestartPolicy
from mountd.supervisor.workers import WorkerProcess

_LOG = logging.getLogger(__name__)
_MOST_LOOKS = 60  # at a worker that does not serve yet: as many seconds, less the machine's sleep
_DEADLINES = 3  # a request is lost that was taken so many read deadlines ago
Answer = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan that a worker was told of: a memfd, and the digest of the dataset that it is for."""

    descriptor: int
    digest: str


@dataclass(slots=True)
class Upgrade:
    """A successor on its way, by which Python, and who wants to know."""

    worker: WorkerProcess
    executable: str
    answer: Answer


class Service:
    """What is mounted and who serves it.

    `watch(worker)` and `forget(worker)` have the loop call `hear` when a worker says something; `serving` is called each
    time that a worker begins to serve, `ended` once the kernel has ended the mount (by any thread), `failed` when the
    first worker cannot serve.
    """

    def __init__(
        self,
        order: Order,
        table: InFlightTable,
        plan_socket: int,
        executable: str,
        *,
        keep: bool,
        watch: Callable[[WorkerProcess], None],
        forget: Callable[[WorkerProcess], None],
        serving: Callable[[], None],
        ended: Callable[[], None],
        failed: Callable[[MountdError], None],
    ) -> None:
        self.order, self.table, self.executable = order, table, executable
        self._plan_socket, self._keep = plan_socket, keep
        self._watch, self._forget = watch, forget
        self._serving, self._ended, self._failed = serving, ended, failed
        self.device: Device | None = None
        self.worker: WorkerProcess | None = None
        self.upgrading: Upgrade | None = None
        self.plan: Plan | None = None
        self.restarts = 0
        self.began_s = time.monotonic()
        self.is_over = False  # workers that end now are not replaced
        self._has_served = False
        self._start_at_s: float | None = None
        self._refuser: Refuser | None = None
        self._policy: Policy = OutputPolicy() if order.output is not None else RestartPolicy()
        self._bare = BareFolder(order.mountpoint) if order.output is not None else None
        self._hangs = HangWatch(_DEADLINES * float(order.settings.get("read_deadline", "60")) + 10)

    def begin(self) -> None:
        """Start the first worker; the mount is made when it is ready."""
        self._start()

    def resume(self, worker: WorkerProcess | None) -> None:
        """Go on with a device that is there, and with a worker that serves it, if one does."""
        self._has_served = True
        if worker is None:
            self._start()
            return
        worker.serving_since_s = time.monotonic()
        self.worker = worker
        self._watch(worker)

    @property
    def gave_up(self) -> bool:
        """Whether no worker can be had, so that everything is refused."""
        return self._refuser is not None

    @property
    def is_served(self) -> bool:
        """Whether a worker answers the kernel."""
        return self.worker is not None and self.worker.serving_since_s is not None

    def tick(self) -> None:
        """Look after the worker; called about once a second, and when a pause is over."""
        now_s = time.monotonic()
        if self._start_at_s is not None and now_s >= self._start_at_s:
            self._start()
        self._look_after_starts()
        worker = self.worker
        if worker is None or worker.serving_since_s is None or self.is_over or self.order.driver == "pyfuse3":
            return
        taken_ns = self.table.taken_ns()
        still = self._hangs.stands_still(self.table.beats) and (bool(taken_ns) or self._has_requests())
        if still or self._hangs.is_overdue(taken_ns, time.monotonic_ns()):
            _LOG.warning("%s: worker %d hangs; it is replaced", self.order.mountpoint, worker.pid)
            self._forget(worker)
            worker.end()
            self.table.blame()  # only now is nobody else writing there
            self._replace(worker)

    def _look_after_starts(self) -> None:
        """Kill a worker that hangs before it serves: nothing else would notice it. Its death is then heard of.

        The first worker of all is left to whoever waits for the mount, who has a bound of his own.
        """
        for worker in {self.worker, self.upgrading.worker if self.upgrading is not None else None}:
            if worker is None or worker.serving_since_s is not None or not self._has_served:
                continue
            worker.looks += 1
            if worker.looks == _MOST_LOOKS:
                _LOG.warning("%s: worker %d does not come to serve; it is killed", self.order.mountpoint, worker.pid)
                worker.kill()

    def next_s(self) -> float | None:
        """How many seconds until `tick` has to start a worker; None: it need not."""
        return None if self._start_at_s is None else max(0.0, self._start_at_s - time.monotonic())

    def hear(self, worker: WorkerProcess) -> None:
        """Take what a worker says, or its end."""
        if worker is not self.worker and (self.upgrading is None or worker is not self.upgrading.worker):
            self._forget(worker)  # nobody's any more; whatever it says, it must not serve
            worker.end()
            return
        message = worker.receive()
        if message is None:
            self._forget(worker)
            self._died(worker, worker.end())
            return
        {
            "ready": self._on_ready,
            "serving": self._on_serving,
            "error": self._on_error,
            "plan": self._on_plan,
            "credential": self._on_credential,
            "ended": self._on_ended,
        }[message.say](worker, message)

    def upgrade(self, executable: str, answer: Answer) -> None:
        """Have a worker of the code that this Python finds take over; `answer` gets the outcome."""
        if self.upgrading is not None or self.is_over or self.device is None:
            answer(_error(f"{self.order.mountpoint}: an upgrade or the end of the mount is under way; try again"))
            return
        try:
            successor = WorkerProcess.start(self._work(self.restarts + 1), executable)
        except (OSError, ValueError) as error:  # ValueError: no path can be so
            why = error.strerror if isinstance(error, OSError) else error
            answer(_error(f"{executable!r}: {why}; the old worker goes on"))
            return
        self.upgrading = Upgrade(successor, executable, answer)
        self._watch(successor)

    def end(self, wait_s: float) -> None:
        """The mount is off: let the worker close down, and kill it if that takes longer."""
        self.is_over = True
        self._start_at_s = None
        for worker in (self.worker, self.upgrading.worker if self.upgrading is not None else None):
            if worker is None:
                continue
            self._forget(worker)
            worker.let_end()
            worker.end(wait_s)
        self.worker = None
        if self._refuser is not None:
            self._refuser.stop()
        if self._bare is not None:
            self._bare.release()

    def _work(self, restarts: int) -> Work:
        return Work(
            self.order,
            self.table.descriptor,
            self._plan_socket,
            self.plan.descriptor if self.plan else None,
            self.plan.digest if self.plan else "",
            supervisor_pid=os.getpid(),
            restarts=restarts,
            age_s=time.monotonic() - self.began_s,
            keep=self._keep,
        )

    def _start(self) -> None:
        self._start_at_s = None
        try:
            self.worker = WorkerProcess.start(self._work(self.restarts), self.executable)
        except OSError as error:
            _LOG.error("%s: no worker: %s", self.executable, error)
            if self._has_served:
                self._replace(None)
            else:
                why = f"no worker can be started: {error.strerror}; see what this user may have (ulimit -a)"
                self._failed(MountPointError(f"{self.order.mountpoint}: {why}"))
        else:
            self._watch(self.worker)

    def _on_ready(self, worker: WorkerProcess, _: Message) -> None:
        if self.upgrading is not None and worker is self.upgrading.worker:
            old, self.worker = self.worker, worker
            if old is not None:
                self._forget(old)
                old.end()
            if self._refuser is not None:
                self._refuser.stop()
                self._refuser = None
            self._start_at_s = None
            self.restarts += 1
        try:
            worker.serve(self._mounted())
        except MountdError as error:
            self._forget(worker)
            worker.end()
            self._failed(error)
            return
        if self.order.driver == "pyfuse3" and self.device is not None and self.device.descriptor >= 0:
            os.close(self.device.descriptor)
            self.device = replace(self.device, descriptor=-1)  # the number may be another file's from now on

    def _mounted(self) -> Device:
        """The device: at the first time, and each time under pyfuse3, a mount is made."""
        order = self.order
        if self.device is not None and order.driver != "pyfuse3":
            os.set_blocking(self.device.descriptor, True)  # a supervisor that died refusing has left it otherwise
            return self.device
        if self.device is not None:
            mounting.end(order.mountpoint, self.device.number, lazy=True)
        if self._bare is not None:
            self._bare.prepare()
        descriptor = mounting.mount(
            order.mountpoint,
            order.source or str(order.manifest),
            allow_other=order.settings.get("allow_other") == "true",
            writable=order.output is not None,
        )
        if self._bare is not None:
            self._bare.guard()
        entry = mounting.find(order.mountpoint)
        number = entry.device if entry is not None else ""
        self.device = Device(descriptor, number, 0)  # from here on it is taken off again, whatever fails
        if order.driver == "pyfuse3":
            mounting.set_background(number, Limits())  # libfuse will agree with the kernel, and does not know of these
        else:
            self.device = Device(descriptor, number, handshake.negotiate(descriptor, Limits()))
        return self.device

    def _on_serving(self, worker: WorkerProcess, _: Message) -> None:
        worker.serving_since_s = time.monotonic()
        self._hangs.reset()
        self._has_served = True
        if self.device is not None:
            size = self.order.settings.get("read_ahead")
            if size:
                mounting.set_read_ahead(self.device.number, int(size))
        upgrading = self.upgrading
        if upgrading is not None and worker is upgrading.worker:  # not one in the place of an old one that died
            self.upgrading = None
            self.executable = upgrading.executable
            upgrading.answer({"worker_pid": worker.pid})
        self._serving()

    def _on_error(self, worker: WorkerProcess, message: Message) -> None:
        self._forget(worker)
        worker.end(1)
        if self.upgrading is not None and worker is self.upgrading.worker:
            upgrading, self.upgrading = self.upgrading, None
            upgrading.answer(message.told)
            if worker is self.worker:  # the old one is dead already
                self._replace(worker)
        elif not self._has_served:
            try:
                starting.raise_told(message.told)
            except MountdError as error:
                self._failed(error)
        else:
            _LOG.error("%s: a worker cannot serve: %s", self.order.mountpoint, message.told.get("message"))
            self._replace(worker)

    def _on_plan(self, _: WorkerProcess, message: Message) -> None:
        if self.plan is not None:
            os.close(self.plan.descriptor)
        descriptors = message.descriptors
        self.plan = Plan(descriptors[0], str(message.told["digest"])) if descriptors else None

    def _on_credential(self, _: WorkerProcess, message: Message) -> None:
        """Give the next worker what was handed to this one."""
        descriptor = message.descriptors[0]
        try:
            told = json.loads(os.pread(descriptor, os.fstat(descriptor).st_size, 0))
        finally:
            os.close(descriptor)
        handed = dict.fromkeys(message.told["sources"], Credential.from_json(told))
        self.order = replace(self.order, credentials={**self.order.credentials, **handed})

    def _on_ended(self, _: WorkerProcess, __: Message) -> None:
        self.is_over = True
        self._ended()

    def _died(self, worker: WorkerProcess, status: int) -> None:
        how = restarting.told(status)
        if self.upgrading is not None and worker is self.upgrading.worker:
            upgrading, self.upgrading = self.upgrading, None
            upgrading.answer(
                _error(f"the new worker died ({how}); see that {upgrading.executable} has mountd, and its log")
            )
            if worker is not self.worker:
                return  # the old one goes on
        if self.is_over:
            self._ended()
        elif not self._has_served:
            self._failed(DefectError(f"{self.order.mountpoint}: the worker died before it was ready ({how})"))
        else:
            _LOG.warning("%s: worker %d died (%s); another takes over", self.order.mountpoint, worker.pid, how)
            if restarting.died_of_itself(status):
                self.table.blame()
            self._replace(worker)

    def _replace(self, dead: WorkerProcess | None) -> None:
        """Start another worker, now or after a pause; or give up."""
        self.worker = None
        self.restarts += 1
        pause_s = self._policy.pause_s(dead.served_s() if dead is not None else None)
        if pause_s is not None:
            self._start_at_s = time.monotonic() + pause_s
            if not pause_s:
                self._start()
            return
        _LOG.error(
            "%s: %d workers in a row could not serve: every read fails with EIO from now on; see above why, and then "
            "`mountd upgrade %s` tries again",
            *(self.order.mountpoint, self._policy.failures, self.order.mountpoint),
        )
        if self.order.driver == "pyfuse3" or self.device is None:
            self._ended()  # its readers have their errors already
            return
        self._refuser = Refuser(self.device.descriptor, self.table, self._ended)
        self._refuser.start()

    def _has_requests(self) -> bool:
        """Whether the kernel has a request that nobody has taken."""
        looking = select.poll()
        if self.device is not None:
            looking.register(self.device.descriptor, select.POLLIN)
        return bool(looking.poll(0))


def _error(line: str) -> dict[str, Any]:
    return {"error": "MountPointError", "message": line}
