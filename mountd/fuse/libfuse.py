"""The plain driver for inputs: pyfuse3 on libfuse.

The loop (`libfuse_loop`) answers names, attributes and listings from the manifest; a READ goes to a fixed pool of threads,
and its task waits for it: the loop must wait neither for the network nor for the cache's disk.

A file handle is the inode, so there is no state of open files. pyfuse3 has no way to leave opens out or to let the kernel
keep listings: each open and each listing costs requests here which the native driver never sees.
"""

import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pyfuse3
import trio
from pyfuse3 import FUSEError

from mountd.dataset.manifest import Entry, Listed
from mountd.fuse.libfuse_loop import THREADS, Answers, Loop, answering
from mountd.fuse.protocol import FOREVER_S, PAGE_BYTES, Owner
from mountd.vfs import FileSystem

_CHILDREN_AT_ONCE = 64
_STATUS_ATTRIBUTE = b"user.mountd.status"
_DOTS = 2  # positions in a listing: 1 is after '.', 2 after '..', and 2 + inode after that entry


class Driver:
    """Serves one mounted device until the mount ends; `closed` is called once, when the loop has ended."""

    def __init__(
        self, device: int, files: FileSystem, owner: Owner, status: Callable[[], bytes], closed: Callable[[], None]
    ) -> None:
        """`status`: the value of `user.mountd.status`, always of one length."""
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="fuse-read")
        self._loop = Loop(device, _Answers(files, owner, status, self._pool), closed)

    def start(self) -> None:
        """As `Loop.start`."""
        self._loop.start()

    def stop(self) -> None:
        """Take no further request and drop what waits; a read that is under way ends with the process."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._loop.stop()


class _Answers(Answers):
    """What pyfuse3 asks, answered from `files`; what is not here it answers ENOSYS, and changes the kernel refuses."""

    def __init__(self, files: FileSystem, owner: Owner, status: Callable[[], bytes], pool: ThreadPoolExecutor) -> None:
        super().__init__()
        self._files, self._owner, self._status, self._pool = files, owner, status, pool

    @answering
    async def lookup(
        self, parent_inode: pyfuse3.InodeT, name: pyfuse3.FileNameT, _: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """The entry `name` of a directory."""
        return self._attributes(_listed(self._files.lookup(parent_inode, name)))

    @answering
    async def getattr(self, inode: pyfuse3.InodeT, _: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """The attributes of an inode."""
        return self._attributes(_listed(self._files.entry(inode)))

    @answering
    async def open(self, inode: pyfuse3.InodeT, _flags: pyfuse3.FlagT, _: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        """A handle, which is the inode; the kernel keeps the pages it has."""
        return pyfuse3.FileInfo(fh=pyfuse3.FileHandleT(inode), keep_cache=True)

    @answering
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

    @answering
    async def opendir(self, inode: pyfuse3.InodeT, _: pyfuse3.RequestContext) -> pyfuse3.FileHandleT:
        """A handle, which is the inode."""
        return pyfuse3.FileHandleT(inode)

    @answering
    async def readdir(self, fh: pyfuse3.FileHandleT, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        """As much of a listing as there is room for, with attributes."""
        for position, name, entry in self._listing(fh, start_id):
            if not pyfuse3.readdir_reply(token, pyfuse3.FileNameT(name), self._attributes(entry), position):
                break

    async def releasedir(self, fh: pyfuse3.FileHandleT) -> None:
        """Nothing to let go."""

    @answering
    async def statfs(self, _: pyfuse3.RequestContext) -> pyfuse3.StatvfsData:
        """As large as the dataset, and full."""
        files, size_bytes = self._files.totals
        told = pyfuse3.StatvfsData()
        told.f_bsize = told.f_frsize = PAGE_BYTES
        told.f_blocks, told.f_files, told.f_namemax = -(-size_bytes // PAGE_BYTES), files, 255
        return told

    @answering
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
