"""The files that a column of paths names: URLs, local paths, `AmlDatastore://NAME/PATH`, each once and in order."""

from typing import TYPE_CHECKING, Final

from runtime.datasets.file import FileDefinition, freeze_definition
from runtime.datasets.paths import DatasetPath, below_datastore, parse_text
from runtime.errors import UserErrorException
from runtime.workspace import WorkspaceFolder

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa

_DATASTORE: Final = "amldatastore://"


def paths(schema: "pa.Schema", batches: "Iterable[pa.RecordBatch]", column: str) -> tuple[DatasetPath, ...]:
    """What `column` names; rows without a value name nothing.

    Raises:
        UserErrorException: there is no such column, or it holds no paths.
    """
    import pyarrow as pa

    if column not in schema.names:
        raise UserErrorException(f"no column {column!r}; there are {', '.join(schema.names)}")
    if not pa.types.is_string(schema.field(column).type):
        raise UserErrorException(f"column '{column}' is {schema.field(column).type}, and no paths of files")
    found: dict[DatasetPath, None] = {}
    for batch in batches:
        for text in batch.column(column).unique().to_pylist():
            if text:
                found[_path(text)] = None
    return tuple(found)


def present(workspace: WorkspaceFolder, wanted: tuple[DatasetPath, ...]) -> tuple[DatasetPath, ...]:
    """Those of `wanted` that are there; each is asked for by itself only where not all are."""
    from mountd.errors import NotFoundError

    try:
        if wanted:
            freeze_definition(workspace, FileDefinition(wanted))
    except NotFoundError:
        if len(wanted) == 1:
            return ()
        middle = len(wanted) // 2
        return present(workspace, wanted[:middle]) + present(workspace, wanted[middle:])
    return wanted


def _path(text: str) -> DatasetPath:
    if text[: len(_DATASTORE)].lower() == _DATASTORE:
        name, _, below = text[len(_DATASTORE) :].partition("/")
        return below_datastore(name, below)
    return parse_text(text)
