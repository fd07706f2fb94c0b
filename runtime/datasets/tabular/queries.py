"""Queries in the catalog: as versions of a name, or without one for a job. There are no files, and nothing is frozen."""

from collections.abc import Mapping

from runtime.catalog import DatasetRecord, check_name, open_catalog
from runtime.datasets.tabular.definition import TabularDefinition
from runtime.workspace import WorkspaceFolder


def register(
    workspace: WorkspaceFolder,
    name: str,
    definition: TabularDefinition,
    *,
    description: str | None = None,
    tags: Mapping[str, str] | None = None,
    create_new_version: bool = False,
) -> DatasetRecord:
    """Give the query a name; errors as `Catalog.register`."""
    check_name(name)
    with open_catalog(workspace) as catalog:
        return catalog.register(
            name,
            definition.to_json(),
            definition.digest,
            0,
            0,
            description,
            tags,
            create_new_version=create_new_version,
        )


def save(workspace: WorkspaceFolder, definition: TabularDefinition) -> DatasetRecord:
    """Keep the query without a name, so that a job can refer to it by id."""
    with open_catalog(workspace) as catalog:
        return catalog.save(definition.to_json(), definition.digest, 0, 0)
