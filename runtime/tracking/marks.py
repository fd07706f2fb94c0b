"""Marks on a run: tags, properties, its display name, and the failure that a script told.

    runs/<run id>/marks.json

Any process may change the file: it holds a lock against the others, and replaces the file whole. Tags may change,
properties are set once.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from runtime.errors import UserErrorException
from runtime.workspace.files import locked, write_whole

_MAX_TEXT = 65_536  # characters of all tags, and of all properties, as JSON


@dataclass(frozen=True, slots=True)
class Marks:
    """What people said of a run. `failure` is what `Run.fail` was told, None if it was never called."""

    tags: Mapping[str, str | None] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    display_name: str | None = None
    failure: str | None = None


def read(folder: Path, tags: Mapping[str, str]) -> Marks:
    """The marks of the run in `folder`; `tags` are those that it was submitted with."""
    try:
        document = json.loads((folder / "marks.json").read_text("utf-8"))
        return Marks(**document)
    except FileNotFoundError:
        return Marks(dict(tags))
    except (ValueError, TypeError) as error:
        raise UserErrorException(f"{folder / 'marks.json'}: not the marks of a run ({error}); remove it") from None


def change(folder: Path, tags: Mapping[str, str], make: Callable[[Marks], Mapping[str, Any]]) -> Marks:
    """Replace the fields that `make` names; it is a pure function of what stands there now."""
    with locked(folder / ".marks.lock"):
        now = read(folder, tags)
        changed = replace(now, **make(now))
        for told in (changed.tags, changed.properties):
            if len(json.dumps(dict(told))) > _MAX_TEXT:
                raise UserErrorException(
                    f"more than {_MAX_TEXT} characters of tags or properties; keep long texts in files"
                )
        write_whole(folder / "marks.json", json.dumps(asdict(changed), indent=1) + "\n")
        return changed


def texts(what: str, given: Mapping[Any, Any]) -> dict[str, str]:
    """Tags or properties as text: numbers become text, as in v1; anything else is an error."""
    if not isinstance(given, Mapping):
        raise UserErrorException(f"{what}: give a dictionary, not {type(given).__name__}")
    return {checked_key(what, key): text(what, key, value) for key, value in given.items()}


def text(what: str, key: str, value: object) -> str:
    """One value as text."""
    if not isinstance(value, str | int | float):
        raise UserErrorException(f"{what} {key!r}: {type(value).__name__} is no text; give a string")
    return str(value)


def checked_key(what: str, key: object) -> str:
    """Return `key` if a tag or property can be called so."""
    if not isinstance(key, str) or not key:
        raise UserErrorException(f"{what} {key!r}: a key is text, and not empty")
    return key


def added_properties(now: Marks, added: Mapping[str, str]) -> dict[str, str]:
    """All properties with `added`.

    Raises:
        UserErrorException: one of them has another value already.
    """
    for key, value in added.items():
        if now.properties.get(key, value) != value:
            raise UserErrorException(
                f"property {key!r} is {now.properties[key]!r} already, and properties do not change; use a tag"
            )
    return {**now.properties, **added}
