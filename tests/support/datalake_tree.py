"""A hierarchical namespace as the Data Lake service keeps it: real directories, files that grow by append and flush.

A path is a key of one dict, without `/` at either end; '' is the root, which is always there. What the service refuses is
raised as `Refused` with the service's own status and code. Nothing here knows of HTTP.

Invariants: every parent of a path is a directory of the dict; an ETag changes whenever the path's content or properties
change and is kept by a rename, as the service does.
"""

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

_CLOCK = itertools.count(0x8DE_0000_0000_0001)


class Refused(Exception):  # noqa: N818 - it is an answer
    """What the service answers instead of doing it."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


def _new_etag() -> str:
    return f'"0x{next(_CLOCK):X}"'


@dataclass
class Node:
    """A file or directory; `pending` are the appended bytes by position that no flush has taken yet."""

    is_directory: bool
    data: bytes = b""
    md5: str = ""  # base64, as the client sent it
    metadata: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/octet-stream"
    pending: dict[int, bytes] = field(default_factory=dict)
    etag: str = field(default_factory=_new_etag)
    modified_s: int = field(default_factory=lambda: int(time.time()))

    def touch(self) -> None:
        """The path has changed."""
        self.etag, self.modified_s = _new_etag(), int(time.time())


@dataclass(frozen=True, slots=True)
class Conditions:
    """If-Match and If-None-Match of a request, as sent; '' where there is none."""

    match: str = ""
    none_match: str = ""

    def check(self, node: Node | None, code: str = "ConditionNotMet") -> None:
        """Refuse what the conditions forbid."""
        if node is not None and self.none_match == "*":
            raise Refused(409, "PathAlreadyExists", "The specified path already exists.")
        found = node.etag if node else ""
        if (self.match and found != self.match and not (self.match == "*" and node)) or (
            node is not None and self.none_match == found
        ):
            raise Refused(412, code, "The condition specified using HTTP conditional header(s) is not met.")


class FileSystem:
    """The paths of one file system. Not thread-safe: who holds it has a lock."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {"": Node(is_directory=True)}
        self.etag, self.modified_s = _new_etag(), int(time.time())

    def find(self, path: str) -> Node:
        """The node at `path`."""
        if path not in self.nodes:
            raise Refused(404, "PathNotFound", "The specified path does not exist.")
        return self.nodes[path]

    def create(self, path: str, *, is_directory: bool, conditions: Conditions) -> Node:
        """Make an empty file, in place of one that is there, or a directory; parents are made too."""
        there = self.nodes.get(path)
        conditions.check(there)
        if there is not None and there.is_directory != is_directory:
            raise _conflict()
        self._make_parents(path)
        if there is None or not is_directory:
            self.nodes[path] = Node(is_directory)
        return self.nodes[path]

    def append(self, path: str, position: int, data: bytes) -> Node:
        """Keep bytes for a later flush; the ETag stays."""
        node = self._file(path)
        if position < len(node.data):
            raise _position()
        node.pending[position] = data
        return node

    def flush(self, path: str, position: int, md5: str, conditions: Conditions) -> Node:
        """Make what was appended the file's content, which must then be `position` bytes long."""
        node = self._file(path)
        conditions.check(node)
        data = bytearray(node.data)
        while len(data) < position and len(data) in node.pending:
            data += node.pending[len(data)]
        if len(data) != position:
            raise _position()
        node.data, node.md5, node.pending = bytes(data), md5, {}
        node.touch()
        return node

    def rename(self, source: str, target: str, conditions: Conditions, source_conditions: Conditions) -> Node:
        """Move a file or a whole directory; what is at the target is replaced, unless a condition forbids it."""
        node = self.nodes.get(source)
        if node is None or not source:
            raise Refused(404, "SourcePathNotFound", "The source path for a rename operation does not exist.")
        source_conditions.check(node, "SourceConditionNotMet")
        there = self.nodes.get(target)
        conditions.check(there)
        self._check_target(node, source, target, there)
        moved = {path: self.nodes.pop(path) for path in [source, *self.below(source)]}
        for path, each in moved.items():
            self.nodes[target + path[len(source) :]] = each
        return node

    def delete(self, path: str, conditions: Conditions, *, recursive: bool) -> None:
        """Remove a path; a directory that is not empty only if asked `recursive`."""
        conditions.check(self.find(path))
        below = list(self.below(path))
        if below and not recursive:
            raise Refused(
                409, "DirectoryNotEmpty", "The recursive query parameter value must be true to delete a directory."
            )
        for each in [path, *below]:
            del self.nodes[each]

    def below(self, folder: str) -> Iterator[str]:
        """Every path below `folder`, parents before children, in the order of their segments."""
        start = f"{folder}/" if folder else ""
        paths = (path for path in self.nodes if path and path.startswith(start))
        yield from sorted(paths, key=lambda path: path.split("/"))

    def list(self, folder: str, *, recursive: bool) -> list[str]:
        """The paths in, or anywhere below, a directory."""
        if not self.find(folder).is_directory:
            raise _conflict()
        depth = folder.count("/") + 1 if folder else 0
        return [path for path in self.below(folder) if recursive or path.count("/") == depth]

    def _file(self, path: str) -> Node:
        node = self.find(path)
        if node.is_directory:
            raise _conflict()
        return node

    def _make_parents(self, path: str) -> None:
        segments = path.split("/")
        for parent in ("/".join(segments[:depth]) for depth in range(1, len(segments))):
            if not self.nodes.setdefault(parent, Node(is_directory=True)).is_directory:
                raise _conflict()

    def _check_target(self, node: Node, source: str, target: str, there: Node | None) -> None:
        parent = self.nodes.get(target.rpartition("/")[0])
        if parent is None:
            raise Refused(404, "RenameDestinationParentPathNotFound", "The parent of the destination does not exist.")
        if not parent.is_directory:
            raise _conflict()
        if f"{target}/".startswith(f"{source}/"):
            raise Refused(409, "InvalidRenameSourcePath", "The destination is the source, or lies in it.")
        if there is not None and there.is_directory != node.is_directory:
            raise Refused(409, "InvalidSourceOrDestinationResourceType", "Source and destination differ in type.")
        if there is not None and any(True for _ in self.below(target)):
            raise Refused(409, "PathAlreadyExists", "The specified path already exists.")


def _conflict() -> Refused:
    return Refused(409, "PathConflict", "The path, or an element of it, exists and has the wrong resource type.")


def _position() -> Refused:
    return Refused(400, "InvalidFlushPosition", "The uploaded data is not contiguous, or the position is not its end.")
