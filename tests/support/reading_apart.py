"""A program that reads files in many ways and compares them with plain ones, apart from the test process.

Apart, because a page that cannot be had is SIGBUS under mmap, and because a test process with threads must not fork. It gets
`[number of threads, [[way, file, plain file, offset, size, drop], ...]]` as JSON on its standard input, and prints a line
`number verdict` for each read as it ends. Standard library only, so that it starts at once.

Ways: pread · seek (and read) · mmap · dup (seek in the copy, read from the original) · fork (seek in the parent, read in the
child). With `drop`, the file's pages are dropped first, so that the read reaches the mount and not the kernel's memory.

Verdicts: `right` · `errno N` (also: a shorter read, whose next byte is that errno) · `short N` · `wrong at N`.
"""

import json
import mmap
import os
import sys
from concurrent.futures import ThreadPoolExecutor

Read = tuple[str, str, str, int, int, bool]


def main() -> None:
    """Do all the reads of the order: those that fork first, while there are no threads."""
    threads, reads = json.load(sys.stdin)
    numbered = list(enumerate(reads))
    children = {_forked(number, read): number for number, read in numbered if read[0] == "fork"}
    with ThreadPoolExecutor(threads) as pool:
        for number, read in numbered:
            if read[0] != "fork":
                pool.submit(_tell, number, read)
    for child, number in children.items():
        if status := os.waitpid(child, 0)[1]:
            _say(number, f"wrong at 0: the child ended with status {status}")


def _tell(number: int, read: Read) -> None:
    _say(number, verdict_of(read))


def _forked(number: int, read: Read) -> int:
    """Open the file and seek here, and read it in a child; return the child."""
    descriptor = os.open(read[1], os.O_RDONLY)
    os.lseek(descriptor, read[3], os.SEEK_SET)
    child = os.fork()
    if not child:
        _say(number, verdict_of(read, descriptor))
        os._exit(0)
    os.close(descriptor)
    return child


def forked(read: Read) -> str:
    """The verdict of a child of a process without threads, which inherits the open file."""
    receiver, sender = os.pipe()
    descriptor = os.open(read[1], os.O_RDONLY)
    os.lseek(descriptor, read[3], os.SEEK_SET)
    child = os.fork()
    if not child:
        os.write(sender, verdict_of(read, descriptor).encode())
        os._exit(0)
    os.close(descriptor)
    os.close(sender)
    with os.fdopen(receiver) as stream:
        told = stream.read()
    status = os.waitpid(child, 0)[1]
    return told if not status else f"wrong at 0: the child ended with status {status}"


def verdict_of(read: Read, inherited: int | None = None) -> str:
    """Read, compare, and say what came of it."""
    way, path, plain, offset, size, drop = read
    descriptor = os.open(path, os.O_RDONLY) if inherited is None else inherited
    try:
        if drop:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        try:
            data = _read(way, descriptor, offset, size)
        except OSError as error:
            return f"errno {error.errno}"
        return _compared(descriptor, data, _expected(plain, offset, size), offset)
    finally:
        os.close(descriptor)


def _read(way: str, descriptor: int, offset: int, size: int) -> bytes:
    if way == "pread":
        return os.pread(descriptor, size, offset)
    if way == "seek":
        os.lseek(descriptor, offset, os.SEEK_SET)
    elif way == "dup":
        copy = os.dup(descriptor)
        os.lseek(copy, offset, os.SEEK_SET)
        os.close(copy)
    elif way == "mmap":
        if not os.fstat(descriptor).st_size:
            return b""
        with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as mapped:
            return mapped[offset : offset + size]
    return os.read(descriptor, size)


def _expected(plain: str, offset: int, size: int) -> bytes:
    descriptor = os.open(plain, os.O_RDONLY)
    try:
        return os.pread(descriptor, size, offset)
    finally:
        os.close(descriptor)


def _compared(descriptor: int, data: bytes, expected: bytes, offset: int) -> str:
    if data == expected:
        return "right"
    if expected.startswith(data):
        try:
            os.pread(descriptor, 1, offset + len(data))
        except OSError as error:
            return f"errno {error.errno}"
        return f"short {len(data)} of {len(expected)}"
    first = next((at for at, pair in enumerate(zip(data, expected, strict=False)) if pair[0] != pair[1]), len(expected))
    return f"wrong at {offset + first}"


def _say(number: int, verdict: str) -> None:
    os.write(1, f"{number} {verdict}\n".encode())  # one call: threads and children share the pipe


if __name__ == "__main__":
    main()
