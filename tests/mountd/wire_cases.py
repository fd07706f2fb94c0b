"""The cases of the battery of faults: what is harmed, when, and what whoever reads may get.

A *harm* is a fault with what comes of it when it happens once and when it lasts. A case is a harm in a phase, on a file of
its own. A `Place` is a store behind the proxy with a file for each case; `Place.mount` mounts it.
"""

import errno
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mountd import client
from mountd.dataset.manifest import FrozenFile, write_manifest
from mountd.errors import MountdError
from mountd.freeze import FreezeSource, freeze
from mountd.stores.credentials import Credential
from tests.support import wire_faults as faults
from tests.support.azurite import ACCOUNT, KEY, Azurite
from tests.support.content import content
from tests.support.fault_proxy import FaultProxy, Injection, Request
from tests.support.http_server import HttpServer
from tests.support.storms import KIB, MIB, drop_pages
from tests.support.wire_faults import Fault

RIGHT, EIO, ESTALE, EACCES = "right", "EIO", "ESTALE", "EACCES"
SIZE = MIB + 70 * KIB + 17  # above what is fetched whole
STREAM_AT = 512 * KIB  # what is fetched ahead from there on is harmed
PHASES = {"first byte": 0, "middle": 640 * KIB, "last block": SIZE - 100, "prefetch": STREAM_AT}


@dataclass(frozen=True, slots=True)
class Harm:
    """A fault, and what may come of it when it happens a few times and when it lasts."""

    fault: Fault
    passing: frozenset[str]
    lasting: frozenset[str]
    times: int = 1


def _harm(fault: Fault, passing: str, lasting: str, times: int = 1) -> Harm:
    return Harm(fault, frozenset(passing.split("|")), frozenset(lasting.split("|")), times)


HARMS = [
    _harm(faults.latency(0.3), RIGHT, RIGHT),
    # One that trickles may take all the time there is, if it is not asked twice.
    _harm(faults.trickle(), f"{RIGHT}|{EIO}", EIO),
    _harm(faults.stall(), RIGHT, EIO),
    _harm(faults.stall(2_000), RIGHT, EIO),
    _harm(faults.reset(), RIGHT, EIO),
    _harm(faults.short(), RIGHT, EIO),
    _harm(faults.brief(), RIGHT, EIO),
    # Of a web server the part is taken; a blob service that knows no ranges is none.
    _harm(faults.whole(), RIGHT, f"{RIGHT}|{EIO}"),
    _harm(faults.wrong_range(), RIGHT, EIO),
    _harm(faults.changed_etag(), ESTALE, ESTALE),
    _harm(faults.page(200), RIGHT, EIO),
    _harm(faults.page(206, xml=True), RIGHT, EIO),
    _harm(faults.page(206, headers=True), RIGHT, EIO),
    # The frozen ETag on fewer bytes than were frozen.
    _harm(faults.page(200, headers=True), RIGHT, f"{ESTALE}|{EIO}"),
    _harm(faults.refusal(403), EACCES, EACCES),
    _harm(faults.expired_token(), EACCES, EACCES),
    # Refused once, and a HEAD finds what was frozen: it may be asked for again.
    _harm(faults.refusal(404), f"{RIGHT}|{ESTALE}", ESTALE),
    _harm(faults.refusal(412, "ConditionNotMet"), f"{RIGHT}|{ESTALE}", ESTALE),
    _harm(faults.refusal(416, "InvalidRange"), f"{RIGHT}|{ESTALE}", ESTALE),
    _harm(faults.refusal(429, retry_after="1"), RIGHT, EIO),
    _harm(faults.refusal(503, "ServerBusy", retry_after="1"), RIGHT, EIO),
    _harm(faults.refusal(500), RIGHT, EIO, times=3),
]


@dataclass(frozen=True, slots=True)
class Case:
    """One harm in one phase, once or for good."""

    harm: Harm
    phase: str
    lasts: bool

    @property
    def file(self) -> str:
        """The file that is its own."""
        number = HARMS.index(self.harm)
        return f"{self.phase} {number} {self.harm.fault.name} {'lasting' if self.lasts else 'passing'}".replace(
            " ", "-"
        )

    @property
    def expected(self) -> frozenset[str]:
        """What may come of it."""
        return self.harm.lasting if self.lasts else self.harm.passing

    def inject(self, proxy: FaultProxy) -> Injection:
        """Harm what the phase asks for."""
        at = PHASES.get(self.phase, 0)

        def when(request: Request) -> bool:
            if not request.path.endswith(f"/{self.file}"):
                return False
            if request.method == "HEAD":  # the look at what is there in the place of what was frozen
                return self.lasts
            if request.range is None:  # all of it, from a server that ignored the range
                return True
            start, end = request.range
            return start >= at if self.phase == "prefetch" else start <= at < end

        return proxy.inject(self.harm.fault, when=when, times=float("inf") if self.lasts else self.harm.times)


def cases(*phases: str) -> list[Case]:
    """Every harm in these phases."""
    return [Case(harm, phase, lasts) for phase in phases for harm in HARMS for lasts in (False, True)]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a read: a verdict, how many bytes came before it, and how long it took."""

    verdict: str
    came_bytes: int
    seconds: float


def read(path: Path, offset: int = 0, size: int = SIZE) -> Outcome:
    """Read in pieces of 64 KiB and compare each."""
    begin_s, at, verdict = time.monotonic(), offset, RIGHT
    drop_pages(path)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        while at < min(offset + size, SIZE) and verdict == RIGHT:
            wanted = min(64 * KIB, offset + size - at, SIZE - at)
            data = os.pread(descriptor, wanted, at)
            if not data or data != content(path.name, at, len(data)):
                verdict = f"wrong at {at}: {data[:40]!r}"
            at += len(data)
    except OSError as error:
        verdict = errno.errorcode[error.errno or 0]
    finally:
        os.close(descriptor)
    return Outcome(verdict, at - offset, time.monotonic() - begin_s)


@dataclass(frozen=True, slots=True)
class Place:
    """A store behind a proxy; `url` is its base URL there, and all that is listed in `manifest` is in it."""

    proxy: FaultProxy
    url: str
    credential: Credential | None
    manifest: Path

    @contextmanager
    def mount(self, folder: Path, deadline: str, **settings: str) -> Iterator[client.Mount]:
        """Mount all of it, with the cache that is kept beside the mount points."""
        told = {"cache_dir": str(folder / "cache"), "memory": "64MiB", "read_deadline": deadline, **settings}
        credentials = {self.url: self.credential} if self.credential else {}
        with client.start(
            self.manifest, folder / "mnt", credentials=credentials, settings=told, lifeline=True
        ) as mount:
            yield mount

    def verdict(self, doing: Callable[[], object]) -> str:
        """What comes of something that raises our errors."""
        try:
            doing()
        except MountdError as error:
            return errno.errorcode[error.errno]
        return RIGHT


@dataclass(frozen=True, slots=True)
class _Made:
    """A file that is made as it is asked for."""

    name: str

    def __len__(self) -> int:
        return SIZE

    def __getitem__(self, part: slice) -> bytes:
        start, stop, _ = part.indices(SIZE)
        return content(self.name, start, max(0, stop - start))


@contextmanager
def web_place(folder: Path, files: list[str]) -> Iterator[Place]:
    """A web server with these files."""
    with HttpServer.start() as server, FaultProxy.start(server.endpoint) as proxy:
        for name in files:
            server.put(f"/tree/{name}", _Made(name), etag='"1"')
        url = f"{proxy.endpoint}/tree/"
        write_manifest(folder / "manifest", [url], [FrozenFile(name, SIZE, "1", 0) for name in files])
        yield Place(proxy, url, None, folder / "manifest")


@contextmanager
def blob_place(folder: Path, files: list[str], azurite: Azurite) -> Iterator[Place]:
    """A container with these files; public, as the fault `whole` wants it."""
    container, credential = "wire" + os.urandom(6).hex(), Credential("key", KEY)
    azurite.make_container(container, public=True)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda name: azurite.put(container, name, content(name, 0, SIZE)), files))
    with FaultProxy.start(azurite.endpoint) as proxy:
        url = f"{proxy.endpoint}/{ACCOUNT}/{container}/"
        freeze([FreezeSource(url, credential)], folder / "manifest")
        yield Place(proxy, url, credential, folder / "manifest")
