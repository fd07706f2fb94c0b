"""The ways in which a labelled file names its image, and the path that each of them means.

AmlDatastore://STORE/PATH                                  v1's first form
azureml://subscriptions/.../datastores/STORE/paths/PATH    its later one
/data/local-files/?d=PATH                                  Label Studio's
anything else                                              a path, or a URL, as it is
"""

from pathlib import PurePosixPath
from typing import Final
from urllib.parse import parse_qs, quote, urlsplit

from runtime.labels.values import BadItem

_FIRST: Final = "amldatastore://"
_LATER: Final = "azureml://"
_LOCAL_FILES: Final = "/data/local-files/"


def on_datastore(file: str) -> tuple[str, str] | None:
    """The datastore and the path on it; None where the name is of another form."""
    lower = file.lower()
    if lower.startswith(_FIRST):
        store, _, path = file[len(_FIRST) :].partition("/")
    elif lower.startswith(_LATER) and "/datastores/" in file and "/paths/" in file:
        store, _, path = file.partition("/datastores/")[2].partition("/paths/")
    else:
        return None
    return (store, path.lstrip("/")) if store and path.strip("/") else None


def below(store: str, path: str) -> str:
    """The name of `path` on the datastore `store`, in v1's first form."""
    return f"AmlDatastore://{store}/{path}"


def path_of(file: str) -> str:
    """A relative path with '/' that stands for the file where no datastore can be named.

    Raises:
        BadItem: it would lead out of the folder that the paths are relative to.
    """
    found = on_datastore(file)
    path = found[1] if found else urlsplit(file).path if "://" in file else file
    path = path.replace("\\", "/").lstrip("/")
    while path.startswith("./"):
        path = path[2:]
    if not path or ".." in PurePosixPath(path).parts:
        raise BadItem(f"{file!r} is no path below a folder")
    return path


def from_local_files(address: str) -> str:
    """What Label Studio shows at `address`."""
    if urlsplit(address).path.rstrip("/") == _LOCAL_FILES.rstrip("/"):
        return parse_qs(urlsplit(address).query).get("d", [""])[0]
    return address


def as_local_files(path: str) -> str:
    """The address at which Label Studio shows `path`."""
    return f"{_LOCAL_FILES}?d={quote(path)}"
