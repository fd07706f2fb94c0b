"""Requests answered from a file system: one table, opcode -> answer.

`answer` turns a request into the parts of its answer without waiting. For a READ whose bytes are not here it returns None,
and `later` is called with the whole answer by the thread that brought them. Every failure becomes an errno here, in one
place; nothing else leaves.

OPEN and OPENDIR are answered ENOSYS where the kernel has said that it then stops asking and keeps pages and listings itself.
GETXATTR is never answered ENOSYS: the kernel would not ask again, and `user.mountd.status` would be silent.
"""

import errno
import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import chain

from mountd.errors import MountdError
from mountd.fuse import protocol
from mountd.fuse.protocol import InitFlag, MalformedRequestError, Opcode, Owner, Request
from mountd.stores.base import Buffer
from mountd.vfs import FileSystem

_LOG = logging.getLogger(__name__)
STATUS_ATTRIBUTE = b"user.mountd.status"

Parts = Sequence[Buffer]
Later = Callable[[Parts], None]


class Operations:
    """Answers for one mounted file system; any thread may call it."""

    def __init__(self, files: FileSystem, owner: Owner, agreed: int, status: Callable[[], bytes]) -> None:
        """`agreed`: the INIT flags; `status`: the value of `user.mountd.status`, always of one length."""
        self._files, self._owner, self._status = files, owner, status
        self._no_open = bool(agreed & InitFlag.NO_OPEN_SUPPORT)
        self._no_opendir = bool(agreed & InitFlag.NO_OPENDIR_SUPPORT)
        self._table: dict[int, Callable[[Request], Parts]] = {
            Opcode.LOOKUP: self._lookup,
            Opcode.GETATTR: self._getattr,
            Opcode.OPEN: self._open,
            Opcode.OPENDIR: self._opendir,
            Opcode.READDIR: self._readdir,
            Opcode.READDIRPLUS: self._readdir,
            Opcode.STATFS: self._statfs,
            Opcode.GETXATTR: self._getxattr,
            Opcode.RELEASE: _nothing,
            Opcode.RELEASEDIR: _nothing,
            Opcode.DESTROY: _nothing,
        }

    def answer(self, request: Request, later: Later) -> Parts | None:
        """The whole answer, or None for a READ that must wait: `later` gets it then. Never raises."""
        try:
            body = self._read(request, later) if request.opcode == Opcode.READ else self._answer(request)
        except Exception as error:  # noqa: BLE001  # the mount must go on: a service thread that ends hangs every reader
            return self._failure(request, error)
        return None if body is None else _whole(request, body)

    def _failure(self, request: Request, error: Exception) -> Parts:
        if isinstance(error, MountdError):
            code = error.errno
        elif isinstance(error, _RefusedError):
            code = error.code
        elif isinstance(error, MalformedRequestError):
            _LOG.warning("the kernel sent a request that is none: %s", error)
            code = errno.EINVAL
        else:
            _LOG.error("defect: request %d of node %d", request.opcode, request.node, exc_info=error)
            code = errno.EIO
        return [protocol.failure(request.unique, code)]

    def _answer(self, request: Request) -> Parts:
        method = self._table.get(request.opcode)
        if method is None:
            raise _RefusedError(errno.EROFS if request.opcode in protocol.CHANGING else errno.ENOSYS)
        return method(request)

    def _read(self, request: Request, later: Later) -> Parts | None:
        def answer(result: Parts | MountdError) -> None:
            try:
                whole = self._failure(request, result) if isinstance(result, MountdError) else _whole(request, result)
            except Exception as error:  # noqa: BLE001  # no memory left: the reader must be told all the same
                whole = self._failure(request, error)
            later(whole)

        offset, size = protocol.range_of(request)
        return self._files.start_read(request.node, offset, size, answer)

    def _lookup(self, request: Request) -> Parts:
        return [protocol.entry_answer(self._files.lookup(request.node, protocol.name_of(request)), self._owner)]

    def _getattr(self, request: Request) -> Parts:
        return [protocol.attributes_answer(self._files.entry(request.node), self._owner)]

    def _open(self, _: Request) -> Parts:
        if self._no_open:
            raise _RefusedError(errno.ENOSYS)
        return [protocol.open_answer()]

    def _opendir(self, _: Request) -> Parts:
        if self._no_opendir:
            raise _RefusedError(errno.ENOSYS)
        return [protocol.open_answer()]

    def _readdir(self, request: Request) -> Parts:
        plus = request.opcode == Opcode.READDIRPLUS
        offset, room_bytes = protocol.range_of(request)
        room_bytes = min(room_bytes, protocol.MAX_READ_BYTES)
        limit = room_bytes // protocol.smallest_record_bytes(plus=plus)
        children = self._files.children(request.node, max(0, offset - protocol.DOTS), limit)
        records = protocol.records_plus(children, self._owner) if plus else protocol.records(children)
        return [protocol.listing_answer(chain(self._dots(request.node, offset, plus=plus), records), room_bytes)]

    def _dots(self, node: int, offset: int, *, plus: bool) -> Iterator[bytes]:
        if offset < 1:
            yield protocol.dot_record(b".", node, plus=plus)
        if offset < protocol.DOTS:
            yield protocol.dot_record(b"..", self._files.entry(node).parent, plus=plus)

    def _statfs(self, _: Request) -> Parts:
        return [protocol.statfs_answer(*self._files.totals)]

    def _getxattr(self, request: Request) -> Parts:
        room_bytes, name = protocol.xattr_of(request)
        if name != STATUS_ATTRIBUTE:
            raise _RefusedError(errno.ENODATA)
        value = self._status()
        if not room_bytes:
            return [protocol.xattr_size_answer(len(value))]
        if room_bytes < len(value):
            raise _RefusedError(errno.ERANGE)
        return [value]


class _RefusedError(Exception):
    """An answer that is an errno and no error of ours."""

    def __init__(self, code: int) -> None:
        self.code = code


def _whole(request: Request, body: Parts) -> Parts:
    return [protocol.header(request.unique, sum(map(len, body))), *body]


def _nothing(_: Request) -> Parts:
    return []
