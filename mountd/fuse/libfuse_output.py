"""The driver of an output: pyfuse3 on libfuse, read-write, over a `Tree`.

Every call of the tree goes to a thread, because any of them may wait for a disk or the store. Calls that touch one file's
bytes or size go one after the other, in the order in which the kernel asked (`_InOrder`); names are the kernel's own to
order: it holds the folder's lock while it asks.

There is no write-back cache in the kernel: a `write` that returned is in the spool, so that a worker which is killed loses
nothing that was acknowledged. Pages stay in the kernel for reads and for mmap; whatever changes a file comes through it.
What the kernel sends for a page that was written by mmap comes with any open handle of the file, so O_APPEND, which the
kernel has resolved to an offset already, is kept from the tree: it would move such a page to the end of the file.

Links, devices and owners other than ours are refused: an object in a store is none of these. Extended attributes are
answered ENOSYS, once: else the kernel would ask for one before each write. Locks are the kernel's, on this machine.

Invariant: a file's handle is forgotten here only after the tree has released it.
"""

import errno
import itertools
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import NoReturn, ParamSpec, TypeVar

import pyfuse3
import trio
from pyfuse3 import FUSEError

from mountd.fuse.libfuse_loop import THREADS, Answers, Loop, answering
from mountd.fuse.protocol import PAGE_BYTES, Owner
from mountd.uploading.tree import NAME_BYTES, Attributes, Tree

_FRESH_S = 60.0  # nothing changes but through the kernel; so it is only to bound a mistake
_MODE_BITS = 0o7777

_Given = ParamSpec("_Given")
_Answer = TypeVar("_Answer")


class Driver:
    """Serves one mounted device until the mount ends; `closed` is called once, when the loop has ended."""

    def __init__(self, device: int, tree: Tree, owner: Owner, closed: Callable[[], None]) -> None:
        self._answers = _OutputAnswers(tree, owner)
        self._loop = Loop(device, self._answers, closed)

    @property
    def open_files(self) -> int:
        """How many handles the kernel holds; any thread may ask."""
        return self._answers.open_files

    def start(self) -> None:
        """As `Loop.start`."""
        self._loop.start()

    def stop(self) -> None:
        """Take no further request; a call of the tree that is under way is waited for by its thread alone."""
        self._loop.stop()


class _InOrder:
    """A turn for each inode: whoever came first is served first. Touched by the loop's thread only."""

    def __init__(self) -> None:
        self._locks: dict[int, trio.Lock] = {}
        self._waiting: Counter[int] = Counter()

    @asynccontextmanager
    async def turn(self, inode: int) -> AsyncIterator[None]:
        lock = self._locks.setdefault(inode, trio.Lock())
        self._waiting[inode] += 1
        try:
            async with lock:
                yield
        finally:
            self._waiting[inode] -= 1
            if not self._waiting[inode]:
                del self._waiting[inode], self._locks[inode]


@dataclass(slots=True)
class _Listing:
    """An open directory, and its entries as they were when it was read from its beginning."""

    inode: int
    entries: list[tuple[bytes, Attributes]]


class _OutputAnswers(Answers):
    """What pyfuse3 asks, answered from `tree`."""

    def __init__(self, tree: Tree, owner: Owner) -> None:
        super().__init__()
        self._tree, self._owner = tree, owner
        self._threads = trio.CapacityLimiter(THREADS)
        self._order = _InOrder()
        self._inodes: dict[int, int] = {}  # of open handles
        self._listings: dict[int, _Listing] = {}
        self._numbers = itertools.count(1)

    @property
    def open_files(self) -> int:
        """How many handles are open."""
        return len(self._inodes)

    @answering
    async def lookup(
        self, parent_inode: pyfuse3.InodeT, name: pyfuse3.FileNameT, _: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """The entry `name` of a directory."""
        return self._told(await self._ask(self._tree.lookup, parent_inode, name))

    @answering
    async def getattr(self, inode: pyfuse3.InodeT, _: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """The attributes of an inode."""
        return self._told(await self._ask(self._tree.attributes, inode))

    @answering
    async def setattr(
        self,
        inode: pyfuse3.InodeT,
        attr: pyfuse3.EntryAttributes,
        fields: pyfuse3.SetattrFields,
        _fh: pyfuse3.FileHandleT | None,
        _: pyfuse3.RequestContext,
    ) -> pyfuse3.EntryAttributes:
        """Size, mode and modification time; an owner only if it is the one that all files have."""
        if (fields.update_uid and attr.st_uid != self._owner.uid) or (
            fields.update_gid and attr.st_gid != self._owner.gid
        ):
            raise FUSEError(errno.EPERM)
        async with self._order.turn(inode):
            if fields.update_size:
                await self._ask(self._tree.truncate, inode, attr.st_size)
            change = partial(
                self._tree.set_attributes,
                inode,
                mode=attr.st_mode & _MODE_BITS if fields.update_mode else None,
                mtime_ns=attr.st_mtime_ns if fields.update_mtime else None,
            )
            if fields.update_mode or fields.update_mtime:
                return self._told(await self._ask(change))
            return self._told(await self._ask(self._tree.attributes, inode))

    @answering
    async def create(
        self,
        parent_inode: pyfuse3.InodeT,
        name: pyfuse3.FileNameT,
        mode: pyfuse3.ModeT,
        flags: pyfuse3.FlagT,
        _: pyfuse3.RequestContext,
    ) -> tuple[pyfuse3.FileInfo, pyfuse3.EntryAttributes]:
        """Make a file and open it."""
        make = partial(
            self._tree.create,
            parent_inode,
            name,
            mode & _MODE_BITS,
            flags & ~os.O_APPEND,
            exclusive=bool(flags & os.O_EXCL),
        )
        attributes, handle = await self._ask(make)
        return self._opened(handle, attributes.inode), self._told(attributes)

    @answering
    async def open(self, inode: pyfuse3.InodeT, flags: pyfuse3.FlagT, _: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        """Open a file; with O_TRUNC it is empty then."""
        async with self._order.turn(inode):
            return self._opened(await self._ask(self._tree.open, inode, flags & ~os.O_APPEND), inode)

    @answering
    async def read(self, fh: pyfuse3.FileHandleT, off: int, size: int) -> bytes:
        """Bytes of an open file."""
        async with self._order.turn(self._inodes[fh]):
            return await self._ask(self._tree.read, fh, off, size)

    @answering
    async def write(self, fh: pyfuse3.FileHandleT, off: int, buf: bytes) -> int:
        """Put bytes into the spool."""
        async with self._order.turn(self._inodes[fh]):
            return await self._ask(self._tree.write, fh, off, buf)

    @answering
    async def flush(self, fh: pyfuse3.FileHandleT) -> None:
        """One close(2), whose outcome the closing process hears."""
        async with self._order.turn(self._inodes[fh]):
            await self._ask(self._tree.flush, fh)

    @answering
    async def fsync(self, fh: pyfuse3.FileHandleT, _datasync: bool) -> None:  # noqa: FBT001  # pyfuse3's signature
        """Return when it is durable."""
        async with self._order.turn(self._inodes[fh]):
            await self._ask(self._tree.fsync, fh)

    @answering
    async def release(self, fh: pyfuse3.FileHandleT) -> None:
        """The last close of a handle."""
        async with self._order.turn(self._inodes[fh]):
            try:
                await self._ask(self._tree.release, fh)
            finally:
                del self._inodes[fh]

    @answering
    async def mkdir(
        self,
        parent_inode: pyfuse3.InodeT,
        name: pyfuse3.FileNameT,
        mode: pyfuse3.ModeT,
        _: pyfuse3.RequestContext,
    ) -> pyfuse3.EntryAttributes:
        """Make a directory."""
        return self._told(await self._ask(self._tree.mkdir, parent_inode, name, mode & _MODE_BITS))

    @answering
    async def rmdir(self, parent_inode: pyfuse3.InodeT, name: pyfuse3.FileNameT, _: pyfuse3.RequestContext) -> None:
        """Remove an empty directory."""
        await self._ask(self._tree.rmdir, parent_inode, name)

    @answering
    async def unlink(self, parent_inode: pyfuse3.InodeT, name: pyfuse3.FileNameT, _: pyfuse3.RequestContext) -> None:
        """Take a name away."""
        await self._ask(self._tree.unlink, parent_inode, name)

    @answering
    async def rename(
        self,
        parent_inode_old: pyfuse3.InodeT,
        name_old: pyfuse3.FileNameT,
        parent_inode_new: pyfuse3.InodeT,
        name_new: pyfuse3.FileNameT,
        flags: pyfuse3.FlagT,
        _: pyfuse3.RequestContext,
    ) -> None:
        """Move a name, perhaps over another."""
        await self._ask(self._tree.rename, parent_inode_old, name_old, parent_inode_new, name_new, flags)

    @answering
    async def opendir(self, inode: pyfuse3.InodeT, _: pyfuse3.RequestContext) -> pyfuse3.FileHandleT:
        """A handle for a listing, which is read when it is asked for."""
        number = next(self._numbers)
        self._listings[number] = _Listing(inode, [])
        return pyfuse3.FileHandleT(number)

    @answering
    async def readdir(self, fh: pyfuse3.FileHandleT, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        """As much of a listing as there is room for; from its beginning it is made anew, as rewinddir(3) wants."""
        listing = self._listings[fh]
        if start_id == 0:
            own = await self._ask(self._tree.attributes, listing.inode)
            # The parent's number is not known here, and programs take `..` by its name.
            listing.entries = [(b".", own), (b"..", own), *await self._ask(self._tree.names, listing.inode)]
        for position, (name, attributes) in enumerate(listing.entries[start_id:], start_id + 1):
            if not pyfuse3.readdir_reply(token, pyfuse3.FileNameT(name), self._told(attributes), position):
                break

    @answering
    async def releasedir(self, fh: pyfuse3.FileHandleT) -> None:
        """Let a listing go."""
        del self._listings[fh]

    @answering
    async def fsyncdir(self, fh: pyfuse3.FileHandleT, _datasync: bool) -> None:  # noqa: FBT001  # pyfuse3's signature
        """Return when the names are durable."""
        await self._ask(self._tree.fsync_directory, self._listings[fh].inode)

    @answering
    async def statfs(self, _: pyfuse3.RequestContext) -> pyfuse3.StatvfsData:
        """The room in the spool."""
        space = await self._ask(self._tree.statfs)
        told = pyfuse3.StatvfsData()
        told.f_bsize = told.f_frsize = PAGE_BYTES
        told.f_blocks = space.limit_bytes // PAGE_BYTES
        told.f_bfree = told.f_bavail = space.free_bytes // PAGE_BYTES
        told.f_files, told.f_namemax = space.files, NAME_BYTES
        return told

    async def link(self, *_: object) -> NoReturn:
        """Refused: an object has one name."""
        raise FUSEError(errno.EPERM)

    async def symlink(self, *_: object) -> NoReturn:
        """Refused: an object is no link."""
        raise FUSEError(errno.EPERM)

    async def mknod(self, *_: object) -> NoReturn:
        """Refused: an object is no pipe, socket or device."""
        raise FUSEError(errno.EPERM)

    async def forget(self, inode_list: object) -> None:
        """Nothing: the tree keeps an inode for as long as it has a name or a handle."""

    async def _ask(self, call: Callable[_Given, _Answer], *args: _Given.args, **named: _Given.kwargs) -> _Answer:
        """`call` on a thread; an OSError is for the process that asked."""
        try:
            return await trio.to_thread.run_sync(partial(call, *args, **named), limiter=self._threads)
        except OSError as error:
            raise FUSEError(error.errno or errno.EIO) from None

    def _opened(self, handle: int, inode: int) -> pyfuse3.FileInfo:
        self._inodes[handle] = inode
        return pyfuse3.FileInfo(fh=pyfuse3.FileHandleT(handle), keep_cache=True)

    def _told(self, attributes: Attributes) -> pyfuse3.EntryAttributes:
        told = pyfuse3.EntryAttributes()
        told.st_ino = pyfuse3.InodeT(attributes.inode)
        told.entry_timeout = told.attr_timeout = _FRESH_S
        told.st_mode = pyfuse3.ModeT(attributes.st_mode)
        told.st_nlink = 2 if attributes.is_directory else 1
        told.st_uid, told.st_gid = self._owner.uid, self._owner.gid
        told.st_size, told.st_blocks = attributes.size, -(-attributes.size // 512)
        told.st_atime_ns = told.st_mtime_ns = told.st_ctime_ns = max(0, attributes.mtime_ns)
        return told
