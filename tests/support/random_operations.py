"""Random operations on two folders at once, byte for byte: `python -m tests.support.random_operations ONE OTHER SEED COUNT`.

One is a mount, the other a plain folder, which says what is right: results, errnos, sizes and bytes must be the same after
every operation. It is a process of its own because a page of the mount that is touched by mmap is waited for with the
interpreter's lock held, which whoever serves the mount from the same process would need.
"""

import errno
import mmap
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

_NAMES = ("a", "b", "c", "caf\u00e9 1")
_FOLDERS = ("", "d/", "e/", "d/f/")
_LARGEST = 300_000
_HANDLES = 4
_PROJECT = Path(__file__).parents[2]


class Twins:
    """The two folders, and files that are open in both."""

    def __init__(self, one: Path, other: Path, seed: int) -> None:
        self._roots = (one, other)
        self._random = random.Random(seed)
        self._open: list[tuple[int, int]] = []
        self.log: list[str] = []

    def step(self) -> None:
        """One operation."""
        acts = (
            (self._write, 8),
            (self._append, 4),
            (self._truncate, 4),
            (self._map, 3),
            (self._read, 6),
            (self._rename, 4),
            (self._unlink, 3),
            (self._mkdir, 3),
            (self._rmdir, 1),
            (self._sync, 2),
            (self._hold, 3),
            (self._through_held, 6),
            (self._let_go, 2),
            (self._look, 3),
            (self._checkpoint, 2),
            (self._touch, 1),
        )
        act = self._random.choices([each for each, _ in acts], [weight for _, weight in acts])[0]
        act()

    def finish(self) -> None:
        """Close what is open, and compare everything."""
        while self._open:
            self._let_go()
        compare(*self._roots)

    def _both(self, what: str, act: Callable[[Path], object], path: str) -> object:
        self.log.append(f"{what} {path}")
        told = [_outcome(act, root / path) for root in self._roots]
        assert told[0] == told[1], f"{what} {path}: {_short(told[0])}, and in a plain folder {_short(told[1])}"
        return told[1]

    def _path(self) -> str:
        return self._random.choice(_FOLDERS) + self._random.choice(_NAMES)

    def _bytes(self) -> bytes:
        return self._random.randbytes(self._random.choice((1, 100, 4096, 5000, 40_000)))

    def _write(self) -> None:
        data, offset, flags = self._bytes(), self._random.randrange(_LARGEST), self._random.choice((0, os.O_TRUNC))

        def act(path: Path) -> object:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | flags, 0o644), "wb", buffering=0) as file:
                return os.pwrite(file.fileno(), data, offset)

        self._both(f"write {len(data)} at {offset}, flags {flags}", act, self._path())

    def _append(self) -> None:
        data = self._bytes()

        def act(path: Path) -> object:
            with path.open("ab") as file:
                return file.write(data), file.tell()

        self._both(f"append {len(data)}", act, self._path())

    def _truncate(self) -> None:
        size = self._random.randrange(_LARGEST)
        self._both(f"truncate to {size}", lambda path: os.truncate(path, size), self._path())

    def _map(self) -> None:
        data, place = self._random.randbytes(3000), self._random.random()

        def act(path: Path) -> object:
            with path.open("r+b") as file:
                size = file.seek(0, os.SEEK_END)
                if size < len(data):
                    return size
                with mmap.mmap(file.fileno(), size) as pages:
                    offset = int(place * (size - len(data)))
                    before = bytes(pages[offset : offset + len(data)])
                    pages[offset : offset + len(data)] = data
                    return before

        self._both("mmap write", act, self._path())

    def _read(self) -> None:
        offset, size = self._random.randrange(_LARGEST), self._random.choice((1, 5000, _LARGEST))

        def act(path: Path) -> object:
            with path.open("rb", buffering=0) as file:
                return os.pread(file.fileno(), size, offset)

        self._both(f"read {size} at {offset}", act, self._path())

    def _rename(self) -> None:
        target = self._path()

        def act(path: Path) -> object:
            root = next(root for root in self._roots if path.is_relative_to(root))
            path.rename(root / target)
            return None

        self._both(f"rename to {target}", act, self._path())

    def _unlink(self) -> None:
        self._both("unlink", os.unlink, self._path())

    def _mkdir(self) -> None:
        self._both("mkdir", lambda path: path.mkdir(0o755), self._random.choice(("d", "e", "d/f")))

    def _rmdir(self) -> None:
        self._both("rmdir", os.rmdir, self._random.choice(("d", "e", "d/f", "a")))

    def _sync(self) -> None:
        def act(path: Path) -> object:
            with path.open("rb") as file:
                os.fsync(file.fileno())
            return None

        self._both("fsync", act, self._path())

    def _hold(self) -> None:
        if len(self._open) >= _HANDLES:
            return
        path, flags = self._path(), self._random.choice((0, os.O_APPEND)) | os.O_RDWR
        self.log.append(f"hold {path}")
        held: list[int] = []
        for root in self._roots:
            try:
                held.append(os.open(root / path, flags))
            except OSError:
                held.append(-1)
        assert (held[0] < 0) == (held[1] < 0), f"open {path}: {held}"
        if held[0] >= 0:
            self._open.append((held[0], held[1]))

    def _through_held(self) -> None:
        """Write, cut, look and read through a handle, whose file may have another name or none by now."""
        if not self._open:
            return
        pair = self._random.choice(self._open)
        data, offset = self._bytes(), self._random.randrange(_LARGEST)
        act = self._random.choice((os.pwrite, None, os.ftruncate, os.fsync))
        self.log.append(f"held {act} {offset}")
        for each in pair:
            if act is os.pwrite:
                os.pwrite(each, data, offset)
            elif act is os.ftruncate:
                os.ftruncate(each, offset)
            elif act is os.fsync:
                os.fsync(each)
        seen = [(os.fstat(each).st_size, os.pread(each, _LARGEST * 2, 0)) for each in pair]
        assert seen[0] == seen[1], "what is read through a handle differs"

    def _let_go(self) -> None:
        if self._open:
            for each in self._open.pop(self._random.randrange(len(self._open))):
                os.close(each)

    def _look(self) -> None:
        self._both(
            "list",
            lambda path: sorted(each.name for each in path.iterdir()),
            self._random.choice(("", "d", "e", "d/f")),
        )
        self._both("stat", lambda path: (path.stat().st_size, path.stat().st_mode), self._path())

    def _checkpoint(self) -> None:
        """Write a file under another name, make it durable, and put it in the place of the last one."""
        data = self._bytes()

        def act(path: Path) -> object:
            draft = path.with_name("draft")
            with draft.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
            return None

        self._both(f"checkpoint {len(data)}", act, self._path())

    def _touch(self) -> None:
        stamp, mode = self._random.randrange(1 << 30), self._random.choice((0o600, 0o644, 0o755))

        def act(path: Path) -> object:
            os.utime(path, (stamp, stamp))
            path.chmod(mode)
            return path.stat().st_mtime, path.stat().st_mode

        self._both("touch", act, self._path())


def compare(one: Path, other: Path) -> None:
    """See that two folders hold the same names and bytes."""
    trees = [{str(path.relative_to(root)): path for path in root.rglob("*")} for root in (one, other)]
    assert trees[0].keys() == trees[1].keys(), f"{sorted(trees[0])} and {sorted(trees[1])}"
    for name, path in trees[0].items():
        assert path.is_dir() == trees[1][name].is_dir(), name
        assert path.is_dir() or path.read_bytes() == trees[1][name].read_bytes(), f"{name}: other bytes"


def _outcome(act: Callable[[Path], object], path: Path) -> object:
    try:
        return act(path)
    except OSError as error:
        # A plain folder tells a full one by either of the two, as POSIX allows.
        return {errno.EEXIST: errno.ENOTEMPTY}.get(error.errno or 0, error.errno), "errno"


def _short(told: object) -> str:
    return repr(told)[:200]


def run(one: Path, other: Path, seed: int, count: int) -> None:
    """Do `count` operations in a process of their own; fail the test where the two folders differ."""
    command = [sys.executable, "-m", "tests.support.random_operations", str(one), str(other), str(seed), str(count)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=_PROJECT, check=False)
    assert done.returncode == 0, done.stderr


def main() -> None:
    """Do as the command line says; the last operations are told when one of them differs."""
    one, other, seed, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    twins = Twins(one, other, seed)
    try:
        for _ in range(count):
            twins.step()
        twins.finish()
    except AssertionError as error:
        sys.exit(f"seed {seed}, operation {len(twins.log)}: {error}\n" + "\n".join(twins.log[-30:]))


if __name__ == "__main__":
    main()
