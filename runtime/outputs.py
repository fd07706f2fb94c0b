"""How files leave a job: staged in a folder, stored under a prefix of a datastore, then registered as a dataset.

    upload_output     the files by way of a journal (`mountd.uploading.delivery`), last the commit that lists them
    register_output   what the commit lists as a new version of a dataset; what others left at the same place is no part

The journal lies in the spool beside the staged folder and outlives every process, so each of the two may be cut short at
any point and done again: every file is stored once, and there is one version.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast, get_args

from mountd.errors import BadInputError
from runtime.catalog import DatasetRecord, Made
from runtime.catalog import check_name as check_dataset_name
from runtime.catalog.rows import checked_description, checked_tags
from runtime.consumption import check_name
from runtime.datasets.partition import parse_partition_format
from runtime.errors import AlreadyRegisteredError, UserErrorException
from runtime.workspace import WorkspaceFolder

if TYPE_CHECKING:
    from mountd.uploading.committing import Committed
    from mountd.uploading.destination import Step

Mode = Literal["upload", "mount", "link"]
LINK_FILE = ".moorage-link"
TOKEN = "DatasetOutputConfig"  # noqa: S105 # v1's word for a placeholder; no secret
DEFAULT_DATASTORE = "workspaceblobstore"
DEFAULT_PATH = "dataset/{run-id}/{output-name}"
_CONTROL_FOLDER = ".moorage"
_PLACEHOLDERS = ("{run-id}", "{output-name}")
_PLACEHOLDER = re.compile(r"\{[^{}]*\}")


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """One output of a job, as asked for. `path` may hold {run-id} and {output-name}; `source` None stages in the spool.

    `of_failed_jobs`: also stored, and registered, when the command failed, as the old SDK did.
    """

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
    of_failed_jobs: bool = False
    partition_format: str | None = None

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
        if self.partition_format is not None:
            parse_partition_format(self.partition_format)

    @property
    def token(self) -> str:
        """What stands for this output in the arguments of a script."""
        return f"{TOKEN}:{self.name}"

    def prefix(self, run_id: str) -> str:
        """Where the files of this output go in its datastore: `a/b/`, or '' for all of it."""
        path = self.path.replace("{run-id}", run_id).replace("{output-name}", self.name)
        return "".join(f"{part}/" for part in path.split("/") if part)


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
        elif option in {"upload", "mount"}:
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
    workspace: WorkspaceFolder, spec: OutputSpec, run_id: str, folder: Path, step: "Step | None" = None
) -> "Committed":
    """Store what is in `folder`, whole or with an error; a later attempt goes on where this one was cut short.

    Raises:
        MountdError: an object is in the way, a file cannot be stored, or the store refused or lost something.
        OSError: the disk of the spool refuses.
    """
    from mountd.uploading.delivery import deliver
    from mountd.uploading.destination import Destination, no_step
    from runtime import datastores
    from runtime.datasets.granting import what_opens

    record = datastores.get(workspace, spec.datastore)
    credential = what_opens(record.url, record.credential)
    destination = Destination.open(record.url, spec.prefix(run_id), credential, step=step or no_step)
    journal = journal_folder(workspace, run_id, spec.name)
    return deliver(_files_of(spec, folder), destination, journal, run_id, overwrite=spec.overwrite)


def journal_folder(workspace: WorkspaceFolder, run_id: str, name: str) -> Path:
    """Where the journal of an output is; no output is called so."""
    return workspace.spool_path / run_id / f".{name}.journal"


def _files_of(spec: OutputSpec, folder: Path) -> Iterator[tuple[Path, str]]:
    if not folder.is_dir() or (spec.source is None and folder.is_symlink()):
        raise BadInputError(f"{folder}: the command removed its folder, or put something else there; write into it")
    yield from staged_files(folder, spec.source_globs)


def linked_dataset(workspace: WorkspaceFolder, spec: OutputSpec, folder: Path) -> DatasetRecord:
    """The dataset that the script linked to an output that is a link.

    Raises:
        UserErrorException: it linked none.
    """
    from runtime.datasets import file

    try:
        identifier = (folder / LINK_FILE).read_text("utf-8")
    except FileNotFoundError:
        raise UserErrorException(
            f"nothing was linked; the script calls run.output_datasets['{spec.name}'].link(dataset)"
        ) from None
    return file.find_record(workspace, identifier)


def register_link(workspace: WorkspaceFolder, spec: OutputSpec, run_id: str, linked: DatasetRecord) -> str:
    """Give the linked dataset the output's name as a new version; return NAME@VERSION."""
    from runtime.catalog import open_catalog

    if spec.register_as is None:
        raise UserErrorException(f"output '{spec.name}' has no name to be registered under")
    facts = (linked.definition, linked.digest, linked.files, linked.size_bytes, spec.description, spec.tags)
    try:
        with open_catalog(workspace) as catalog:
            made = Made(run_id, spec.name)
            record = catalog.register(spec.register_as, *facts, create_new_version=True, made=made)
    except AlreadyRegisteredError as same:
        return f"{same.name}@{same.version}"
    return f"{record.name}@{record.version}"


def register_output(workspace: WorkspaceFolder, spec: OutputSpec, run_id: str, committed: "Committed") -> str:
    """Register what the commit lists as a new version of `spec.register_as`; return NAME@VERSION.

    Raises:
        DataChangedError: a file is not there any more as it was committed.
        MountdError, UserErrorException: as freezing and registering raise them.
    """
    from runtime.datasets import file
    from runtime.datasets.paths import DatasetPath

    if spec.register_as is None:
        raise UserErrorException(f"output '{spec.name}' has no name to be registered under")
    definition = file.FileDefinition((DatasetPath(spec.datastore, spec.prefix(run_id)),), spec.partition_format)
    try:
        record = file.register(
            workspace,
            spec.register_as,
            definition,
            description=spec.description,
            tags=spec.tags,
            create_new_version=True,
            made=Made(run_id, spec.name),
            frozen=file.freeze_files(workspace, definition, committed.etags),
        )
    except AlreadyRegisteredError as same:  # an attempt before this one came as far as the catalog
        return f"{same.name}@{same.version}"
    return f"{record.name}@{record.version}"
