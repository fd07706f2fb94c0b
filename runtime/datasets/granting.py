"""What opens the places of a dataset's paths, and whether each of them is a file or a folder.

Credentials are looked up whenever they are needed: by datastore, or, for a bare Azure URL, in the environment. In a
job, which has none, its helper is asked in their place.
"""

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from runtime.datasets.paths import DatasetPath, Place, locate
from runtime.datastores import reaching
from runtime.errors import UserErrorException
from runtime.workspace import WorkspaceFolder

if TYPE_CHECKING:
    from mountd.stores.credentials import Credential

_LOG = logging.getLogger(__name__)


def granted(workspace: WorkspaceFolder, paths: Iterable[DatasetPath]) -> "list[tuple[Place, Credential | None]]":
    """Where each path lies, and what opens it."""
    from mountd.stores.credentials import sas

    found = []
    for path in paths:
        record = reaching.get(workspace, path.datastore) if path.datastore else None
        place = locate(path, record.url if record else "")
        credential = what_opens(place.root, record.credential if record else None)
        if warning := sas.check(credential):
            _LOG.warning("%s: %s", place.root, warning)
        found.append((place, credential))
    return found


def what_opens(url: str, kept: "Credential | None") -> "Credential | None":
    """The credential for a place: the one that is kept for it, else for Azure's services the environment's."""
    from mountd.stores.credentials.origins import from_environment
    from mountd.stores.registry import takes_credentials

    return from_environment() if kept is None and takes_credentials(url) else kept


def settled(workspace: WorkspaceFolder, path: DatasetPath, place: Place, credential: "Credential | None") -> Place:
    """Ask the store whether a path without a '/' at its end is a file or a folder."""
    if place.has_glob or not place.path or place.path.endswith("/"):
        return place
    from mountd.stores.registry import local_path, parse_source

    source = parse_source(place.base_url)
    if source.kind == "https":  # no listing there, so no folders
        return place
    if source.kind == "file":
        return place.as_folder() if (local_path(source) / place.pattern).is_dir() else place
    lister = reaching.lister(workspace, path.datastore, place.folder, place.base_url, credential)
    name, folder = place.pattern, f"{place.pattern}/"
    for found in lister.list(name):
        if found.key.startswith(folder) or (found.key == name and found.is_directory):
            return place.as_folder()
        if found.key == name:
            below = next(iter(lister.list(folder)), None)
            if below is not None and found.size:
                raise UserErrorException(
                    f"{place.base_url}: '{name}' holds {found.size} bytes, and '{below.key}' lies below it; name '{folder}' "
                    "for the folder, or rename one of the two"
                )
            return place if below is None else place.as_folder()
    return place  # nothing there: the freeze says so, with the store's own words


def credential_for(url: str, granted: "list[tuple[Place, Credential | None]]") -> "Credential | None":
    """The credential of the nearest path at or above `url`."""
    above = [(len(place.base_url), credential) for place, credential in granted if url.startswith(place.base_url)]
    return max(above, key=lambda each: each[0])[1] if above else None
