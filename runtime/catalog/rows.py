"""Rows of the catalog's tables as values, and values as rows; what people write is checked on the way in."""

import datetime as dt
import json
import uuid
from collections.abc import Mapping
from typing import Any

from runtime.catalog import DatasetRecord, RunFacts
from runtime.errors import UserErrorException

_MAX_TEXT = 65_536  # characters: of a description, and of all tags of a version as JSON


def new_version_row(definition: str, digest: str, files: int, size_bytes: int) -> dict[str, Any]:
    """The row of a version without a name, made now."""
    return {
        "id": str(uuid.uuid4()),
        "name": None,
        "version": None,
        "definition": definition,
        "digest": digest,
        "files": files,
        "size_bytes": size_bytes,
        "description": "",
        "tags": "{}",
        "created": dt.datetime.now(dt.UTC).isoformat(),
    }


def dataset_record(row: Mapping[Any, Any]) -> DatasetRecord:
    """A row of `versions`."""
    return DatasetRecord(
        row["id"],
        row["name"] or "",
        row["version"] or 0,
        row["definition"],
        row["digest"],
        row["files"],
        row["size_bytes"],
        row["description"],
        json.loads(row["tags"]),
        dt.datetime.fromisoformat(row["created"]),
    )


def run_row(run: RunFacts) -> dict[str, Any]:
    """The row of a run."""
    return {
        "id": run.id,
        "experiment": run.experiment,
        "status": run.status,
        "place": run.place,
        "created": run.created,
        "started": run.started,
        "ended": run.ended,
        "exit_code": run.exit_code,
        "command": json.dumps(run.command),
    }


def run_facts(row: Mapping[Any, Any]) -> RunFacts:
    """A row of `runs`."""
    return RunFacts(
        row["id"],
        row["experiment"],
        row["status"],
        row["place"],
        row["created"],
        row["started"],
        row["ended"],
        row["exit_code"],
        tuple(json.loads(row["command"])),
    )


def checked_description(text: str) -> str:
    """Return `text` if every database can keep it."""
    if len(text) > _MAX_TEXT:
        raise UserErrorException(f"the description has {len(text)} characters; {_MAX_TEXT} is the most")
    if "\0" in text or not _is_unicode(text):
        raise UserErrorException("the description holds bytes that are no text; write it in UTF-8, without NUL")
    return text


def checked_tags(tags: Mapping[Any, Any]) -> dict[str, str]:
    """Return `tags` as a dictionary of strings, if it is one."""
    for key, value in tags.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise UserErrorException(f"the tag {key!r}: {value!r} is not text; tags are a dictionary of strings")
        if not key or not _is_unicode(key + value):
            raise UserErrorException(
                f"the tag {key!r}: {value!r} cannot be kept; a key is not empty, and both are UTF-8"
            )
    if len(json.dumps(dict(tags))) > _MAX_TEXT:
        raise UserErrorException(f"the tags are longer than {_MAX_TEXT} characters together; keep long texts elsewhere")
    return dict(tags)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # what the command line got as bytes that are no UTF-8
        return False
    return True
