"""How files leave a job: staged in a folder, stored under a prefix of a datastore, then registered as a dataset.

    upload_output     the files, each verified by the uploader; last the commit marker, which says that the prefix is whole
    register_output   the prefix as a new version of a dataset

The marker lies beside the output, at the store's root: `.moorage/outputs/<hash of prefix>/commit.json`, so that it is
never one of the output's files. It is taken away before a prefix is written to again. What a second attempt finds in the
store with the very same bytes is kept; anything else that is there is an error before the first byte.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast, get_args

from mountd.errors import BadInputError
from runtime.catalog import Made
from runtime.catalog import check_name as check_dataset_name
from runtime.catalog.rows import checked_description, checked_tags
from runtime.consumption import check_name
from runtime.errors import AlreadyRegisteredError, UserErrorException
from runtime.workspace import WorkspaceFolder

if TYPE_CHECKING:
    from mountd.stores.base import ObjectInfo, RangeReader

Mode = Literal["upload", "mount"]
TOKEN = "DatasetOutputConfig"  # noqa: S105 # v1's word for a placeholder; no secret
DEFAULT_DATASTORE = "workspaceblobstore"
DEFAULT_PATH = "dataset/{run-id}/{output-name}"
_CONTROL_FOLDER = ".moorage"
_COMPARE_BYTES = 8 << 20
_PLACEHOLDERS = ("{run-id}", "{output-name}")
_PLACEHOLDER = re.compile(r"\{[^{}]*\}")


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """One output of a job, as asked for. `path` may hold {run-id} and {output-name}; `source` None stages in the spool."""

    name: str
    datastore: str = DEFAULT_DATASTORE
    path: str = DEFAULT_PATH
    mode: Mode = "upload"
    overwrite: bool = False
    register_as: str | None = None
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    source: str | None = None
    source_globs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_name(self.name, "output")
        if self.mode not in get_args(Mode):
            raise UserErrorException(f"output '{self.name}': no mode {self.mode!r}; use upload")
        if any(part in {".", "..", _CONTROL_FOLDER} for part in self.path.split("/")):
            raise UserErrorException(f"output '{self.name}': {self.path!r} is no place in a datastore; name a folder")
        if unknown := [found for found in _PLACEHOLDER.findall(self.path) if found not in _PLACEHOLDERS]:
            raise UserErrorException(f"output '{self.name}': {unknown[0]} is none of {', '.join(_PLACEHOLDERS)}")
        if self.register_as is not None:
            check_dataset_name(self.register_as)  # now, and not when the job has run for hours
            checked_description(self.description)
            checked_tags(self.tags)

    @property
    def token(self) -> str:
        """What stands for this output in the arguments of a script."""
        return f"{TOKEN}:{self.name}"

    def prefix(self, run_id: str) -> str:
        """Where the files of this output go in its datastore: `a/b/`, or '' for all of it."""
        path = self.path.replace("{run-id}", run_id).replace("{output-name}", self.name)
        return "".join(f"{part}/" for part in path.split("/") if part)


@dataclass(frozen=True, slots=True)
class Stored:
    """What an upload left in the store."""

    files: int
    size_bytes: int


def parse_output(text: str) -> OutputSpec:
    """`NAME[=DATASTORE/PATH][:upload|mount][:register=DATASET]`, as typed on the command line."""
    head, *options = text.split(":")
    name, equals, place = head.partition("=")
    datastore, _, path = place.partition("/")
    if not name or (equals and not datastore):
        raise UserErrorException(f"--output {text!r}: write NAME=DATASTORE/PATH[:upload][:register=DATASET]")
    mode, register_as = "upload", None
    for option in options:
        key, _, value = option.partition("=")
        if key == "register" and value:
            register_as = value
        elif option in get_args(Mode):
            mode = option
        else:
            raise UserErrorException(f"--output {text!r}: {option!r} is neither upload, mount nor register=DATASET")
    return OutputSpec(
        name, datastore or DEFAULT_DATASTORE, path or DEFAULT_PATH, cast("Mode", mode), register_as=register_as
    )


def staged_files(folder: Path, globs: tuple[str, ...] = ()) -> Iterator[tuple[Path, str]]:
    """Yield each file below `folder` with its path there, in order. Links inside the folder are followed.

    Raises:
        BadInputError: something that cannot be stored (a link that leads out, a socket, a name that is ours). Nothing
            is left out in silence.
    """
    root = folder.resolve()
    wanted = [_glob_pattern(glob) for glob in globs]
    for path in _walk(root, root, frozenset()):
        relative = path.relative_to(root).as_posix()
        if relative.split("/", 1)[0] == _CONTROL_FOLDER:
            raise BadInputError(f"{path}: the name {_CONTROL_FOLDER} is Moorage's own; give the file another one")
        if not wanted or any(pattern.fullmatch(relative) for pattern in wanted):
            yield path, relative


def _walk(folder: Path, root: Path, above: frozenset[Path]) -> Iterator[Path]:
    real = folder.resolve()
    if real in above:
        raise BadInputError(f"{folder}: a link to a folder that it lies in; remove it")
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        path = Path(entry.path)
        if entry.is_symlink() and not (path.exists() and path.resolve().is_relative_to(root)):
            raise BadInputError(f"{path}: a link that leads nowhere in the output; write the file itself")
        if entry.is_dir():
            yield from _walk(path, root, above | {real})
        elif entry.is_file():
            yield path
        else:
            raise BadInputError(f"{path}: neither a file nor a folder; it cannot be stored")


def _glob_pattern(glob: str) -> re.Pattern[str]:
    """`*` within a segment, `**` across them; every other character is itself."""
    parts = re.split(r"(\*\*/|\*\*|\*)", glob.strip("/"))
    meaning = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*"}
    return re.compile("".join(meaning.get(part, re.escape(part)) for part in parts), re.DOTALL)


def upload_output(
    workspace: WorkspaceFolder, spec: OutputSpec, run_id: str, folder: Path, *, again: bool = False
) -> Stored:
    """Store what is in `folder`, whole or with an error; `again` is a second attempt, which keeps what is stored already.

    Raises:
        MountdError: an object is in the way, a file cannot be stored, or the store refused or lost something.
    """
    from mountd.stores import registry
    from mountd.uploading.uploader import upload
    from runtime import datastores
    from runtime.datasets.file import what_opens

    if not folder.is_dir() or (spec.source is None and folder.is_symlink()):
        raise BadInputError(f"{folder}: the command removed its folder, or put something else there; write into it")
    record = datastores.get(workspace, spec.datastore)
    prefix = spec.prefix(run_id)
    credential = what_opens(record.url, record.credential)
    writer = registry.open_writer(record.url, credential)
    lister = registry.open_lister(record.url, credential)
    marker = marker_key(prefix)
    files = list(staged_files(folder, spec.source_globs))
    pending = files
    if again and not spec.overwrite:
        reader = registry.open_reader(record.url, credential)
        stored = {info.key: info for info in lister.list(prefix)}
        pending = [(path, name) for path, name in files if not _is_there(path, stored.get(prefix + name), reader)]
    if spec.overwrite or again:
        writer.delete(marker)
    if pending:
        upload(pending, writer, lister, prefix=prefix, overwrite=spec.overwrite)
    result = Stored(len(files), sum(path.stat().st_size for path, _ in files))
    note = {"version": 1, "run_id": run_id, "prefix": prefix, "files": result.files, "bytes": result.size_bytes}
    writer.write(marker, json.dumps(note).encode(), overwrite=True)
    return result


def marker_key(prefix: str) -> str:
    """The key of the commit marker of an output at `prefix`, from the root of its datastore."""
    return f"{_CONTROL_FOLDER}/outputs/{hashlib.sha256(prefix.encode()).hexdigest()[:32]}/commit.json"


def _is_there(path: Path, stored: "ObjectInfo | None", reader: "RangeReader") -> bool:
    """True if the store has exactly the bytes of `path`: by the store's own MD5, else by reading them."""
    if stored is None or stored.size != path.stat().st_size:
        return False
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        for offset in range(0, stored.size, _COMPARE_BYTES):
            block = file.read(_COMPARE_BYTES)
            digest.update(block)
            if stored.md5 is None and reader.read(stored.key, offset, len(block), stored.etag) != block:
                return False
    return stored.md5 is None or stored.md5 == digest.digest()


def register_output(workspace: WorkspaceFolder, spec: OutputSpec, run_id: str) -> str:
    """Register what is stored at the output's place as a new version of `spec.register_as`; return NAME@VERSION.

    Raises:
        NotFoundError: the output holds no file.
        MountdError, UserErrorException: as freezing and registering raise them.
    """
    from runtime.datasets import file
    from runtime.datasets.paths import DatasetPath

    if spec.register_as is None:
        raise UserErrorException(f"output '{spec.name}' has no name to be registered under")
    definition = file.FileDefinition((DatasetPath(spec.datastore, spec.prefix(run_id)),))
    try:
        record = file.register(
            workspace,
            spec.register_as,
            definition,
            description=spec.description,
            tags=spec.tags,
            create_new_version=True,
            made=Made(run_id, spec.name),
        )
    except AlreadyRegisteredError as same:  # an attempt before this one came as far as the catalog
        return f"{same.name}@{same.version}"
    return f"{record.name}@{record.version}"
