"""The steps of a definition: what is done to the list of files that its paths give, before it is frozen.

Each is a value, kept as JSON in the catalog, and works on a stream of files without collecting it. `take` and `skip` count
in lexicographic order of the paths. A sample and a split draw a number for each path from a hash of seed, path and place
of the step among the steps, so the same seed gives the same files in whatever order they are listed, and two steps with one
seed are independent of each other.
"""

import datetime as dt
import hashlib
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar, Final, Protocol

from runtime.datasets import expressions
from runtime.datasets.expressions import Expression
from runtime.datasets.partition import PartitionFormat
from runtime.errors import DatasetValidationError, UserErrorException

_SEEDS: Final = 1 << 32
PROPERTIES: Final = ("Size", "LastModifiedTime", "Extension", "CanSeek")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that a step looks at: `path` in the tree, `place` its whole path in the store, `inode` in the manifest."""

    path: str
    place: str
    inode: int
    size_bytes: int
    mtime_ns: int


class Step(Protocol):
    """One step; `ordered` says whether it needs the files in lexicographic order."""

    ordered: ClassVar[bool]

    def keep(self, files: Iterable[Candidate], position: int, partition: PartitionFormat | None) -> Iterator[Candidate]:
        """Those of `files` that stay; `position` counts the definition's steps from 0."""

    def to_json(self) -> dict[str, Any]:
        """The document that `from_json` reads."""


@dataclass(frozen=True, slots=True)
class Take:
    """The first `count` files."""

    ordered: ClassVar[bool] = True
    count: int

    def keep(self, files: Iterable[Candidate], position: int, partition: PartitionFormat | None) -> Iterator[Candidate]:  # noqa: ARG002 # as Step
        """The first of `files`."""
        return islice(iter(files), self.count)

    def to_json(self) -> dict[str, Any]:
        """As Step."""
        return {"take": self.count}

    def __str__(self) -> str:
        return f"take {self.count}"


@dataclass(frozen=True, slots=True)
class Skip:
    """All but the first `count` files."""

    ordered: ClassVar[bool] = True
    count: int

    def keep(self, files: Iterable[Candidate], position: int, partition: PartitionFormat | None) -> Iterator[Candidate]:  # noqa: ARG002 # as Step
        """All but the first of `files`."""
        return islice(iter(files), self.count, None)

    def to_json(self) -> dict[str, Any]:
        """As Step."""
        return {"skip": self.count}

    def __str__(self) -> str:
        return f"skip {self.count}"


@dataclass(frozen=True, slots=True)
class Sample:
    """Each file with this probability."""

    ordered: ClassVar[bool] = False
    probability: float
    seed: int

    def keep(self, files: Iterable[Candidate], position: int, partition: PartitionFormat | None) -> Iterator[Candidate]:  # noqa: ARG002 # as Step
        """Those of `files` that are drawn."""
        return (each for each in files if drawn(self.seed, position, each.path) < self.probability)

    def to_json(self) -> dict[str, Any]:
        """As Step."""
        return {"sample": self.probability, "seed": self.seed}

    def __str__(self) -> str:
        return f"sample {self.probability:g} (seed {self.seed})"


@dataclass(frozen=True, slots=True)
class Split:
    """About `percentage` of the files, or, if it is the `rest`, all the others."""

    ordered: ClassVar[bool] = False
    percentage: float
    seed: int
    rest: bool

    def keep(self, files: Iterable[Candidate], position: int, partition: PartitionFormat | None) -> Iterator[Candidate]:  # noqa: ARG002 # as Step
        """This half of `files`."""
        return (each for each in files if (drawn(self.seed, position, each.path) >= self.percentage) is self.rest)

    def to_json(self) -> dict[str, Any]:
        """As Step."""
        return {"split": self.percentage, "seed": self.seed, "rest": self.rest}

    def __str__(self) -> str:
        return f"{'rest of ' if self.rest else ''}split {self.percentage:g} (seed {self.seed})"


class Filter:
    """The files for which an expression is True."""

    ordered: ClassVar[bool] = False
    __slots__ = ("expression",)

    def __init__(self, expression: Expression) -> None:
        self.expression = expression

    def keep(self, files: Iterable[Candidate], position: int, partition: PartitionFormat | None) -> Iterator[Candidate]:  # noqa: ARG002 # as Step
        """Those of `files` for which it is true."""
        return (each for each in files if expressions.evaluate(self.expression, row_of(each, partition)) is True)

    def to_json(self) -> dict[str, Any]:
        """As Step."""
        return {"filter": expressions.to_json(self.expression)}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Filter) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash(repr(self.to_json()))

    def __str__(self) -> str:
        return f"filter {self.expression!r}"


def drawn(seed: int, position: int, path: str) -> float:
    """A number in [0, 1) that depends on nothing else."""
    text = f"{seed}:{position}:{path}".encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()[:6]) / 2**48


def row_of(file: Candidate, partition: PartitionFormat | None) -> expressions.Row:
    """What an expression sees of a file: its partition's parts as columns, and its properties."""

    def value(kind: str, name: str) -> object:
        if kind == "file":
            return _PROPERTY[name](file)
        return partition.values(file.place)[name] if partition else None

    return value


def check_count(count: Any) -> int:
    """Return `count` if it is a number of files; ValueError, as v1, if not."""
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise ValueError(f"{count!r} is no number of files; give 0 or more")
    return count


def check_share(share: Any, what: str) -> float:
    """Return `share` if it is between 0 and 1; ValueError, as v1, if not."""
    if not isinstance(share, int | float) or not 0 <= share <= 1:
        raise ValueError(f"{what} {share!r} is not between 0 and 1")
    return float(share)


def settled_seed(seed: int | None) -> int:
    """`seed`, or one that is drawn and kept, so that a dataset stays what it is."""
    return secrets.randbelow(_SEEDS) if seed is None else int(seed)


def check_filter(expression: object, partition: PartitionFormat | None) -> Expression:
    """Return `expression` if a File dataset can be filtered by it.

    Raises:
        UserErrorException: it is no expression, or names what a file does not have.
    """
    if not isinstance(expression, Expression):
        raise UserErrorException(
            f"filter() takes an expression such as ds.file_metadata('Size') > 1000, and not a {type(expression).__name__}"
        )
    for name in sorted(expressions.names(expression, "file")):
        check_property(name)
    for name in sorted(expressions.names(expression)):
        check_column(name, partition)
    return expression


def check_property(name: str) -> str:
    """Return `name` if it is a property of a file."""
    if name == "CreationTime":
        raise UserErrorException("CreationTime is not in a frozen list; use LastModifiedTime")
    if name not in PROPERTIES:
        raise UserErrorException(f"no file has {name!r}; it has {', '.join(PROPERTIES)}")
    return name


def check_column(name: str, partition: PartitionFormat | None) -> str:
    """Return `name` if it is a part of the partition format."""
    if partition is None:
        raise UserErrorException(
            f"no column {name!r}: the columns of a File dataset are the parts of its partition_format, and it has none"
        )
    if name not in partition.names:
        raise UserErrorException(f"no column {name!r}; the partition format has {', '.join(partition.names)}")
    return name


def from_json(document: Mapping[str, Any]) -> Step:
    """The inverse of `Step.to_json`.

    Raises:
        DatasetValidationError: a step of a newer Moorage.
    """
    for kind, read in _READERS.items():
        if kind in document:
            try:
                return read(document)
            except (KeyError, TypeError, ValueError):
                break
    raise DatasetValidationError(
        f"the dataset has a step {next(iter(document), '')!r} that this Moorage does not know; install a newer one"
    )


_PROPERTY: Final[dict[str, Callable[[Candidate], object]]] = {
    "Size": lambda file: file.size_bytes,
    "LastModifiedTime": lambda file: dt.datetime.fromtimestamp(file.mtime_ns / 1e9, dt.UTC) if file.mtime_ns else None,
    "Extension": lambda file: file.path[file.path.rfind(".") :] if "." in file.path.rpartition("/")[2] else "",
    "CanSeek": lambda _: True,
}
_READERS: Final[dict[str, Callable[[Mapping[str, Any]], Step]]] = {
    "take": lambda document: Take(int(document["take"])),
    "skip": lambda document: Skip(int(document["skip"])),
    "sample": lambda document: Sample(float(document["sample"]), int(document["seed"])),
    "split": lambda document: Split(float(document["split"]), int(document["seed"]), bool(document["rest"])),
    "filter": lambda document: Filter(expressions.from_json(document["filter"])),
}
