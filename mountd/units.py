"""Sizes and durations as people type and read them.

`10GiB`, `10G` and `10 gib` are binary (1024), `10GB` is decimal (1000), as the letters say; a bare number is bytes or
seconds. A text that is no such quantity is a `BadInputError` that repeats it and shows one that works.
"""

import re
from decimal import Decimal
from typing import Final

from mountd.errors import BadInputError

_QUANTITY: Final = re.compile(r"(\d{1,20}(?:\.\d{1,17})?)\s*([a-z]*)", re.ASCII)
_LETTERS: Final = "kmgtpe"
_SIZES: Final = {
    "": 1,
    "b": 1,
    **{letter + "b": 1000**power for power, letter in enumerate(_LETTERS, 1)},
    **{letter + suffix: 1024**power for power, letter in enumerate(_LETTERS, 1) for suffix in ("", "i", "ib")},
}
_DURATIONS: Final = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def parse_size(text: str) -> int:
    """The number of bytes that `text` names: '10GiB', '1.5 MB', '4k', '123'; a part of a byte is cut off.

    Raises:
        BadInputError: `text` is no size.
    """
    number, unit = _split(text)
    if number is None or unit not in _SIZES:
        raise BadInputError(f"{text!r} is not a size; write one like 64KiB, 1.5GB or 4096 (bytes)")
    return int(number * _SIZES[unit])


def parse_duration(text: str) -> float:
    """The number of seconds that `text` names: '60s', '2m', '500ms', '1.5h', '60'.

    Raises:
        BadInputError: `text` is no duration.
    """
    number, unit = _split(text)
    if number is None or unit not in _DURATIONS:
        raise BadInputError(f"{text!r} is not a duration; write one like 500ms, 60s, 2m or 1h")
    return float(number) * _DURATIONS[unit]


def format_size(size_bytes: int) -> str:
    """`size_bytes` for a reader: '0 B', '1023 B', '1.5 KiB', '200 GiB'; never more than three digits and a decimal."""
    number, unit = float(size_bytes), "B"
    for letter in _LETTERS.upper():
        # 1023.95 would be shown as 1024.0: the next unit is due as soon as rounding gets there.
        if round(number, 1) < 1024:
            break
        number, unit = number / 1024, letter + "iB"
    shown = f"{number:.1f}".removesuffix(".0")
    return f"{shown} {unit}"


def format_duration(seconds: float) -> str:
    """`seconds` for a reader, to the tenth: '60s', '0.5s'."""
    return f"{seconds:.1f}".removesuffix(".0") + "s"


def _split(text: str) -> tuple[Decimal | None, str]:
    match = _QUANTITY.fullmatch(text.strip().lower())
    return (Decimal(match[1]), match[2]) if match else (None, "")
