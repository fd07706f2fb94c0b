"""OfflineRun: v1's Run for a script that no job runs; it never fails for not being in one.

What it logs goes to `outputs/<its id>/` where the script stands, made when the first thing is logged, and one line says so.
Tags, properties and the status live in this process only.
"""

import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from runtime.api.experiment import Experiment
from runtime.api.run import OFFLINE, Run
from runtime.errors import UnknownNameError, UserErrorException
from runtime.job.runs import RunRecord
from runtime.tracking.marks import Marks


class OfflineRun(Run):
    """A run of this process alone."""

    def __init__(self, experiment: Experiment, parent: "OfflineRun | None" = None) -> None:
        super().__init__(experiment, f"{OFFLINE}{uuid.uuid4()}")
        self._place = Path.cwd() / "outputs" / self.id
        self._marks = Marks()
        self._status = "Running"
        self._parent = parent
        self._children: list[OfflineRun] = []
        self._told = False

    @property
    def _folder(self) -> Path:
        return self._place

    def _before_writing(self) -> None:
        if not self._told:
            self._told = True
            place = f"moorage: no job around this process: what it logs is kept in {self._place}"
            print(place, file=sys.stderr)  # noqa: T201 # a line for the user, not a log

    def _logs(self) -> dict[str, Path]:
        return {}

    def _read_marks(self) -> Marks:
        return self._marks

    def _change_marks(self, make: Any) -> None:
        from dataclasses import replace

        self._marks = replace(self._marks, **make(self._marks))

    def get_status(self) -> str:
        """Running until the script says how it ended."""
        return self._status

    def get_details(self) -> dict[str, Any]:
        """Its id, status, tags and properties."""
        return {
            "runId": self.id,
            "status": self._status,
            "tags": self.get_tags(),
            "properties": self.get_properties(),
            "inputDatasets": [],
            "outputDatasets": [],
            "logFiles": {},
        }

    def wait_for_completion(
        self,
        show_output: bool = False,  # noqa: ARG002, FBT001, FBT002 # v1's signature
        wait_post_processing: bool = False,  # noqa: ARG002, FBT001, FBT002 # as above
        raise_on_error: bool = True,  # noqa: ARG002, FBT001, FBT002 # as above
    ) -> dict[str, Any]:
        """Not there: the end of this run is the end of this process."""
        raise UserErrorException("an offline run has no end to wait for")

    def start(self) -> None:
        """It runs already."""

    def complete(self, _set_status: bool = True) -> None:  # noqa: FBT001, FBT002 # v1's signature
        """Note that the script is done."""
        self._status = "Completed"

    def fail(self, error_details: Any = None, error_code: Any = None, _set_status: bool = True) -> None:  # noqa: ARG002, FBT001, FBT002 # as above
        """Note that the script has failed."""
        self._status = "Failed"

    def cancel(self) -> None:
        """Note that the script was canceled; it goes on."""
        self._status = "Canceled"

    def child_run(self, name: str | None = None, run_id: str | None = None, outputs: Any = None) -> "Run":  # noqa: ARG002 # as above
        """Another offline run below this one."""
        child = OfflineRun(self.experiment, self)
        if name:
            child.display_name = name
        self._children.append(child)
        return child

    def create_children(
        self, count: int | None = None, tag_key: str | None = None, tag_values: Any = None
    ) -> "Sequence[Run]":
        """Several offline runs below this one."""
        values = list(tag_values) if tag_values is not None else [None] * int(count or 0)
        made = [self.child_run() for _ in values]
        for child, value in zip(made, values, strict=True):
            if tag_key is not None:
                child.tag(tag_key, value)
        return made

    def get_children(
        self,
        recursive: bool = False,  # noqa: FBT001, FBT002 # v1's signature
        tags: Any = None,  # noqa: ARG002 # as above
        properties: Any = None,  # noqa: ARG002 # as above
        type: str | None = None,  # noqa: A002, ARG002 # as above
        status: str | None = None,
        _rehydrate_runs: bool = True,  # noqa: FBT001, FBT002 # as above
    ) -> "Iterator[Run]":
        """The runs below this one, the newest first."""
        for child in reversed(self._children):
            if status in {None, child.get_status()}:
                yield child
            if recursive:
                yield from child.get_children(recursive=True)

    @property
    def parent(self) -> "Run | None":
        """The run that this one was made by."""
        return self._parent

    @property
    def number(self) -> int:
        """It is not counted."""
        return 0

    @property
    def type(self) -> str | None:
        """It has none."""
        return None

    def get_portal_url(self) -> str:
        """The folder of what it logs, as a URL."""
        return self._place.as_uri()

    def _record(self) -> RunRecord:
        raise UnknownNameError("an offline run has no record")

    def submit_child(self, config: Any, tags: Mapping[str, str] | None = None, **options: Any) -> "Run":
        """A job of its own: there is no run that it could belong to."""
        return self.experiment.submit(config, tags, **options)
