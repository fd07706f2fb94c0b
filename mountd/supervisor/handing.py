"""What a supervisor hands to the next: to itself in new code, by exec, or to its successor, over the service manager.

By exec: the process stays, with its children, its lifeline and its descriptors; what they are is told in a line of JSON that
waits in a socket, with the order and its secrets. By the manager: it keeps the device, the in-flight table and a memfd of
settings (no secret: the unit's environment has them) while no process of ours lives, and hands them to the next start.

Both are versioned: new code is asked whether it understands before anything is handed to it.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mountd import notify
from mountd.contract import serving, starting
from mountd.contract.serving import Device
from mountd.contract.starting import Order
from mountd.records import Claim
from mountd.supervisor.service import Plan, Service
from mountd.supervisor.sockets import Sockets

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION: Final = 1
ENDING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_CHECK_S: Final = 20
_DEVICE, _TABLE, _SETTINGS = "moorage-device", "moorage-table", "moorage-settings"


@dataclass(frozen=True, slots=True)
class Handed:
    """A mount that is there already. The worker is its process id and the descriptor of its socket."""

    order: Order
    table: int
    device: Device
    worker: tuple[int, int] | None = None
    plan: Plan | None = None
    restarts: int = 0
    began_s: float = 0
    is_told: bool = False  # that it is mounted
    control: int | None = None
    plan_socket: int | None = None
    claim: int | None = None
    channel: int | None = None


def command(executable: str, *arguments: str) -> list[str]:
    """The command line of a supervisor."""
    return [executable, "-P", "-m", "mountd.supervisor", *arguments]


def to_new_code(
    executable: str, order: Order, service: Service, sockets: Sockets, claim: Claim, channel: socket.socket | None
) -> None:
    """Go on as a supervisor of the code that `executable` finds; returns only by an error.

    Raises:
        OSError: it cannot be executed, or does not understand this version.
    """
    worker, device = service.worker, service.device
    if worker is None or device is None:
        return
    handed = Handed(
        order,
        service.table.descriptor,
        device,
        (worker.pid, worker.fileno()),
        service.plan,
        service.restarts,
        service.began_s,
        True,
        sockets.control.fileno(),
        sockets.plan.fileno(),
        claim.fileno(),
        channel.fileno() if channel is not None else None,
    )
    execute(executable, handed)


def execute(executable: str, handed: Handed) -> None:
    """Become a supervisor that goes on with `handed`.

    Raises:
        OSError: it cannot be executed, or does not understand this version.
    """
    _ask(executable)
    ours, theirs = socket.socketpair()
    descriptors = [theirs.fileno(), *_descriptors(handed)]
    try:
        ours.setblocking(False)  # nobody reads yet: what has no room there is an error, not a wait without end
        ours.sendall(_to_json(handed))
        for descriptor in descriptors:
            os.set_inheritable(descriptor, True)
        os.execv(executable, command(executable, "--handed", str(theirs.fileno())))  # noqa: S606  # becoming it is the point
    except OSError:
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        ours.close()
        theirs.close()
        raise


def receive(channel: socket.socket) -> Handed:
    """What was handed to this process by exec; its descriptors are not passed on to children."""
    told = json.loads(starting.receive_line(channel))
    order = starting.from_json(told.pop("order").encode())
    device, plan = Device(**told.pop("device")), told.pop("plan")
    worker = told.pop("worker")
    handed = Handed(
        order=order,
        device=device,
        plan=Plan(**plan) if plan else None,
        worker=(worker[0], worker[1]) if worker else None,
        **told,
    )
    for descriptor in _descriptors(handed):
        os.set_inheritable(descriptor, False)
    channel.close()  # or it would be inherited from one hand-over to the next
    return handed


def to_manager(order: Order, service: Service) -> None:
    """Let the service manager keep what the next supervisor needs."""
    if service.device is None or order.driver == "pyfuse3":
        return
    told = {
        "version": VERSION,
        "mountpoint": str(order.mountpoint),
        "source": order.source,
        "manifest": str(order.manifest),
        "owns_manifest": order.owns_manifest,
        "number": service.device.number,
        "agreed": service.device.agreed,
        "began_s": service.began_s,
    }
    settings = serving.sealed("settings", json.dumps(told).encode())
    notify.store(_DEVICE, service.device.descriptor)
    notify.store(_TABLE, service.table.descriptor)
    notify.store(_SETTINGS, settings)
    os.close(settings)


def forget() -> None:
    """The mount has ended: the manager need not keep anything."""
    for name in (_DEVICE, _TABLE, _SETTINGS):
        notify.forget(name)


@dataclass(frozen=True, slots=True)
class Kept:
    """What the service manager kept: a mount of `source` on `mountpoint`, without anybody who serves it."""

    mountpoint: Path
    source: str
    manifest: Path
    owns_manifest: bool
    table: int
    device: Device
    began_s: float

    def handed(self, order: Order) -> Handed:
        """As something to go on with."""
        return Handed(order, self.table, self.device, began_s=self.began_s)

    def close(self) -> None:
        """Let it go: the kernel ends the mount."""
        os.close(self.table)
        os.close(self.device.descriptor)
        forget()


def kept(environ: "Mapping[str, str]" = os.environ) -> Kept | None:
    """What the service manager kept for this process, if it kept all of it."""
    found = notify.stored(environ)
    told: dict[str, Any] = {}
    if _SETTINGS in found:
        with contextlib.suppress(ValueError):
            told = dict(json.loads(os.pread(found[_SETTINGS], 1 << 20, 0)))
        os.close(found[_SETTINGS])
    if told.get("version") != VERSION or not {_DEVICE, _TABLE} <= found.keys():
        return None
    return Kept(
        Path(told["mountpoint"]),
        told["source"],
        Path(told["manifest"]),
        told["owns_manifest"],
        found[_TABLE],
        Device(found[_DEVICE], told["number"], told["agreed"]),
        told["began_s"],
    )


def _ask(executable: str) -> None:
    """See that a supervisor of that code understands what would be handed to it."""
    try:
        asked = command(executable, "--understands", str(VERSION))
        done = subprocess.run(asked, capture_output=True, text=True, timeout=_CHECK_S, check=False)
    except subprocess.TimeoutExpired:
        raise OSError(f"{executable} does not answer") from None
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise OSError(f"{executable}: {said[-1] if said else f'exit code {done.returncode}'}")


def _to_json(handed: Handed) -> bytes:
    plan, device = handed.plan, handed.device
    told = {
        "order": starting.to_json(handed.order).decode(),
        "device": {"descriptor": device.descriptor, "number": device.number, "agreed": device.agreed},
        "plan": {"descriptor": plan.descriptor, "digest": plan.digest} if plan else None,
        "table": handed.table,
        "worker": handed.worker,
        "restarts": handed.restarts,
        "began_s": handed.began_s,
        "is_told": handed.is_told,
        "control": handed.control,
        "plan_socket": handed.plan_socket,
        "claim": handed.claim,
        "channel": handed.channel,
    }
    return json.dumps(told).encode() + b"\n"


def _descriptors(handed: Handed) -> Iterator[int]:
    yield handed.table
    if handed.device.descriptor >= 0:  # under pyfuse3 it is the worker's alone
        yield handed.device.descriptor
    if handed.worker is not None:
        yield handed.worker[1]
    if handed.plan is not None:
        yield handed.plan.descriptor
    for each in (handed.control, handed.plan_socket, handed.claim, handed.channel):
        if each is not None:
            yield each
