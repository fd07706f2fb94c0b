"""A destination of an output: a prefix of a store, and the control objects that lie beside it.

Keys are relative to the prefix. What Moorage says of the output lies at the store's root, below
`.moorage/outputs/<hash of the prefix>/`, so that it is never one of the output's files; listings leave it out.

`step` is told before and after every call that changes the store, with its name: tests end the process there.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mountd.errors import CorruptDataError
from mountd.stores import registry
from mountd.stores.base import Lister, ObjectInfo, RangeReader, Writer

if TYPE_CHECKING:
    from mountd.stores.credentials import Credential

CONTROL: Final = ".moorage"
COMMIT: Final = "commit.json"
_COMPARE_BYTES: Final = 8 << 20

Step = Callable[[str], None]


def no_step(_: str) -> None:
    """Nobody counts the steps."""


@dataclass(frozen=True, slots=True)
class Destination:
    """A prefix ('' or ending in '/') of the store at `url`."""

    url: str
    prefix: str
    reader: RangeReader
    lister: Lister
    writer: Writer
    step: Step = no_step

    @classmethod
    def open(
        cls, url: str, prefix: str, credential: "Credential | None", *, deadline_s: float = 60, step: Step = no_step
    ) -> "Destination":
        """Contact nobody yet; `url` is a base URL.

        Raises:
            BadInputError: the store takes no outputs.
        """
        writer = registry.open_writer(url, credential, deadline_s=deadline_s)
        lister = registry.open_lister(url, credential, deadline_s=deadline_s)
        return cls(url, prefix, registry.open_reader(url, credential, deadline_s=deadline_s), lister, writer, step)

    def named(self, key: str) -> str:
        """How an error calls `key`."""
        return f"{self.lister.url}{self.prefix}{key}"

    def objects(self) -> Iterator[ObjectInfo]:
        """Everything below the prefix but the control objects; folders too, where the store tells of them."""
        for info in self.lister.list(self.prefix):
            key = info.key.removeprefix(self.prefix)
            if key and not info.key.startswith(f"{CONTROL}/"):
                yield replace(info, key=key)

    def find(self, key: str) -> ObjectInfo | None:
        """What lies under `key` now."""
        whole = self.prefix + key
        found = (info for info in self.lister.list(whole) if info.key == whole and not info.is_directory)
        return next((replace(info, key=key) for info in found), None)

    def write(self, key: str, source: Path | bytes, *, overwrite: bool) -> ObjectInfo:
        """Store one object; errors as `Writer.write`."""
        self.step(f"before write {key}")
        info = self.writer.write(self.prefix + key, source, overwrite=overwrite)
        self.step(f"after write {key}")
        return replace(info, key=key)

    def delete(self, key: str) -> None:
        """Remove one object, if it is there."""
        self.step(f"before delete {key}")
        self.writer.delete(self.prefix + key)
        self.step(f"after delete {key}")

    def read(self, key: str, offset: int, size: int, etag: str) -> bytes:
        """Bytes of one object, pinned."""
        return bytes(self.reader.read(self.prefix + key, offset, size, etag))

    def copy(self, info: ObjectInfo, target: Path) -> None:
        """Write what is stored to a file of this machine, pinned and verified.

        Raises:
            CorruptDataError: the bytes do not have the MD5 that the store keeps.
        """
        digest = hashlib.md5(usedforsecurity=False)
        with target.open("wb") as file:
            for offset in range(0, info.size, _COMPARE_BYTES):
                data = self.read(info.key, offset, min(_COMPARE_BYTES, info.size - offset), info.etag)
                digest.update(data)
                file.write(data)
        if info.md5 is not None and info.md5 != digest.digest():
            raise CorruptDataError(f"{self.named(info.key)}: its bytes do not have the MD5 that the store keeps of it")

    def holds(self, info: ObjectInfo, size: int, md5: bytes) -> bool:
        """True if the object is of this length and MD5: by what the store keeps of it, else by reading it."""
        if info.size != size:
            return False
        if info.md5 is not None:
            return info.md5 == md5
        digest = hashlib.md5(usedforsecurity=False)
        for offset in range(0, size, _COMPARE_BYTES):
            digest.update(self.read(info.key, offset, min(_COMPARE_BYTES, size - offset), info.etag))
        return digest.digest() == md5

    def control_key(self, name: str) -> str:
        """The key, from the root of the store, of a control object of this output."""
        return f"{CONTROL}/outputs/{hashlib.sha256(self.prefix.encode()).hexdigest()[:32]}/{name}"

    def controls(self, start: str) -> list[ObjectInfo]:
        """The control objects whose name starts so; their keys are the names."""
        folder = self.control_key("")
        found = self.lister.list(folder + start)
        return [replace(info, key=info.key.removeprefix(folder)) for info in found if not info.is_directory]

    def read_control(self, name: str, size: int) -> bytes:
        """The first `size` bytes of a control object."""
        return bytes(self.reader.read(self.control_key(name), 0, size, ""))

    def write_control(self, name: str, source: Path | bytes, *, overwrite: bool) -> None:
        """Store a control object."""
        self.step(f"before write {name}")
        self.writer.write(self.control_key(name), source, overwrite=overwrite)
        self.step(f"after write {name}")

    def delete_control(self, name: str) -> None:
        """Remove a control object, if it is there."""
        self.step(f"before delete {name}")
        self.writer.delete(self.control_key(name))
        self.step(f"after delete {name}")
