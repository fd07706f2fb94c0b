"""The part of systemd that a service sees, for machines where systemd does not run."""

import os
import socket
import subprocess
import sys
from pathlib import Path


class ServiceManager:
    """What systemd does for a unit: it hears notifications, keeps descriptors, and passes them to the next start."""

    def __init__(self, folder: Path) -> None:
        self.address = folder / "notify"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.address))
        self.socket.settimeout(20)
        self.kept: dict[str, int] = {}
        self.said: list[str] = []

    def hear(self, wanted: str) -> None:
        """Take messages until one says `wanted`."""
        while True:
            packet, descriptors, _, _ = socket.recv_fds(self.socket, 4096, 4)
            lines = packet.decode().split("\n")
            name = next((line.removeprefix("FDNAME=") for line in lines if line.startswith("FDNAME=")), "")
            if "FDSTOREREMOVE=1" in lines and name in self.kept:
                os.close(self.kept.pop(name))
            if "FDSTORE=1" in lines:
                self.kept[name] = descriptors[0]
            self.said += lines
            if wanted in packet.decode():
                return

    def start(self, *command: str) -> "subprocess.Popen[bytes]":
        """Start a service with what is kept for it, from descriptor 3 on."""
        names, numbers = ":".join(self.kept), list(self.kept.values())
        code = (
            "import os, sys\n"
            f"for place, number in enumerate({numbers}):\n"
            "    os.dup2(number, 100 + place)\n"
            f"for place in range({len(numbers)}):\n"
            "    os.dup2(100 + place, 3 + place, True); os.close(100 + place)\n"
            f"if {len(numbers)}:\n"
            f"    os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='{len(numbers)}', LISTEN_FDNAMES='{names}')\n"
            "os.execv(sys.argv[1], sys.argv[1:])\n"
        )
        environment = {**os.environ, "NOTIFY_SOCKET": str(self.address), "WATCHDOG_USEC": "3000000"}
        return subprocess.Popen(
            [sys.executable, "-c", code, *command],
            pass_fds=[number for number in numbers if number > 2],
            env=environment,
        )

    def close(self) -> None:
        """Let go of all that is kept."""
        for descriptor in self.kept.values():
            os.close(descriptor)
        self.socket.close()
