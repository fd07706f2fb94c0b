"""A run as v1's `get_details` describes it, and the filters of v1's lists of runs: pure, over records and marks."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePath
from typing import Any

from runtime.job import runs
from runtime.job.runs import InputRecord, OutputRecord, RunRecord
from runtime.tracking.marks import Marks

SCRIPT_RUN = "azureml.scriptrun"
Wanted = str | Mapping[str, Any] | Iterable[Any] | None


def describe(record: RunRecord, marks: Marks, status: str, logs: Mapping[str, str]) -> dict[str, Any]:
    """The details; `logs` are the places of the run's logs by name."""
    details: dict[str, Any] = {
        "runId": record.run_id,
        "target": "local",
        "status": status,
        "createdTimeUtc": record.created,
        "startTimeUtc": record.started,
        "endTimeUtc": record.ended,
        "exitCode": record.exit_code,
        "parentRunId": record.parent,
        "tags": dict(marks.tags),
        "properties": dict(marks.properties),
        "inputDatasets": [_input(each) for each in record.inputs],
        "outputDatasets": [_output(each) for each in record.outputs],
        "runDefinition": _definition(record),
        "logFiles": dict(logs),
    }
    if record.error:
        details["error"] = {"error": {"code": "UserError", "message": record.error}}
    return details


def _input(each: InputRecord) -> dict[str, Any]:
    consumption = {
        "type": "RunInput",
        "inputName": each.name,
        "mechanism": each.asked.capitalize(),
        "pathOnCompute": each.value,
    }
    dataset = {"id": each.dataset_id, "name": each.dataset, "version": each.version, "digest": each.digest}
    return {"dataset": dataset, "consumptionDetails": consumption}


def _output(each: OutputRecord) -> dict[str, Any]:
    name, _, version = (each.registered or "").rpartition("@")
    return {
        "identifier": {"registeredName": name, "registeredVersion": version} if each.registered else None,
        "outputType": "RunOutput",
        "outputDetails": {"outputName": each.name},
        "dataset": {"datastore": each.datastore, "path": each.path, "registered": each.registered},
    }


def _definition(record: RunRecord) -> dict[str, Any]:
    command = list(record.spec.command)
    is_python = PurePath(command[0]).name.startswith("python") and len(command) > 1
    return {
        "script": command[1] if is_python else None,
        "command": "" if is_python else command,
        "arguments": command[2:] if is_python else command[1:],
        "sourceDirectoryDataStore": None,
        "target": "local",
        "data": {each.name: each.dataset for each in record.inputs},
        "outputData": {each.name: f"{each.datastore}/{each.path}" for each in record.outputs},
    }


def type_of(record: RunRecord) -> str | None:
    """v1's word for what a run is; None for one that a notebook began."""
    return SCRIPT_RUN if record.kind == runs.JOB else None


def selected(
    records: Iterable[tuple[RunRecord, Marks]],
    type: str | None = None,  # noqa: A002 # v1's name
    tags: Wanted = None,
    properties: Wanted = None,
    status: str | None = None,
) -> Iterator[RunRecord]:
    """The records that every filter lets through."""
    for record, marks in records:
        if (
            type in {None, type_of(record)}
            and status in {None, runs.status_of(record)}
            and has_all(marks.tags, tags)
            and has_all(marks.properties, properties)
        ):
            yield record


def has_all(there: Mapping[str, Any], wanted: Wanted) -> bool:
    """True if every wanted key is there, with its value where one is said: 'key', {'key': value}, or a list of both."""
    if wanted is None:
        return True
    if isinstance(wanted, str):
        return wanted in there
    if isinstance(wanted, Mapping):
        return all(key in there and (value is None or there[key] == str(value)) for key, value in wanted.items())
    return all(has_all(there, each) for each in wanted)
