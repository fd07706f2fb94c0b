"""The plain driver: pyfuse3 on libfuse, in a trio loop on a thread of its own.

`mounting` makes the mount, as for the native driver, and libfuse takes over the open device (a mount point called
/dev/fd/N), so that options, rights and the end of a mount are one code for both. The loop answers names, attributes and
listings from the manifest; a READ goes to a fixed pool of threads, and its task waits for it: the loop must wait neither for
the network nor for the cache's disk.

A file handle is the inode, so there is no state of open files. pyfuse3 has no way to leave opens out or to let the kernel
keep listings: each open and each listing costs requests here which the native driver never sees.

Invariant: whatever a handler meets becomes an errno in `_answering`; anything else that left it would end the mount.
"""

import errno
import functools
import logging
import os
import stat
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar

import pyfuse3
import trio
from pyfuse3 import FUSEError

from mountd.dataset.manifest import Entry, Listed
from mountd.errors import FuseUnavailableError, MountdError
from mountd.fuse.protocol import FOREVER_S, PAGE_BYTES, Owner
from mountd.vfs import FileSystem

_LOG = logging.getLogger(__name__)
_READ_THREADS = 64
_TASKS = 4 * _READ_THREADS  # requests taken at once; more of them stay in the kernel
_CHILDREN_AT_ONCE = 64
_INIT_TIMEOUT_S = 20.0
_STATUS_ATTRIBUTE = b"user.mountd.status"
_DOTS = 2  # positions in a listing: 1 is after '.', 2 after '..', and 2 + inode after that entry

_Given = ParamSpec("_Given")
_Answer = TypeVar("_Answer")


class Driver:
    """Serves one mounted device until the mount ends; `closed` is called once, when the loop has ended."""

    def __init__(
        self, device: int, files: FileSystem, owner: Owner, status: Callable[[], bytes], closed: Callable[[], None]
    ) -> None:
        """`status`: the value of `user.mountd.status`, always of one length."""
        self._device, self._closed = device, closed
        self._pool = ThreadPoolExecutor(_READ_THREADS, thread_name_prefix="fuse-read")
        self._answers = _Answers(files, owner, status, self._pool)
        self._scope = trio.CancelScope()
        self._thread = threading.Thread(target=self._serve, name="fuse-loop", daemon=True)

    def start(self) -> None:
        """Agree with the kernel and begin to serve.

        Raises:
            FuseUnavailableError: libfuse is too old, or does not agree with this kernel.
        """
        _keep_its_log()
        try:
            pyfuse3.init(self._answers, f"/dev/fd/{self._device}", set())
        except RuntimeError as error:
            raise FuseUnavailableError(f"{error}; libfuse 3.3 or newer is needed") from None
        self._thread.start()
        if not self._answers.agreed.wait(_INIT_TIMEOUT_S):
            raise FuseUnavailableError("libfuse and the kernel did not agree; the lines above say why")

    def stop(self) -> None:
        """Take no further request and drop what waits; a read that is under way ends with the process."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        if (loop := self._answers.loop) is not None:
            with suppress(trio.RunFinishedError):
                loop.run_sync_soon(self._scope.cancel)

    def _serve(self) -> None:
        try:
            trio.run(self._until_ended)
        except Exception:  # noqa: BLE001  # the mount must be ended, whatever ended its loop
            _LOG.exception("the loop of libfuse ended")
        finally:
            self._closed()

    async def _until_ended(self) -> None:
        self._answers.loop = trio.lowlevel.current_trio_token()
        with self._scope:
            await pyfuse3.main(max_tasks=_TASKS)


def _answering(
    handler: Callable[_Given, Awaitable[_Answer]],
) -> Callable[_Given, Coroutine[Any, Any, _Answer]]:
    """`handler` whose every failure is an errno; pyfuse3 takes no other exception."""

    @functools.wraps(handler)
    async def answer(*args: _Given.args, **named: _Given.kwargs) -> _Answer:
        try:
            return await handler(*args, **named)
        except FUSEError:
            raise
        except MountdError as error:
            raise FUSEError(error.errno) from None
        except Exception:  # noqa: BLE001  # the mount must go on
            _LOG.exception("defect: %s of %s", handler.__name__, args[1:2])
            raise FUSEError(errno.EIO) from None

    return answer


class _Answers(pyfuse3.Operations):
    """What pyfuse3 asks, answered from `files`; what is not here it answers ENOSYS, and changes the kernel refuses."""

    supports_dot_lookup = False

    def __init__(self, files: FileSystem, owner: Owner, status: Callable[[], bytes], pool: ThreadPoolExecutor) -> None:
        self._files, self._owner, self._status, self._pool = files, owner, status, pool
        self.agreed = threading.Event()
        self.loop: trio.lowlevel.TrioToken | None = None

    def init(self) -> None:
        """The kernel has been asked what it can; the answer to it goes out before the loop does anything else."""
        trio.lowlevel.current_trio_token().run_sync_soon(self.agreed.set)

    @_answering
    async def lookup(
        self, parent_inode: pyfuse3.InodeT, name: pyfuse3.FileNameT, _: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """The entry `name` of a directory."""
        return self._attributes(_listed(self._files.lookup(parent_inode, name)))

    @_answering
    async def getattr(self, inode: pyfuse3.InodeT, _: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """The attributes of an inode."""
        return self._attributes(_listed(self._files.entry(inode)))

    @_answering
    async def open(self, inode: pyfuse3.InodeT, _flags: pyfuse3.FlagT, _: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        """A handle, which is the inode; the kernel keeps the pages it has."""
        return pyfuse3.FileInfo(fh=pyfuse3.FileHandleT(inode), keep_cache=True)

    @_answering
    async def read(self, fh: pyfuse3.FileHandleT, off: int, size: int) -> bytes:
        """Bytes of an open file, by a thread of the pool."""
        done = trio.Event()
        loop = trio.lowlevel.current_trio_token()

        def tell(_: object) -> None:
            with suppress(trio.RunFinishedError):  # the mount ended meanwhile
                loop.run_sync_soon(done.set)

        future = self._pool.submit(self._read, fh, off, size)
        future.add_done_callback(tell)
        await done.wait()
        return future.result()

    async def release(self, fh: pyfuse3.FileHandleT) -> None:
        """Nothing to let go."""

    @_answering
    async def opendir(self, inode: pyfuse3.InodeT, _: pyfuse3.RequestContext) -> pyfuse3.FileHandleT:
        """A handle, which is the inode."""
        return pyfuse3.FileHandleT(inode)

    @_answering
    async def readdir(self, fh: pyfuse3.FileHandleT, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        """As much of a listing as there is room for, with attributes."""
        for position, name, entry in self._listing(fh, start_id):
            if not pyfuse3.readdir_reply(token, pyfuse3.FileNameT(name), self._attributes(entry), position):
                break

    async def releasedir(self, fh: pyfuse3.FileHandleT) -> None:
        """Nothing to let go."""

    @_answering
    async def statfs(self, _: pyfuse3.RequestContext) -> pyfuse3.StatvfsData:
        """As large as the dataset, and full."""
        files, size_bytes = self._files.totals
        told = pyfuse3.StatvfsData()
        told.f_bsize = told.f_frsize = PAGE_BYTES
        told.f_blocks, told.f_files, told.f_namemax = -(-size_bytes // PAGE_BYTES), files, 255
        return told

    @_answering
    async def getxattr(self, _inode: pyfuse3.InodeT, name: pyfuse3.XAttrNameT, _: pyfuse3.RequestContext) -> bytes:
        """The status of the mount, whatever file is asked for it."""
        if name != _STATUS_ATTRIBUTE:
            raise FUSEError(pyfuse3.ENOATTR)
        return self._status()

    def _read(self, inode: int, offset: int, size: int) -> bytes:
        return b"".join(self._files.read(inode, offset, size))

    def _listing(self, inode: int, position: int) -> Iterator[tuple[int, bytes, Listed]]:
        """Yield (position of the next, name, what is told of it) of what comes after `position`."""
        if position < 1:
            yield 1, b".", _listed(self._files.entry(inode))
        if position < _DOTS:
            yield _DOTS, b"..", _listed(self._files.entry(self._files.entry(inode).parent))
        after = max(0, position - _DOTS)
        while children := self._files.children(inode, after, _CHILDREN_AT_ONCE):
            for child in children:
                after, name, *_ = child
                yield after + _DOTS, name, child

    def _attributes(self, listed: Listed) -> pyfuse3.EntryAttributes:
        """Files 0444, directories 0555, all times the entry's own; they hold for ever."""
        inode, _, is_directory, size, mtime_ns = listed
        told = pyfuse3.EntryAttributes()
        told.st_ino = pyfuse3.InodeT(inode)
        told.entry_timeout = told.attr_timeout = FOREVER_S
        told.st_mode = pyfuse3.ModeT(stat.S_IFDIR | 0o555 if is_directory else stat.S_IFREG | 0o444)
        told.st_uid, told.st_gid = self._owner.uid, self._owner.gid
        told.st_size, told.st_blocks = size, -(-size // 512)
        told.st_atime_ns = told.st_mtime_ns = told.st_ctime_ns = max(0, mtime_ns)
        return told


def _listed(entry: Entry) -> Listed:
    return entry.inode, entry.name, int(entry.is_directory), entry.size, entry.mtime_ns


def _keep_its_log() -> None:
    """What pyfuse3 logs goes where ours goes; that a reader went away before its answer is no news."""
    theirs = logging.getLogger("pyfuse3")
    theirs.parent = _LOG
    theirs.addFilter(lambda record: os.strerror(errno.ENOENT) not in record.getMessage())
