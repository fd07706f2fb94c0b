"""What is not as it was in the cloud, told once a process on stderr; or, where that is wanted, an error.

MOORAGE_STRICT=1 is for whoever would rather have no job than one that runs on something else than was asked for.
"""

import os
import sys

from runtime.errors import UserErrorException

STRICT = "MOORAGE_STRICT"
_NO = frozenset({"", "0", "false", "no", "off"})
_told: set[str] = set()


def is_strict() -> bool:
    """True if this process was asked to be."""
    return os.environ.get(STRICT, "").lower() not in _NO


def tell_once(line: str) -> None:
    """Say `line` to the user, once."""
    if line not in _told:
        _told.add(line)
        print(f"moorage: {line}", file=sys.stderr)  # noqa: T201 # a line for the user


def tell_or_refuse(line: str) -> None:
    """Say that something runs otherwise than asked for.

    Raises:
        UserErrorException: MOORAGE_STRICT is set.
    """
    if is_strict():
        raise UserErrorException(f"{line}; {STRICT} is set, so nothing was started")
    tell_once(line)
