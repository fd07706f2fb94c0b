"""How the text of a setting becomes its value: a function for each kind, which refuses what is none in one line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, get_args

from mountd.errors import BadInputError
from mountd.units import format_duration, format_size, parse_duration, parse_size

OFF: Final = "off"


def size(least: int, most: int = 1 << 60) -> Callable[[str], int]:
    """A size between the two limits, in bytes."""

    def parse(text: str) -> int:
        size = parse_size(text)
        if not least <= size <= most:
            limits = f"between {format_size(least)} and {format_size(most)}"
            raise BadInputError(f"{text!r} is {format_size(size)}, and must be {limits}")
        return size

    return parse


def size_or_rest(text: str) -> int:
    """A size in bytes; a negative one is what is to be left of the whole."""
    given = text.strip()
    return -parse_size(given[1:]) if given.startswith("-") else size(0)(given)


def deadline(text: str) -> float:
    """Seconds, from 1 to a day."""
    seconds = parse_duration(text)
    if not 1 <= seconds <= 86400:
        raise BadInputError(f"{text!r} is {format_duration(seconds)}, and must be between 1s and 24h")
    return seconds


def pause(text: str) -> float:
    """Seconds, from none to a day."""
    seconds = parse_duration(text)
    if not 0 <= seconds <= 86400:
        raise BadInputError(f"{text!r} is {format_duration(seconds)}, and must be between 0s and 24h")
    return seconds


def folder(text: str, what: str = "folder") -> Path:
    """A whole path."""
    if not text.strip("\0 "):
        raise BadInputError(f"{text!r} is not a {what}; write the whole path")
    try:
        return Path(text).expanduser().absolute()  # a worker runs in `/`, so a relative path is settled here
    except (RuntimeError, ValueError):
        raise BadInputError(f"{text!r} is not a {what} that can be found; write the whole path") from None


def choice(known: Any) -> Callable[[str], Any]:
    """One of the words of a `Literal`."""

    def parse(text: str) -> Any:
        if text not in get_args(known):
            raise BadInputError(f"{text!r} is none of {', '.join(get_args(known))}")
        return text

    return parse


def port(text: str) -> int | None:
    """A port, or None for off."""
    if text == OFF:
        return None
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        raise BadInputError(f"{text!r} is no port; write a number between 1 and 65535")
    return int(text)


def file(text: str) -> Path | None:
    """A whole path, or None for off."""
    return None if text == OFF else folder(text, "file")


def truth(text: str) -> bool:
    """Yes or no, in the usual words."""
    known = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    if text.lower() not in known:
        raise BadInputError(f"{text!r} is neither true nor false")
    return known[text.lower()]
