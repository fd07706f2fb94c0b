"""Requests answered from a file system: one table, opcode -> answer.

`answer` turns a request into the parts of its answer without waiting. What must wait for the network (a READ whose bytes are
not here) comes back as None, and the driver calls `wait_and_read` from a thread that may wait. Every failure becomes an
errno here, in one place; nothing else leaves.

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

    def answer(self, request: Request) -> Parts | None:
        """The whole answer, or None for a READ that must wait. Never raises."""
        return self._guarded(request, self._answer)

    def wait_and_read(self, request: Request) -> Parts:
        """The whole answer to a READ, however long it takes. Never raises."""
        return self._guarded(request, self._read) or [protocol.failure(request.unique, errno.EIO)]

    def _guarded(self, request: Request, method: Callable[[Request], Parts | None]) -> Parts | None:
        try:
            body = method(request)
        except MountdError as error:
            return [protocol.failure(request.unique, error.errno)]
        except _RefusedError as refusal:
            return [protocol.failure(request.unique, refusal.code)]
        except MalformedRequestError as error:
            _LOG.warning("the kernel sent a request that is none: %s", error)
            return [protocol.failure(request.unique, errno.EINVAL)]
        except Exception:  # noqa: BLE001  # the mount must go on: a service thread that ends hangs every reader
            _LOG.exception("defect: request %d of node %d", request.opcode, request.node)
            return [protocol.failure(request.unique, errno.EIO)]
        if body is None:
            return None
        return [protocol.header(request.unique, sum(map(len, body))), *body]

    def _answer(self, request: Request) -> Parts | None:
        if request.opcode == Opcode.READ:
            return self._files.read_ready(request.node, *protocol.range_of(request))
        method = self._table.get(request.opcode)
        if method is None:
            raise _RefusedError(errno.EROFS if request.opcode in protocol.CHANGING else errno.ENOSYS)
        return method(request)

    def _read(self, request: Request) -> Parts:
        return self._files.read(request.node, *protocol.range_of(request))

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


def _nothing(_: Request) -> Parts:
    return []
