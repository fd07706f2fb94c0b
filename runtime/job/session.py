"""The inputs and mounted outputs of a job while it runs: brought up all at once, taken down again in reverse.

`open_session` gives every one a thread and waits for all of them: mounts share one deadline, downloads have none, as their
size is the user's choice. The first failure, or a signal, stops the others, and what was up is taken down before the error
leaves. A thread that finishes after that takes its own mount down. At the end a mount is asked for its counters just
before it goes; a downloaded copy is removed unless the user chose its place.
"""

import contextlib
import queue
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mountd.errors import MountdError, MountPointError
from runtime.datasets import tuning
from runtime.errors import JobError
from runtime.job.bell import Bell
from runtime.job.layout import RUN_ID, InputPlace, Layout, OutputPlace
from runtime.job.mounted import MountedOutput

if TYPE_CHECKING:
    from mountd.client import Mount
    from mountd.stores.credentials import Credential

MOUNT_DEADLINE_S = 60.0
_JOIN_S = 30.0
Counters = Mapping[str, Mapping[str, int]]
Place = InputPlace | OutputPlace


class Frozen(Protocol):
    """What is mounted or downloaded: a frozen manifest, and how to get at its sources."""

    @property
    def manifest(self) -> Path:
        """The manifest file."""

    @property
    def credentials(self) -> "Mapping[str, Credential]":
        """The credential of each source, by its URL."""

    @property
    def withheld(self) -> frozenset[str]:
        """Environment variables that the mount's processes must not have."""


class _CancelledError(Exception):
    """Leaves a download that nobody wants any more, out of its progress callback."""


@dataclass(slots=True)
class _Up:
    """One input or output that is there: mounted by `mount`, or downloaded with these counters."""

    place: Place
    mount: "Mount | None" = None
    counters: Counters = field(default_factory=dict)


class Session:
    """The inputs that are up. Touched by the main thread only; the threads hand over what they made by a queue."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._up: list[_Up] = []
        self._lost: set[str] = set()

    def add(self, up: _Up) -> None:
        """Take over an input that is there."""
        self._up.append(up)

    def mounts(self) -> "dict[str, Mount]":
        """The mounts that are alive as far as we know, by the input's name."""
        return {
            each.place.spec.name: each.mount
            for each in self._up
            if each.mount is not None and each.place.spec.name not in self._lost
        }

    def lose(self, name: str) -> None:
        """The worker of this mount is dead: detach what it left, so that whoever reads there fails and does not hang."""
        self._lost.add(name)
        for each in self._up:
            if each.place.spec.name == name and each.mount is not None:
                self._stop(each.place, each.mount)

    def close(self) -> dict[str, Counters]:
        """Take everything down, the last first; return the counters of each input by its name."""
        counters: dict[str, Counters] = {}
        self.close_outputs()
        while self._up:
            up = self._up.pop()
            counters[up.place.spec.name] = self._take_down(up)
        return counters

    def close_outputs(self) -> None:
        """Take the outputs down: what was written is with their spools then, and their processes have ended."""
        outputs = [each for each in self._up if isinstance(each.place, OutputPlace)]
        self._up = [each for each in self._up if isinstance(each.place, InputPlace)]
        for up in reversed(outputs):
            self._take_down(up)

    def called(self, name: str) -> str:
        """What to say of the mount with this name."""
        outputs = {each.place.spec.name for each in self._up if isinstance(each.place, OutputPlace)}
        return f"{'output' if name in outputs else 'input'} '{name}'"

    def _take_down(self, up: _Up) -> Counters:
        counters = up.counters
        if up.mount is not None and up.place.spec.name not in self._lost:
            if isinstance(up.place, InputPlace):
                with contextlib.suppress(MountdError):
                    counters = _counters_of(up.mount.status())
            self._stop(up.place, up.mount)
        remove_folder(up.place)
        return counters

    def _stop(self, place: Place, mount: "Mount") -> None:
        try:
            mount.stop(tuning.unmount_timeout_s())
        except (MountdError, OSError) as error:
            self._say(f"{'input' if isinstance(place, InputPlace) else 'output'} '{place.spec.name}': {error}")


def _counters_of(status: Mapping[str, Mapping[str, int]]) -> Counters:
    wanted = {
        "reads": ("count", "bytes", "waited", "wait_us"),
        "fetch": ("requests", "bytes"),
        "cache": ("hits", "misses"),
    }
    return {group: {key: status[group].get(key, 0) for key in keys} for group, keys in wanted.items()}


def remove_folder(place: Place) -> None:
    """Remove where an input was. A folder that the user chose keeps what was downloaded; a mount is never entered."""
    if place.folder is None:
        return
    if isinstance(place, InputPlace) and place.mode == "download" and not place.kept:
        shutil.rmtree(place.folder, ignore_errors=True)
        for trace in place.folder.parent.glob(f".{place.folder.name}.moorage-download*"):  # download's own record
            trace.unlink(missing_ok=True)
        return
    with contextlib.suppress(OSError):  # not empty, or mounted still: then it is not ours to remove
        place.folder.rmdir()
        if isinstance(place, OutputPlace):
            place.folder.parent.rmdir()


@contextlib.contextmanager
def open_session(
    layout: Layout,
    frozen: Mapping[str, Frozen],
    destined: Mapping[str, MountedOutput],
    bell: Bell,
    say: Callable[[str], None],
) -> Iterator[Session]:
    """Bring everything of `layout` up; `frozen` has what is behind each input, `destined` each mounted output, by name.

    Raises:
        MountdError: as the first input that failed raised it.
        JobError: a signal came meanwhile (128 + its number).
    """
    session = Session(say)
    try:
        _bring_up(session, layout, frozen, destined, bell)
        yield session
    finally:
        session.close()


def _bring_up(
    session: Session,
    layout: Layout,
    frozen: Mapping[str, Frozen],
    destined: Mapping[str, MountedOutput],
    bell: Bell,
) -> None:
    cancelled = threading.Event()
    finished: queue.SimpleQueue[_Up | BaseException] = queue.SimpleQueue()
    wanted: list[Place] = [place for place in layout.inputs if place.mode != "direct"]
    wanted += [place for place in layout.outputs if place.mounted]
    mark = f"{RUN_ID}={layout.run_id}"

    def prepare(place: Place) -> None:
        try:
            if isinstance(place, OutputPlace):
                finished.put(_mount_output(place, destined[place.spec.name], mark))
            else:
                finished.put(_prepare(place, frozen[place.spec.name], mark, cancelled))
        except BaseException as error:  # noqa: BLE001 # handed to the main thread, which raises it
            finished.put(error)
        bell.ring()

    threads = [threading.Thread(target=prepare, args=(place,), daemon=True) for place in wanted]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + MOUNT_DEADLINE_S
    try:
        for _ in wanted:
            session.add(_next(finished, layout, session, bell, deadline))
    except BaseException:
        cancelled.set()
        for thread in threads:
            thread.join(_JOIN_S)
        _take_late_ones(finished, session, wanted)
        raise


def _take_late_ones(
    finished: "queue.SimpleQueue[_Up | BaseException]", session: Session, wanted: Sequence[Place]
) -> None:
    """Hand the session what came up after the failure, so that it is taken down; remove the folders of the others."""
    while not finished.empty():
        if isinstance(late := finished.get(), _Up):
            session.add(late)
    for place in wanted:
        if place.spec.name not in session.mounts():
            remove_folder(place)


def _next(
    finished: "queue.SimpleQueue[_Up | BaseException]", layout: Layout, session: Session, bell: Bell, deadline: float
) -> _Up:
    """Wait for the next input to be there."""
    while finished.empty():
        if bell.stops:
            raise JobError(f"stopped by signal {bell.stops[0]} before the command was started", 128 + bell.stops[0])
        up = session.mounts()
        places = {f"input '{each.spec.name}'": each.spec.name for each in layout.inputs if each.mode == "mount"}
        places |= {f"output '{each.spec.name}'": each.spec.name for each in layout.outputs if each.mounted}
        missing = [called for called, name in places.items() if name not in up]
        if missing and time.monotonic() > deadline:
            raise MountPointError(f"{missing[0]} was not mounted within {MOUNT_DEADLINE_S:g} s; see its store")
        bell.wait(timeout_s=max(0.0, deadline - time.monotonic()) if missing else None)
    result = finished.get()
    if isinstance(result, BaseException):
        raise result
    return result


def _prepare(place: InputPlace, frozen: Frozen, mark: str, cancelled: threading.Event) -> _Up:
    """Bring one input up; on its own thread."""
    if place.folder is None:
        raise ValueError(place.spec.name)
    place.folder.mkdir(parents=True, exist_ok=True)
    if place.mode == "download":
        return _Up(place, counters=_download(place.folder, frozen, cancelled))
    from mountd import client

    mount = client.start(
        frozen.manifest,
        place.folder,
        source=place.spec.dataset,
        credentials=frozen.credentials,
        withheld=frozen.withheld,
        settings=tuning.settings(),
        lifeline=True,
        mark=mark,
        timeout_s=MOUNT_DEADLINE_S,
    )
    return _Up(place, mount)


def _mount_output(place: OutputPlace, destined: MountedOutput, mark: str) -> _Up:
    """Mount one output; on its own thread."""
    from mountd import client

    place.folder.mkdir(parents=True, exist_ok=True)
    mount = client.start_output(
        client.Output(destined.url, place.prefix, destined.spool),
        place.folder,
        credential=destined.credential,
        settings={"spool_dir": str(destined.spool)},
        withheld=destined.withheld,
        lifeline=True,
        mark=mark,
        timeout_s=MOUNT_DEADLINE_S,
    )
    return _Up(place, mount)


def _download(folder: Path, frozen: Frozen, cancelled: threading.Event) -> Counters:
    from mountd.download import download

    def progress(*_: int) -> None:
        if cancelled.is_set():
            raise _CancelledError

    result = download(frozen.manifest, folder, credentials=frozen.credentials, progress=progress, **tuning.download())
    return {
        "reads": {"count": 0, "bytes": 0},
        "fetch": {"requests": result.files if result.fetched_bytes else 0, "bytes": result.fetched_bytes},
        "cache": {"hits": 0, "misses": 0},
    }
