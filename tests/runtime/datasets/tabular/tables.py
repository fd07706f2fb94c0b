"""Files of text in a folder, as a tabular definition reads them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mountd.stores.local import LocalStore
from runtime.datasets.tabular.definition import JsonLines, Parquet, TabularDefinition
from runtime.datasets.tabular.delimited import Delimited
from runtime.datasets.tabular.evaluating import evaluate
from runtime.datasets.tabular.files import TableFile
from runtime.datasets.tabular.violations import Violations


class Counted:
    """A store's reader that counts what it was asked for."""

    def __init__(self, store: LocalStore) -> None:
        self._store = store
        self.bytes, self.keys = 0, set[str]()

    url, in_place = "file:///", True

    def read(self, key: str, offset: int, size: int, etag: str) -> bytes:
        self.bytes += size
        self.keys.add(key)
        return bytes(self._store.read(key, offset, size, etag))


def files(folder: Path, texts: Mapping[str, str | bytes]) -> list[TableFile]:
    """Write `texts` by name below `folder`, and open them."""
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return opened(folder)


def opened(folder: Path) -> list[TableFile]:
    """All that is below `folder`, in order."""
    store = LocalStore(folder, f"file://{folder}/")
    reader = Counted(store)
    found = sorted(store.list(), key=lambda info: info.key)
    return [
        TableFile(
            each.key, f"file://{folder}/{each.key}", each.size, 0, f"{folder}/{each.key}", each.key, each.etag, reader
        )
        for each in found
        if each.size and not each.is_directory
    ]


def rows(
    found: list[TableFile],
    source: Delimited | Parquet | JsonLines | None = None,
    violations: Violations | None = None,
    **told: Any,
) -> list[dict[str, Any]]:
    """All rows, as Python has them."""
    definition = TabularDefinition((), source or Delimited(), **told)
    read = evaluate(definition, found, violations or Violations())
    return [row for batch in read.batches for row in batch.to_pylist()]


def columns(
    found: list[TableFile], source: Delimited | Parquet | JsonLines | None = None, **told: Any
) -> dict[str, str]:
    """The columns and their Arrow types."""
    schema = evaluate(TabularDefinition((), source or Delimited(), **told), found, Violations()).schema
    return {field.name: str(field.type) for field in schema}
