"""The shares of a fake Azure Files account: directories and files in memory, with the names and refusals of the service.

Names keep their case and are found without regard to it. A name may be 255 characters long and holds none of
`"\\/:|<>*?` and no control character; device names such as COM1 are taken; trailing dots are cut off
unless the caller asks for them. Every change of a file, of its properties or its name gives it another ETag.

Not thread-safe: the server that owns an `Account` holds a lock around each operation.
"""

import itertools
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_FORBIDDEN = set('"\\/:|<>*?')
_DEVICES = {f"{name}{number}" for name in ("LPT", "COM") for number in range(1, 10)} | {
    "PRN",
    "AUX",
    "NUL",
    "CON",
    "CLOCK$",
}
_versions = itertools.count(0x8DD0000000000)


@dataclass
class Refused(Exception):  # noqa: N818 - an answer, not a failure of the server
    """What the service answers instead of doing it."""

    status: int
    code: str


@dataclass
class Node:
    """What files and directories have in common."""

    name: str
    etag: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    created_ns: int = field(default_factory=time.time_ns)
    written_ns: int = 0

    def __post_init__(self) -> None:
        self.touch()

    def touch(self) -> None:
        """Another version, written now."""
        self.written_ns = time.time_ns()
        self.change()

    def change(self) -> None:
        """Another version of the same content."""
        self.etag = f'"0x{next(_versions):X}"'


@dataclass
class File(Node):
    """A file; `md5` and `content_type` are properties that clients set, the service computes neither."""

    data: bytearray = field(default_factory=bytearray)
    md5: str = ""
    content_type: str = "application/octet-stream"


@dataclass
class Directory(Node):
    """A directory; `children` is keyed by the name in upper case."""

    children: "dict[str, File | Directory]" = field(default_factory=dict)

    def ordered(self) -> "list[File | Directory]":
        """The children in the order of a listing."""
        return [self.children[key] for key in sorted(self.children)]


def upper(name: str) -> str:
    """The name as the service compares it: letter by letter, so that `ß` is not `SS`."""
    return "".join(up if len(up := letter.upper()) == 1 else letter for letter in name)


def split(path: str, *, trailing_dot: bool) -> list[str]:
    """The names of a path.

    Raises:
        Refused: a name that the service does not take.
    """
    names = [name if trailing_dot else (name.rstrip(".") or name) for name in path.split("/") if name]
    for name in names:
        if _FORBIDDEN & set(name) or any(letter < " " for letter in name):
            raise Refused(400, "InvalidResourceName")
        if name in {".", ".."} or len(name) > 255 or name.upper() in _DEVICES:
            raise Refused(400, "InvalidResourceName")
    return names


def find(root: Directory, names: list[str]) -> File | Directory:
    """What lies at a path.

    Raises:
        Refused: nothing does.
    """
    node: File | Directory = root
    for number, name in enumerate(names, 1):
        child = node.children.get(upper(name)) if isinstance(node, Directory) else None
        if child is None:
            raise Refused(404, "ResourceNotFound" if number == len(names) else "ParentNotFound")
        node = child
    return node


def find_file(root: Directory, names: list[str]) -> File:
    """As `find`, for a file."""
    node = find(root, names)
    if not isinstance(node, File):
        raise Refused(409, "ResourceTypeMismatch")
    return node


def find_directory(root: Directory, names: list[str]) -> Directory:
    """As `find`, for a directory."""
    node = find(root, names)
    if not isinstance(node, Directory):
        raise Refused(409, "ResourceTypeMismatch")
    return node


def parent(root: Directory, names: list[str]) -> Directory:
    """The directory that holds, or is to hold, a path.

    Raises:
        Refused: there is none.
    """
    try:
        return find_directory(root, names[:-1])
    except Refused as refused:
        raise Refused(404, "ParentNotFound") from refused


def make_directory(root: Directory, names: list[str]) -> Directory:
    """Make a directory whose parent is there."""
    if not names:
        raise Refused(409, "ResourceAlreadyExists")
    above = parent(root, names)
    found = above.children.get(upper(names[-1]))
    if found is not None:
        raise Refused(409, "ResourceAlreadyExists" if isinstance(found, Directory) else "ResourceTypeMismatch")
    made = Directory(names[-1])
    above.children[upper(names[-1])] = made
    return made


def make_file(root: Directory, names: list[str], size: int) -> File:
    """Make a file of zeros, in the place of one that is there."""
    above = parent(root, names)
    found = above.children.get(upper(names[-1]))
    if isinstance(found, Directory):
        raise Refused(409, "ResourceTypeMismatch")
    made = File(found.name if found else names[-1], data=bytearray(size))
    above.children[upper(names[-1])] = made
    return made


def paths(directory: Directory, above: str = "") -> "Iterator[str]":
    """The paths of all files below a directory."""
    for node in directory.ordered():
        if isinstance(node, Directory):
            yield from paths(node, f"{above}{node.name}/")
        else:
            yield above + node.name


def remove(root: Directory, names: list[str], kind: type[File] | type[Directory]) -> None:
    """Remove a file, or an empty directory that is not the root."""
    node = find(root, names)
    if not isinstance(node, kind):
        raise Refused(409, "ResourceTypeMismatch")
    if isinstance(node, Directory) and (node.children or not names):
        raise Refused(409, "DirectoryNotEmpty" if names else "CannotDeleteFileOrDirectory")
    del parent(root, names).children[upper(names[-1])]


def rename(root: Directory, old: list[str], new: list[str], *, replace: bool) -> File | Directory:
    """Move a file or directory to another path; a file may replace a file."""
    node, above = find(root, old), parent(root, new)
    found = above.children.get(upper(new[-1]))
    if found is not None and found is not node:
        if not replace or isinstance(node, Directory):
            raise Refused(409, "ResourceAlreadyExists")
        if isinstance(found, Directory):
            raise Refused(409, "ResourceTypeMismatch")
    del parent(root, old).children[upper(old[-1])]
    node.name = new[-1]
    node.change()
    above.children[upper(new[-1])] = node
    return node
