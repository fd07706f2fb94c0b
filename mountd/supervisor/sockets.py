"""The two listening sockets of a mount, which stay while workers come and go."""

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from mountd import records
from mountd.contract.starting import Order
from mountd.supervisor.conversations import listen


@dataclass(frozen=True, slots=True)
class Sockets:
    """`control` is answered by the supervisor, `plan` by the worker."""

    control: socket.socket
    plan: socket.socket

    @classmethod
    def open(cls, order: Order) -> Self:
        """Listen in the folder of the mount's record."""
        folder = records.folder_of(order.mountpoint)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        plan_mode = 0o666 if order.settings.get("allow_other") == "true" else 0o600
        return cls(_listen(folder / "control", 0o600), _listen(folder / "plan", plan_mode))

    @classmethod
    def inherited(cls, control: int, plan: int) -> Self:
        """The sockets that this process had before it executed itself anew."""
        return cls(socket.socket(fileno=control), socket.socket(fileno=plan))

    def close(self) -> None:
        """Listen no more."""
        self.control.close()
        self.plan.close()


def _listen(address: Path, mode: int) -> socket.socket:
    return listen(str(address), mode)
