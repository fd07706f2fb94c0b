"""The journal of a run's metrics: append-only files of JSON lines, one for each process that logs.

    runs/<run id>/metrics/<host>-<pid>.jsonl

An entry is one `write` to a file opened with O_APPEND, so that threads, forked workers and ranks lose nothing,
and kill -9 costs at most the entry that is under way. There is no state between two entries: a fork needs no care, and a
second process that gets the same number after the first one's end goes on in its file. A file for each process also holds
where runs lie on a network's file system, which cannot append for two hosts at once.

Every entry begins with a line's end as well: behind one that was torn (a kill, a full disk) the next is whole. A line that
is no entry is skipped, and reading says so. Reading merges by the time of logging; what a process logged stays in order.
"""

import heapq
import json
import os
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.errors import UserErrorException
from runtime.tracking.values import MAX_ENTRY_BYTES

_FOLDER = "metrics"


@dataclass(frozen=True, slots=True)
class Entry:
    """One call of `log` or its kin; `time_s` is in seconds since 1970."""

    time_s: float
    name: str
    kind: str
    value: Any
    step: int | None = None
    description: str = ""


def append(folder: Path, name: str, kind: str, value: object, step: int | None = None, description: str = "") -> None:
    """Add an entry to the journal of the run in `folder`.

    Raises:
        UserErrorException: the entry is larger than one may be.
        OSError: the disk does not take it; what was written of it is skipped by readers.
    """
    told: dict[str, Any] = {"time": time.time(), "name": name, "kind": kind, "value": value}
    if step is not None:
        told["step"] = step
    if description:
        told["description"] = description
    line = f"\n{json.dumps(told)}\n".encode()
    if len(line) > MAX_ENTRY_BYTES:
        raise UserErrorException(
            f"metric {name!r}: {len(line)} bytes in one call, {MAX_ENTRY_BYTES} is the most; upload_file takes any size"
        )
    where = folder / _FOLDER
    path = where / f"{socket.gethostname() or 'host'}-{os.getpid()}.jsonl"
    try:
        descriptor = _open(path)
    except FileNotFoundError:  # the first entry of the run
        where.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = _open(path)
    try:
        if os.write(descriptor, line) != len(line):
            raise OSError(28, "No space left on device", str(path))
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


def read(folder: Path) -> tuple[Sequence[Entry], Sequence[str]]:
    """All entries of the run in `folder`, merged by time, and a line about each file in which something was skipped."""
    torn: dict[Path, int] = {}
    paths = sorted((folder / _FOLDER).glob("*.jsonl"))
    merged = list(heapq.merge(*(_entries(path, torn) for path in paths), key=lambda entry: entry.time_s))
    return merged, [
        f"{path}: {count} torn lines skipped (a process died while it logged)" for path, count in torn.items()
    ]


def _entries(path: Path, torn: dict[Path, int]) -> Iterator[Entry]:
    with path.open("rb") as file:
        for line in file:
            if not line.strip():
                continue
            entry = _entry(line)
            if entry is None:
                torn[path] = torn.get(path, 0) + 1
            else:
                yield entry


def _entry(line: bytes) -> Entry | None:
    try:
        told = json.loads(line)
        return Entry(
            float(told["time"]),
            str(told["name"]),
            str(told["kind"]),
            told["value"],
            told.get("step"),
            str(told.get("description", "")),
        )
    except (ValueError, KeyError, TypeError):
        return None


def say_skipped(lines: Sequence[str]) -> None:
    """Tell whoever reads that something was skipped."""
    for line in lines:
        print(f"moorage: {line}", file=sys.stderr)  # noqa: T201 # a line for the user, not a log
