"""DataPath, DataReference and DataPathComputeBinding: v1's names for a path below a datastore, and for how a job gets it.

A DataReference is an input of a job, as a dataset of that path is (or, `as_upload`, an output), under the name of the
reference; `str()` of it is the variable that holds its place in the job, which is what v1 scripts put into arguments.
"""

import re
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from runtime.consumption import TOKEN, InputSpec, check_name
from runtime.errors import UserErrorException
from runtime.outputs import TOKEN as OUTPUT_TOKEN
from runtime.outputs import OutputSpec
from runtime.workspace import WorkspaceFolder

if TYPE_CHECKING:
    from runtime.api.datastore import Datastore

ReferenceMode = Literal["mount", "download", "upload"]
_PARTS = re.compile(r"[^A-Za-z0-9_]+")


@dataclass(frozen=True, slots=True)
class DataPathComputeBinding:
    """How a job gets a path: `mode` is mount, download or upload."""

    mode: str = "mount"
    path_on_compute: str | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        check_mode(self.mode, "DataPathComputeBinding")


@dataclass(frozen=True, slots=True)
class DataPath:
    """A path below a datastore; None is all of it. `name` is what a reference to it is called."""

    datastore: "Datastore"
    path_on_datastore: str | None = None
    name: str | None = None

    def create_data_reference(
        self, data_reference_name: str | None = None, datapath_compute_binding: DataPathComputeBinding | None = None
    ) -> "DataReference":
        """A reference to this path, that a job gets as the binding says."""
        binding = datapath_compute_binding or DataPathComputeBinding()
        name = data_reference_name or self.name
        path, place = self.path_on_datastore, binding.path_on_compute
        return DataReference(self.datastore, name, path, binding.mode, place, binding.overwrite)

    @staticmethod
    def create_from_data_reference(data_reference: "DataReference") -> "DataPath":
        """The path of a reference."""
        return DataPath(data_reference.datastore, data_reference.path_on_datastore, data_reference.data_reference_name)


class DataReference:
    """A path below a datastore as a job's input `data_reference_name` (None: a name of its own).

    Raises:
        UserErrorException: the name cannot be a variable's, or the mode is none.
    """

    def __init__(
        self,
        datastore: "Datastore",
        data_reference_name: str | None = None,
        path_on_datastore: str | None = None,
        mode: str = "mount",
        path_on_compute: str | None = None,
        overwrite: bool = False,  # noqa: FBT001, FBT002 # v1's signature
    ) -> None:
        self.datastore = datastore
        self.data_reference_name = check_name(data_reference_name or f"ref_{uuid.uuid4().hex[:8]}", "data reference")
        self.path_on_datastore = path_on_datastore
        self.mode = check_mode(mode, f"data reference '{self.data_reference_name}'")
        self.path_on_compute = path_on_compute
        self.overwrite = overwrite

    @property
    def name(self) -> str:
        """The name of the input or output."""
        return self.data_reference_name

    @property
    def arg_val(self) -> str:
        """The token that stands for its place in a script's arguments."""
        return f"{OUTPUT_TOKEN if self.mode == 'upload' else TOKEN}:{self.name}"

    def path(self, path: str | None = None, data_reference_name: str | None = None) -> "DataReference":
        """A reference to a path below this one; its name is this one's and the path's, if none is given."""
        below = "/".join(part.strip("/") for part in (self.path_on_datastore or "", path or "") if part.strip("/"))
        name = data_reference_name or "_".join(filter(None, (self.name, _PARTS.sub("_", path or "").strip("_"))))
        return DataReference(self.datastore, name, below or None, self.mode)

    def as_mount(self) -> "DataReference":
        """The same, mounted; a new object."""
        return self._as("mount")

    def as_download(self, path_on_compute: str | None = None, overwrite: bool = False) -> "DataReference":  # noqa: FBT001, FBT002 # v1's signature
        """The same, downloaded; a new object."""
        return self._as("download", path_on_compute, overwrite=overwrite)

    def as_upload(self, path_on_compute: str | None = None, overwrite: bool = False) -> "DataReference":  # noqa: FBT001, FBT002 # v1's signature
        """The path as an output: the folder `path_on_compute` is stored there when the job has succeeded."""
        return self._as("upload", path_on_compute, overwrite=overwrite)

    def to_config(self) -> dict[str, Any]:
        """As a run configuration's `data_references` has it."""
        return {
            "datastore_name": self.datastore.name,
            "mode": self.mode,
            "path_on_datastore": self.path_on_datastore,
            "path_on_compute": self.path_on_compute,
            "overwrite": self.overwrite,
        }

    def spec_in(self, folder: WorkspaceFolder) -> InputSpec:
        """What the job is told of an input; what lies at the path is frozen and kept in the workspace `folder`.

        Raises:
            UserErrorException: it is an output, or of another workspace; MountdError as freezing raises it.
        """
        from runtime.api.dataset import Dataset

        if self.mode == "upload":
            raise UserErrorException(f"data reference '{self.name}' is an output (as_upload), and stands as an input")
        dataset = Dataset.File.from_files(DataPath(self.datastore, self.path_on_datastore))
        mode: Literal["mount", "download"] = "mount" if self.mode == "mount" else "download"
        return InputSpec(self.name, dataset.saved_in(folder).id, mode, self.path_on_compute)

    def output_spec(self) -> OutputSpec:
        """What the job is told of an output.

        Raises:
            UserErrorException: it is an input, or all of a datastore.
        """
        if self.mode != "upload":
            raise UserErrorException(
                f"data reference '{self.name}' is an input ({self.mode}); as_upload() makes an output"
            )
        place = (self.path_on_datastore or "").strip("/")
        if not place:
            raise UserErrorException(f"data reference '{self.name}': name a path on the datastore to upload to")
        return OutputSpec(self.name, self.datastore.name, place, overwrite=self.overwrite, source=self.path_on_compute)

    def _as(
        self, mode: ReferenceMode, path_on_compute: str | None = None, *, overwrite: bool = False
    ) -> "DataReference":
        place = path_on_compute or self.path_on_compute
        return DataReference(self.datastore, self.name, self.path_on_datastore, mode, place, overwrite)

    def __str__(self) -> str:
        return f"$AZUREML_DATAREFERENCE_{self.name}"

    def __repr__(self) -> str:
        place = f"{self.datastore.name}/{self.path_on_datastore or ''}"
        return f"DataReference(name={self.name!r}, path={place!r}, mode={self.mode!r})"


def check_mode(mode: str, what: str) -> ReferenceMode:
    """Return `mode` if a path can be had so."""
    if mode not in get_args(ReferenceMode):
        raise UserErrorException(f"{what}: no mode {mode!r}; use {', '.join(get_args(ReferenceMode))}")
    return cast("ReferenceMode", mode)
