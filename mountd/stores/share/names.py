"""What a file share takes as a name: rules that Azure Files has from Windows, said before a byte is sent.

A name keeps the case it was written in and is found in any; two names that differ in case alone are one file. `folded` makes
such names equal: letter by letter, because the service does not take `ß` and `SS` for the same.
"""

from typing import Final

from mountd.errors import BadInputError, HostilePathError

_FORBIDDEN: Final = '"\\:|<>*?'
_LONGEST_NAME, _LONGEST_PATH = 255, 2048  # in characters, UTF-16 as the service counts
_DEVICES: Final = frozenset(
    {"PRN", "AUX", "NUL", "CON", "CLOCK$", *(f"{port}{number}" for port in ("LPT", "COM") for number in range(1, 10))}
)


def check(key: str, url: str) -> None:
    """Let a key below `url` pass that can be a file in a share.

    Raises:
        HostilePathError: it leads out of the share, or has an empty name in it.
        BadInputError: a name that Azure Files does not take.
    """
    names = key.split("/")
    if any(name in {"", ".", ".."} for name in names):
        raise HostilePathError(f"{key!r}: not a path below {url}")
    for name in names:
        if why := _refusal(name):
            raise BadInputError(f"{url}: {name!r} cannot be a name in a file share ({why}); rename it")
    if _length(key) > _LONGEST_PATH:
        raise BadInputError(f"{url}: a path of {len(key)} characters; a file share takes {_LONGEST_PATH}")


def folded(key: str) -> str:
    """The key as the service compares it."""
    return "".join(upper if len(upper := letter.upper()) == 1 else letter for letter in key)


def _refusal(name: str) -> str:
    """Why the service would not take it; '' if it does."""
    held = next(
        (letter for letter in name if letter in _FORBIDDEN or letter < " " or "\ud800" <= letter <= "\udfff"), ""
    )
    if held:
        return f"it holds {held!r}"
    if name.upper() in _DEVICES:
        return "it is a device of Windows"
    return f"it is longer than {_LONGEST_NAME} characters" if _length(name) > _LONGEST_NAME else ""


def _length(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
