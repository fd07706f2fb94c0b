"""What may be logged: v1's kinds of metrics, checked and turned into plain values.

Numbers of numpy, torch and their like are taken by their `item()`; NaN and the infinities stay what they are. Anything else
is an error that names the metric and the type, where it is logged and not where it is read.
"""

import json
import numbers
from collections.abc import Iterable, Mapping
from typing import Any

from runtime.errors import UserErrorException

MAX_NAME = 255
MAX_ENTRY_BYTES = 1 << 20  # of one call, as JSON
Scalar = str | int | float | bool


def checked_name(name: object) -> str:
    """Return `name` if a metric can be called so."""
    if not isinstance(name, str) or not name or len(name) > MAX_NAME:
        raise UserErrorException(f"{name!r:.80} is no name for a metric: give 1 to {MAX_NAME} characters")
    return name


def scalar(name: str, value: object) -> Scalar:
    """`value` as a plain number or text.

    Raises:
        UserErrorException: it is neither; says what to log it by, where v1 has a way.
    """
    plain = _unwrapped(value)
    if isinstance(plain, str | bool | int | float):
        return plain
    if isinstance(plain, numbers.Real) or type(plain).__name__ == "Decimal":
        return float(plain)  # type: ignore[arg-type] # a Decimal is not registered as a Real
    hint = "a list is logged by log_list, a dictionary by log_row or log_table"
    raise UserErrorException(f"metric {name!r}: {type(value).__name__} is neither a number nor text; {hint}")


def _unwrapped(value: object) -> object:
    item = getattr(value, "item", None)
    if isinstance(value, str | bool | int | float) and type(value).__module__ == "builtins":
        return value
    if callable(item):
        try:
            return item()
        except Exception:  # noqa: BLE001 # an array of many: whatever its library raises
            return value
    return value


def column(name: str, value: object) -> list[Scalar]:
    """The elements of a list, array, series or generator as plain values."""
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise UserErrorException(f"metric {name!r}: {type(value).__name__} is no list of values")
    return [scalar(name, each) for each in value]


def row(name: str, columns: Mapping[str, object]) -> dict[str, Scalar]:
    """One value for each column."""
    if not columns:
        raise UserErrorException(f"metric {name!r}: a row needs at least one column: log_row(name, x=1, y=2)")
    return {checked_name(key): scalar(name, value) for key, value in columns.items()}


def table(name: str, value: object) -> dict[str, Any]:
    """Columns of one length each, or one value each."""
    if not isinstance(value, Mapping) or not value:
        raise UserErrorException(f"metric {name!r}: a table is a dictionary of columns: {{'x': [1, 2], 'y': [3, 4]}}")
    if all(_is_single(each) for each in value.values()):
        return row(name, value)
    made = {checked_name(key): column(name, [each] if _is_single(each) else each) for key, each in value.items()}
    lengths = {key: len(each) for key, each in made.items()}
    if len(set(lengths.values())) > 1:
        raise UserErrorException(f"metric {name!r}: its columns differ in length: {lengths}")
    return made


def _is_single(value: object) -> bool:
    return isinstance(value, str) or not isinstance(_unwrapped(value), Iterable)


def document(name: str, kind: str, value: object) -> dict[str, Any]:
    """The content of a confusion matrix, an accuracy table, residuals or predictions: a dictionary, or its JSON."""
    found = value
    if isinstance(value, str):
        try:
            found = json.loads(value)
        except ValueError as error:
            raise UserErrorException(f"metric {name!r}: the {kind} is no JSON ({error})") from None
    if not isinstance(found, Mapping) or not isinstance(found.get("data"), Mapping):
        raise UserErrorException(
            f"metric {name!r}: a {kind} is a dictionary with 'schema_type', 'schema_version' and 'data'"
        )
    try:
        plain: dict[str, Any] = json.loads(json.dumps(dict(found), default=_listed))
    except TypeError as error:
        raise UserErrorException(f"metric {name!r}: the {kind} cannot be kept: {error}") from None
    return plain


def _listed(value: object) -> object:
    """An array inside of a document, for `json`."""
    if callable(tolist := getattr(value, "tolist", None)):
        listed: object = tolist()
        return listed
    raise TypeError(f"{type(value).__name__} is neither a number, text, list nor dictionary")
