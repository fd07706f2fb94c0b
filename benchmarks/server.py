"""A blob server whose latency and rate are known: nginx with Lua, on loopback, for the length of a `with` block.

Content is sparse or generated files below a folder of its own; `publish` writes the index that listings are answered from,
with the ETags that nginx itself makes from time and size. Nothing is authorised: signed and anonymous requests get the
same. Each request is a line of the access log, and `traffic` tells what came since a place in it.

Invariants: only 127.0.0.1 is listened on; nginx ends with this process, also if this process is killed.
"""

import os
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

from benchmarks.processes import WITH_US, BenchmarkError, end, wait_until

HERE = Path(__file__).parent
ACCOUNT = "devstoreaccount1"
# The emulators' key: it stands in Microsoft's documentation and opens nothing.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_MODULES = (Path("/usr/lib/nginx/modules"), Path("/usr/lib64/nginx/modules"), Path("/usr/share/nginx/modules"))
_START_S = 20.0
_IDLE_S = 30.0


@dataclass(frozen=True, slots=True)
class Shape:
    """How the server answers: after `latency_s`, and then at `rate_bytes` a second on each connection."""

    latency_s: float = 0.015
    rate_bytes: int = 60_000_000


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the server's log says of a time: requests, and the bytes of their bodies."""

    requests: int
    sent_bytes: int


@dataclass(frozen=True, slots=True)
class Server:
    """A running server. `endpoint` has the account in it and no `/` at its end."""

    folder: Path
    endpoint: str

    def url(self, container: str) -> str:
        """The base URL of a container."""
        return f"{self.endpoint}/{container}/"

    def content(self, container: str) -> Path:
        """The folder with a container's files."""
        return self.folder / "content" / container

    def mark(self) -> int:
        """A place in the log, once no client is connected any more: what comes later stands behind it."""
        wait_until(lambda: _connections(self.endpoint) <= 1, _IDLE_S, "clients that stay connected")
        return self.moment()

    def moment(self) -> int:
        """The log's end as it is now, whoever is connected."""
        log = self.folder / "access.log"
        return log.stat().st_size if log.exists() else 0

    def traffic(self, start: int, end: int) -> Traffic:
        """What came between two places in the log."""
        with (self.folder / "access.log").open("rb") as log:
            log.seek(start)
            return parse_log(log.read(end - start).decode())


def parse_log(text: str) -> Traffic:
    """Requests and bytes of lines 'METHOD STATUS BYTES PATH'."""
    sent = [int(line.split(" ", 3)[2]) for line in text.splitlines()]
    return Traffic(len(sent), sum(sent))


def publish(folder: Path, containers: list[str]) -> None:
    """Write the index of what lies in `folder`/content/CONTAINER, sorted by key, with nginx's own ETags."""
    index = folder / "index"
    index.mkdir(exist_ok=True)
    (index / "containers").write_text("".join(f"{name}\n" for name in containers))
    for name in containers:
        base = folder / "content" / name
        files = ((path.relative_to(base).as_posix(), path.stat()) for path in base.rglob("*") if path.is_file())
        lines = [
            f"{key}\t{stat.st_size}\t{int(stat.st_mtime):x}-{stat.st_size:x}\t{formatdate(stat.st_mtime, usegmt=True)}\n"
            for key, stat in sorted(files, key=lambda each: each[0].encode())
        ]
        (index / f"{name}.tsv").write_text("".join(lines))


def pretend(folder: Path, names: dict[str, int]) -> None:
    """Name containers that can only be listed: so many files each, which are not there, with the keys of `small_key`."""
    index = folder / "index"
    index.mkdir(exist_ok=True)
    (index / "containers").write_text("".join(f"{name}\t{count}\n" for name, count in names.items()))


@contextmanager
def serve(folder: Path, shape: Shape = Shape()) -> Iterator[Server]:
    """Serve what was published in `folder`.

    Raises:
        BenchmarkError: nginx or its Lua is missing, or it did not start; says what to do.
    """
    modules = next((each for each in _MODULES if (each / "ngx_http_lua_module.so").exists()), None)
    nginx = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if nginx is None or modules is None:
        raise BenchmarkError("nginx with Lua is missing: sudo apt-get install -y nginx-light libnginx-mod-http-lua")
    (folder / "temp").mkdir(exist_ok=True)
    port = _free_port()
    config = folder / "nginx.conf"
    config.write_text(_configuration(folder.resolve(), port, shape, modules))
    command = [*WITH_US, nginx, "-e", str(folder / "error.log"), "-c", str(config.resolve())]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        server = Server(folder, f"http://127.0.0.1:{port}/{ACCOUNT}")
        wait_until(lambda: _answers(port, process, folder), _START_S, "nginx")
        yield server
    finally:
        end(process)


def _configuration(folder: Path, port: int, shape: Shape, modules: Path) -> str:
    values = {
        "USER": "root" if os.geteuid() == 0 else "nobody",  # ignored, with a warning, where it cannot be
        "WORKERS": os.cpu_count() or 1,
        "FOLDER": folder,
        "HERE": HERE,
        "MODULES": modules,
        "ACCOUNT": ACCOUNT,
        "PORT": port,
        "LATENCY_S": shape.latency_s,
        "RATE": shape.rate_bytes,
    }
    text = (HERE / "nginx.conf").read_text()
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    return text


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(port: int, process: "subprocess.Popen[bytes]", folder: Path) -> bool:
    if process.poll() is not None:
        log = folder / "error.log"
        said = log.read_text().strip().splitlines() if log.exists() else []
        raise BenchmarkError(f"nginx did not start: {said[-1] if said else 'it said nothing'}")
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _connections(endpoint: str) -> int:
    """Connections that are open now, the one that asks included."""
    with urllib.request.urlopen(endpoint.removesuffix(ACCOUNT) + "status", timeout=10) as answer:  # noqa: S310 - our own
        return int(answer.readline().split()[-1])
