"""The plainest tree of an output: everything in memory, one lock around it all.

It is for tests of the driver, which must not depend on how outputs are staged. `refusal` makes the next calls of one name
fail as the test wants; `calls` counts what was asked.
"""

import errno
import itertools
import os
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

from mountd.uploading.tree import RENAME_NOREPLACE, ROOT, Attributes, Space

LIMIT_BYTES = 64 << 20


@dataclass(slots=True)
class _Node:
    inode: int
    is_directory: bool
    mode: int
    mtime_ns: int = field(default_factory=time.time_ns)
    data: bytearray = field(default_factory=bytearray)
    children: dict[bytes, int] = field(default_factory=dict)
    names: int = 1
    handles: int = 0


class MemoryTree:
    """A `Tree`; the lock protects all of it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._numbers = itertools.count(ROOT)
        self._nodes: dict[int, _Node] = {}
        self._handles: dict[int, tuple[_Node, int]] = {}
        self.calls: Counter[str] = Counter()
        self.refusal: dict[str, int] = {}
        self._make(is_directory=True, mode=0o755)

    def lookup(self, parent: int, name: bytes) -> Attributes:
        with self._lock:
            return _told(self._child(parent, name))

    def attributes(self, inode: int) -> Attributes:
        with self._lock:
            return _told(self._node(inode))

    def names(self, inode: int) -> list[tuple[bytes, Attributes]]:
        with self._lock:
            found = self._folder(inode).children
            return [(name, _told(self._nodes[number])) for name, number in sorted(found.items())]

    def create(
        self, parent: int, name: bytes, mode: int, flags: int = os.O_RDWR, *, exclusive: bool = False
    ) -> tuple[Attributes, int]:
        with self._lock:
            self._begin("create")
            folder = self._folder(parent)
            if name in folder.children:
                if exclusive:
                    raise OSError(errno.EEXIST, "exists")
                inode = folder.children[name]
            else:
                inode = folder.children[name] = self._make(is_directory=False, mode=mode)
            handle = self.open(inode, flags)
            return _told(self._nodes[inode]), handle

    def open(self, inode: int, flags: int) -> int:
        with self._lock:
            self._begin("open")
            node = self._file(inode)
            if flags & os.O_TRUNC:
                self.truncate(inode, 0)
            handle = next(self._numbers)
            node.handles += 1
            self._handles[handle] = node, flags
            return handle

    def read(self, handle: int, offset: int, size: int) -> bytes:
        with self._lock:
            self._begin("read")
            return bytes(self._handles[handle][0].data[offset : offset + size])

    def write(self, handle: int, offset: int, data: bytes | memoryview) -> int:
        with self._lock:
            self._begin("write")
            node, flags = self._handles[handle]
            if flags & os.O_APPEND:
                offset = len(node.data)
            if max(offset + len(data), len(node.data)) > LIMIT_BYTES:
                raise OSError(errno.ENOSPC, "full")
            node.data.extend(bytes(max(0, offset - len(node.data))))
            node.data[offset : offset + len(data)] = data
            node.mtime_ns = time.time_ns()
            return len(data)

    def truncate(self, inode: int, size: int) -> Attributes:
        with self._lock:
            self._begin("truncate")
            node = self._file(inode)
            if size > LIMIT_BYTES:
                raise OSError(errno.ENOSPC, "full")
            del node.data[size:]
            node.data.extend(bytes(size - len(node.data)))
            node.mtime_ns = time.time_ns()
            return _told(node)

    def set_attributes(self, inode: int, *, mode: int | None = None, mtime_ns: int | None = None) -> Attributes:
        with self._lock:
            node = self._node(inode)
            node.mode = node.mode if mode is None else mode
            node.mtime_ns = node.mtime_ns if mtime_ns is None else mtime_ns
            return _told(node)

    def flush(self, handle: int) -> None:
        self._begin("flush", handle)

    def fsync(self, handle: int) -> None:
        self._begin("fsync", handle)

    def release(self, handle: int) -> None:
        with self._lock:
            self._begin("release")
            node, _ = self._handles.pop(handle)
            node.handles -= 1
            self._forget(node)

    def mkdir(self, parent: int, name: bytes, mode: int) -> Attributes:
        with self._lock:
            folder = self._folder(parent)
            if name in folder.children:
                raise OSError(errno.EEXIST, "exists")
            inode = folder.children[name] = self._make(is_directory=True, mode=mode)
            return _told(self._nodes[inode])

    def rmdir(self, parent: int, name: bytes) -> None:
        with self._lock:
            if self._folder(self._child(parent, name).inode).children:
                raise OSError(errno.ENOTEMPTY, "not empty")
            self._take_away(parent, name)

    def unlink(self, parent: int, name: bytes) -> None:
        with self._lock:
            self._file(self._child(parent, name).inode)
            self._take_away(parent, name)

    def rename(self, parent: int, name: bytes, new_parent: int, new_name: bytes, flags: int = 0) -> None:
        with self._lock:
            if flags & ~RENAME_NOREPLACE:
                raise OSError(errno.EINVAL, "flags")
            node, target = self._child(parent, name), self._folder(new_parent)
            if new_name in target.children:
                if flags & RENAME_NOREPLACE:
                    raise OSError(errno.EEXIST, "exists")
                if target.children[new_name] == node.inode:
                    return
                (self.rmdir if node.is_directory else self.unlink)(new_parent, new_name)
            del self._folder(parent).children[name]
            target.children[new_name] = node.inode

    def fsync_directory(self, inode: int) -> None:
        self._begin("fsync_directory", inode)

    def statfs(self) -> Space:
        with self._lock:
            used = sum(len(node.data) for node in self._nodes.values())
            return Space(LIMIT_BYTES, LIMIT_BYTES - used, len(self._nodes))

    def close(self) -> None:
        """Nothing."""

    @property
    def open_handles(self) -> int:
        return len(self._handles)

    def _begin(self, name: str, _: object = None) -> None:
        self.calls[name] += 1
        if name in self.refusal:
            raise OSError(self.refusal.pop(name), "refused")

    def _make(self, *, is_directory: bool, mode: int) -> int:
        inode = next(self._numbers)
        self._nodes[inode] = _Node(inode, is_directory, mode)
        return inode

    def _node(self, inode: int) -> _Node:
        if inode not in self._nodes:
            raise OSError(errno.ENOENT, "gone")
        return self._nodes[inode]

    def _folder(self, inode: int) -> _Node:
        node = self._node(inode)
        if not node.is_directory:
            raise OSError(errno.ENOTDIR, "a file")
        return node

    def _file(self, inode: int) -> _Node:
        node = self._node(inode)
        if node.is_directory:
            raise OSError(errno.EISDIR, "a folder")
        return node

    def _child(self, parent: int, name: bytes) -> _Node:
        folder = self._folder(parent)
        if name not in folder.children:
            raise OSError(errno.ENOENT, "not here")
        return self._nodes[folder.children[name]]

    def _take_away(self, parent: int, name: bytes) -> None:
        node = self._nodes[self._folder(parent).children.pop(name)]
        node.names -= 1
        self._forget(node)

    def _forget(self, node: _Node) -> None:
        if not node.names and not node.handles:
            del self._nodes[node.inode]


def _told(node: _Node) -> Attributes:
    return Attributes(node.inode, node.is_directory, node.mode, len(node.data), node.mtime_ns)
