"""The cases of the battery of faults: what is harmed, when, and what whoever reads may get.

A *harm* is a fault with what comes of it when it happens once and when it lasts. A `Case` is a harm in a phase, on a file of
its own; a `Place` is a store behind the proxy that has a file for each case.
"""

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from mountd import client
from mountd.dataset.manifest import FrozenFile, write_manifest
from mountd.errors import MountdError
from mountd.stores import registry
from mountd.stores.credentials import Credential
from tests.support import datalake_server
from tests.support import wire_faults as faults
from tests.support.azurite import ACCOUNT, KEY, Azurite
from tests.support.content import content
from tests.support.datalake_server import DataLakeServer
from tests.support.fault_proxy import FaultProxy, Injection, Request
from tests.support.http_server import HttpServer
from tests.support.storms import KIB, MIB, drop_pages
from tests.support.wire_faults import Fault

Item = TypeVar("Item")
Found = TypeVar("Found")

RIGHT, EIO, ESTALE, EACCES, ENOENT = "right", "EIO", "ESTALE", "EACCES", "ENOENT"
DEADLINE_S = 3
SIZE = MIB + 70 * KIB + 17  # above what is fetched whole
STREAM_AT = 512 * KIB  # a multiple of what is fetched ahead at once: what begins there or later is harmed
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


_SLOW = [
    _harm(faults.latency(0.3), RIGHT, RIGHT),
    _harm(faults.stall(), RIGHT, EIO),
    _harm(faults.refusal(403), EACCES, EACCES),
    _harm(faults.expired_token(), EACCES, EACCES),
    _harm(faults.refusal(429, retry_after="1"), RIGHT, EIO),
    _harm(faults.refusal(503, "ServerBusy", retry_after="1"), RIGHT, EIO),
    # Longer than there is time. obstore does not tell the header: it is asked for, and by then the fault has passed.
    _harm(faults.refusal(503, "ServerBusy", retry_after="60"), f"{RIGHT}|{EIO}", EIO),
    _harm(faults.refusal(500), RIGHT, EIO, times=3),
]
_BROKEN = [
    # While nothing is known of what is usual, one that trickles may take all the time that there is.
    _harm(faults.trickle(), f"{RIGHT}|{EIO}", EIO),
    _harm(faults.stall(20), RIGHT, EIO),
    _harm(faults.reset(), RIGHT, EIO),
    _harm(faults.short(), RIGHT, EIO),
    _harm(faults.brief(), RIGHT, EIO),
    _harm(faults.page(200), RIGHT, EIO),
    _harm(faults.page(206, xml=True), RIGHT, EIO),
]
HARMS = [
    *_SLOW,
    *_BROKEN,
    # Of a web server's file the part is taken; a blob service that knows no ranges is none.
    _harm(faults.whole(), RIGHT, f"{RIGHT}|{EIO}"),
    _harm(faults.wrong_range(), RIGHT, EIO),
    _harm(faults.page(206, headers=True), RIGHT, EIO),
    # The frozen ETag on fewer bytes than were frozen.
    _harm(faults.page(200, headers=True), RIGHT, f"{ESTALE}|{EIO}"),
    # A look for the kept version of a blob finds the frozen one, which is not harmed.
    _harm(faults.changed_etag(), f"{ESTALE}|{RIGHT}", ESTALE),
    # Refused once, and a look finds what was frozen: it is asked for again.
    _harm(faults.refusal(404), RIGHT, ESTALE),
    _harm(faults.refusal(412, "ConditionNotMet"), RIGHT, ESTALE),
    _harm(faults.refusal(416, "InvalidRange"), RIGHT, ESTALE),
]
# A freeze knows nothing yet that an answer could be compared with, but that a list is a list.
GONE = [_harm(faults.refusal(404), ENOENT, ENOENT)]
_LISTED = [*_SLOW, *_BROKEN, *GONE, _harm(faults.page(200, xml=True), RIGHT, EIO)]
FREEZES = {"web": [*_SLOW, *GONE], "blob": _LISTED, "lake": _LISTED}


@dataclass(frozen=True, slots=True)
class Case:
    """One harm in one phase, once or for good."""

    harm: Harm
    phase: str
    lasts: bool
    prefix: str = ""

    @property
    def file(self) -> str:
        """The file that is its own."""
        names = self.phase, self.harm.fault.name, "lasting" if self.lasts else "passing"
        return self.prefix + "-".join(names).replace(" ", "-")

    @property
    def expected(self) -> frozenset[str]:
        """What may come of it."""
        return self.harm.lasting if self.lasts else self.harm.passing

    def inject(self, proxy: FaultProxy, when: Callable[[Request], bool] | None = None) -> Injection:
        """Harm what the phase asks for, or what `when` picks."""
        times = float("inf") if self.lasts else self.harm.times
        return proxy.inject(self.harm.fault, when=when or self.asks, times=times)

    def asks(self, request: Request) -> bool:
        """Whether a request is this case's."""
        if not request.path.endswith(f"/{self.file}"):
            return False
        if request.method == "HEAD":  # the look at what is there in the place of what was frozen
            return self.lasts
        if request.range is None or self.phase not in PHASES:
            return True
        (start, end), at = request.range, PHASES[self.phase]
        return start >= at if self.phase == "prefetch" else start <= at < end

    def read(self, folder: Path) -> "Outcome":
        """Read what the phase is about."""
        if self.phase == "prefetch":
            return read(folder / self.file)
        return read(folder / self.file, PHASES[self.phase], 100)


def cases(harms: list[Harm], *phases: str, prefix: str = "") -> list[Case]:
    """Every harm in these phases, on files whose names begin with `prefix`."""
    found = [Case(harm, phase, lasts, prefix) for phase in phases for harm in harms for lasts in (False, True)]
    assert len({case.file for case in found}) == len(found)
    return found


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a read: a verdict, how many right bytes came before it, and how long it took."""

    verdict: str
    came_bytes: int
    seconds: float


def read(path: Path, offset: int = 0, size: int = SIZE) -> Outcome:
    """Read in pieces of 64 KiB, with the pages dropped first, and compare each."""
    begin_s, at, end, verdict = time.monotonic(), offset, min(offset + size, SIZE), RIGHT
    drop_pages(path)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        while at < end and verdict == RIGHT:
            data = os.pread(descriptor, min(64 * KIB, end - at), at)
            if data and data == content(path.name, at, len(data)):
                at += len(data)
            else:
                verdict = f"wrong at {at}: {data[:40]!r}"
    except OSError as error:
        verdict = errno.errorcode[error.errno or 0]
    finally:
        os.close(descriptor)
    return Outcome(verdict, at - offset, time.monotonic() - begin_s)


def told(doing: Callable[[], object]) -> Outcome:
    """What comes of something that raises our errors."""
    begin_s, verdict = time.monotonic(), RIGHT
    try:
        doing()
    except MountdError as error:
        verdict = errno.errorcode[error.errno]
    return Outcome(verdict, 0, time.monotonic() - begin_s)


def at_once(doing: Callable[[Item], Found], items: list[Item], threads: int = 48) -> dict[Item, Found]:
    """Do it for each item, many at a time."""
    with ThreadPoolExecutor(threads) as pool:
        return dict(zip(items, pool.map(doing, items), strict=True))


class Lag:
    """How late this machine is at the most: what a thread that only wants to sleep for a moment waits longer."""

    def __init__(self) -> None:
        self.worst_s = 0.0

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Measure for the length of a `with` block."""
        ended = threading.Event()

        def measure() -> None:
            begin_s = time.monotonic()
            while not ended.wait(0.05):
                now_s = time.monotonic()
                self.worst_s = max(self.worst_s, now_s - begin_s - 0.05)
                begin_s = now_s

        thread = threading.Thread(target=measure)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


@dataclass(frozen=True, slots=True)
class Place:
    """A store behind a proxy; `url` is its base URL there, and `frozen` what is in it."""

    proxy: FaultProxy
    url: str
    credential: Credential | None
    frozen: dict[str, FrozenFile]

    @contextmanager
    def mount(self, folder: Path, deadline_s: float, **settings: str) -> Iterator[client.Mount]:
        """Mount all of it below `folder`, where the cache is kept, too."""
        manifest = self.manifest(folder / "manifest", *self.frozen)
        given = {"cache_dir": str(folder / "cache"), "memory": "64MiB", "read_deadline": f"{deadline_s}s", **settings}
        with client.start(
            manifest, folder / "mnt", credentials=self.credentials, settings=given, lifeline=True
        ) as mount:
            yield mount

    def manifest(self, path: Path, *names: str) -> Path:
        """A manifest of these files."""
        write_manifest(path, [self.url], [self.frozen[name] for name in names])
        return path

    @property
    def credentials(self) -> dict[str, Credential]:
        """Those of the manifest's sources."""
        return {self.url: self.credential} if self.credential else {}


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
def web_place(files: list[str]) -> Iterator[Place]:
    """A web server with these files."""
    with HttpServer.start() as server, FaultProxy.start(server.endpoint) as proxy:
        for name in files:
            server.put(f"/tree/{name}", _Made(name), etag='"1"')
        yield Place(proxy, f"{proxy.endpoint}/tree/", None, {name: FrozenFile(name, SIZE, "1", 0) for name in files})


@contextmanager
def blob_place(files: list[str], azurite: Azurite) -> Iterator[Place]:
    """A container with these files; public, as the fault `whole` wants it."""
    container, credential = "wire" + os.urandom(6).hex(), Credential("key", KEY)
    azurite.make_container(container, public=True)
    at_once(lambda name: azurite.put(container, name, content(name, 0, SIZE)), files, threads=4)
    with FaultProxy.start(azurite.endpoint) as proxy:
        url = f"{proxy.endpoint}/{ACCOUNT}/{container}/"
        listed = registry.open_lister(url, credential).list()
        yield Place(
            proxy, url, credential, {each.key: FrozenFile(each.key, each.size, each.etag, 0) for each in listed}
        )


@contextmanager
def lake_place(files: list[str]) -> Iterator[Place]:
    """A Data Lake with a folder for each of these files; only what a freeze asks it is its own, bytes are a blob's."""
    with DataLakeServer.start() as server, FaultProxy.start(server.address) as proxy:
        server.make("lake")
        for name in files:
            server.put("lake", f"{name}/{name}", content(name, 0, SIZE))
        url = server.url("lake").replace(server.address.removeprefix("http://"), proxy.endpoint.removeprefix("http://"))
        yield Place(proxy, url, Credential("key", datalake_server.KEY), {})


@contextmanager
def place_of(kind: str, files: list[str], request: pytest.FixtureRequest) -> Iterator[Place]:
    """The place of a kind: `web`, `lake`, or one of those that are blobs."""
    if kind == "lake":
        place = lake_place(files)
    else:
        place = web_place(files) if kind == "web" else blob_place(files, request.getfixturevalue("azurite"))
    with place as found:
        yield found
