"""What datasets of every kind share: their record in a workspace's catalog, its description and its tags."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Self

from mountd.errors import DefectError, MountdError
from runtime.catalog import DatasetRecord, open_catalog
from runtime.datasets.paths import NamesPath
from runtime.errors import DatasetValidationError, UserErrorException
from runtime.workspace import WorkspaceFolder


@contextmanager
def validating() -> Iterator[None]:
    """Whatever the stores say while a dataset is validated has the class that v1's scripts catch.

    Raises:
        DatasetValidationError: a file is not there, or cannot be read.
    """
    try:
        yield
    except DefectError:
        raise
    except MountdError as error:
        raise DatasetValidationError(str(error)) from error


class RegisteredDataset:
    """A dataset that may have a record: `folder` is the workspace that it is in, if it is in one."""

    def __init__(self, folder: WorkspaceFolder | None, record: DatasetRecord | None) -> None:
        self._folder = folder
        self._record = record

    @property
    def id(self) -> str | None:
        """The GUID; None until it is registered, or used by a job."""
        return self._record.id if self._record else None

    @property
    def name(self) -> str | None:
        """The name; None until it is registered."""
        return (self._record.name or None) if self._record else None

    @property
    def version(self) -> int | None:
        """The version; None until it is registered."""
        return (self._record.version or None) if self._record else None

    @property
    def description(self) -> str | None:
        """What is said of it: when it was registered, or by `update` since."""
        return (self._record.description or None) if self._record else None

    @property
    def tags(self) -> dict[str, str]:
        """What it is tagged with; a copy, `add_tags` and its like change it."""
        return dict(self._record.tags) if self._record else {}

    def update(self, description: str | None = None, tags: Mapping[str, str] | None = None) -> Self:
        """Replace the description, the tags, or both, of this version; what is None stays. Returns this object.

        Raises:
            UserErrorException: it is not registered, or a text cannot be kept.
        """
        return self._changed(description, None if tags is None else lambda _: tags)

    def add_tags(self, tags: Mapping[str, str]) -> Self:
        """Add tags to this version; all of them or none. Returns this object.

        Raises:
            UserErrorException: it is not registered, or a tag is there with another value.
        """
        if not isinstance(tags, Mapping):
            raise UserErrorException(f"add_tags takes a dictionary of strings, and not {tags!r}")
        return self._changed(None, lambda there: _with_added(there, tags))

    def remove_tags(self, tags: "Sequence[str] | Mapping[str, str]") -> Self:
        """Remove the tags of these names from this version; names that are not there are no error. Returns this object."""
        if isinstance(tags, str) or not isinstance(tags, Sequence | Mapping):
            raise UserErrorException(f"remove_tags takes a list of the tags' names, and not {tags!r}")
        return self._changed(None, lambda there: {key: there[key] for key in there if key not in tags})

    def unregister_all_versions(self) -> None:
        """Take the name from all versions of this dataset's name; no data is touched, and ids stay valid.

        Raises:
            UserErrorException: it is not registered.
        """
        folder, record = self._registered()
        with open_catalog(folder) as catalog:
            catalog.unregister(record.name)
            self._record = catalog.get_by_id(record.id)

    def _registered(self) -> tuple[WorkspaceFolder, DatasetRecord]:
        if self._folder is None or self._record is None or not self._record.name:
            raise UserErrorException(
                "this dataset has no name in a workspace; register() returns one that has, as does Dataset.get_by_name()"
            )
        return self._folder, self._record

    def _changed(
        self, description: str | None, tags: "Callable[[Mapping[str, str]], Mapping[str, str]] | None"
    ) -> Self:
        folder, record = self._registered()
        with open_catalog(folder) as catalog:
            self._record = catalog.change(record.id, description, tags)
        return self


def folder_of(workspace: object) -> WorkspaceFolder:
    """The folder of what was given as a workspace.

    Raises:
        UserErrorException: it is none.
    """
    folder = getattr(workspace, "folder", None)
    if not isinstance(folder, WorkspaceFolder):
        raise UserErrorException(f"{workspace!r} is no workspace; get one with Workspace.from_config()")
    return folder


def _with_added(there: Mapping[str, str], tags: Mapping[str, str]) -> Mapping[str, str]:
    for key, value in tags.items():
        if there.get(key, value) != value:
            raise UserErrorException(
                f"the tag {key!r} is {there[key]!r} already; remove_tags([{key!r}]) first, or update(tags=...)"
            )
    return {**there, **tags}


def folder_in(path: object) -> WorkspaceFolder | None:
    """The workspace of the datastore that a path names, if it names one."""
    first = path[0] if isinstance(path, list) and path else path
    datastore = first.datastore if isinstance(first, NamesPath) else first[0] if isinstance(first, tuple) else None
    workspace = getattr(datastore, "workspace", None)
    folder = getattr(workspace, "folder", None)
    return folder if isinstance(folder, WorkspaceFolder) else None
