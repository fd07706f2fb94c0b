"""DataPath: v1's name for a path below a datastore."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtime.api.datastore import Datastore


@dataclass(frozen=True, slots=True)
class DataPath:
    """A path below a datastore; None is all of it. `name` is what v1 called a reference to it, and has no other use."""

    datastore: "Datastore"
    path_on_datastore: str | None = None
    name: str | None = None
