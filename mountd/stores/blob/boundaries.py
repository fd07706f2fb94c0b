"""Where to cut a range of names, of which one page is known, so that several requests can go on at once.

What lies behind a page is not known; but names that machines make count in digits, and share what stands before them. So at
each place at which the names of the page are alike, larger characters are tried: the later digits first, from the left, then
the next letter. A cut behind which nothing lies costs one request that brings nothing.

Invariants: a cut differs from the last known name at an ASCII character, so that every service that orders by code points,
by UTF-8 or by UTF-16 has the same names before it; cuts are ascending and lie strictly between that name and the end.
"""

from collections.abc import Iterator

_DIGITS = "0123456789"
_HIGHEST = 0x7E


def boundaries(first: str, last: str, prefix: str, end: str, count: int) -> list[str]:
    """Up to `count` names at which to cut what comes after `last`, where a page went from `first` to `last`.

    All names start with `prefix`; `end` is the first name that is not asked for, '' if there is none.
    """
    alike = next(
        (place for place, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first)
    )
    places = range(len(prefix), min(alike + 1, len(last)))
    cuts: dict[str, None] = {}
    for wanted in (_later_digits, _next_character):
        for place in places:
            for character in wanted(last[place]):
                cut = last[:place] + character
                if len(cuts) < count and (not end or cut < end):
                    cuts[cut] = None
    return sorted(cuts)


def _later_digits(character: str) -> Iterator[str]:
    if character in _DIGITS:
        yield from _DIGITS[int(character) + 1 :]
        yield from "Aa"  # hexadecimal names go on there


def _next_character(character: str) -> Iterator[str]:
    if character not in _DIGITS and ord(character) < _HIGHEST:
        yield chr(ord(character) + 1)
