"""Text into timestamps: the forms that inference knows, or formats of strptime.

    2020-01-31   2020-01-31T10:11   2020-01-31 10:11:12.5   and these with Z or +02:00, which become UTC
    2020/01/31   with a time or without
    01/31/2020   month first; where that cannot be, day first

A whole column goes through Arrow by regular expressions; where Arrow refuses one (30 February), its values are looked
at one by one. What is no date is null; who calls compares the nulls. Timestamps have no zone.
"""

import datetime as dt
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import pyarrow as pa

_TIME: Final = r"(?:[T ](\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6}\d*)?)?))?"
_ISO: Final = r"^\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?)?$"
_ZONED: Final = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?(?:Z|[+-]\d{2}:?\d{2})$"
_YEAR_FIRST: Final = re.compile(rf"(\d{{4}})/(\d{{1,2}})/(\d{{1,2}}){_TIME}")
_YEAR_LAST: Final = re.compile(rf"(\d{{1,2}})/(\d{{1,2}})/(\d{{4}}){_TIME}")


def timestamps(texts: "pa.Array", formats: Sequence[str] = ()) -> "pa.Array":
    """The timestamps[us] of an array of text; null for what is none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not formats:
        try:
            if pc.all(pc.match_substring_regex(texts, _ISO)).as_py() is not False:
                return pc.cast(texts, pa.timestamp("us"))
            if pc.all(pc.match_substring_regex(texts, _ZONED)).as_py():
                return pc.cast(pc.cast(texts, pa.timestamp("us", tz="UTC")), pa.timestamp("us"))
        except pa.ArrowInvalid:
            pass  # a day that is none: each by itself
    return pa.array([parse(text, formats) for text in texts.to_pylist()], pa.timestamp("us"))


def parse(text: str | None, formats: Sequence[str] = ()) -> dt.datetime | None:
    """One timestamp, without a zone; None for what is none."""
    if not text:
        return None
    text = text.strip()
    try:
        if formats:
            return _by_formats(text, formats)
        return _by_form(text)
    except (ValueError, OverflowError):
        return None


def is_ambiguous(text: str) -> bool:
    """True if month and day of `text` could be either way round."""
    found = _YEAR_LAST.fullmatch(text)
    return found is not None and int(found[1]) <= 12 and int(found[2]) <= 12 and found[1] != found[2]


def _by_formats(text: str, formats: Sequence[str]) -> dt.datetime | None:
    for each in formats:
        try:
            return naive(dt.datetime.strptime(text, each))  # noqa: DTZ007 # what has a zone becomes UTC
        except ValueError:
            continue
    return None


def _by_form(text: str) -> dt.datetime | None:
    if re.match(_ISO, text) or re.match(_ZONED, text):
        return naive(dt.datetime.fromisoformat(text))
    if found := _YEAR_FIRST.fullmatch(text):
        year, month, day, time = found.groups()
    elif found := _YEAR_LAST.fullmatch(text):
        month, day, year, time = found.groups()
        if int(month) > 12:
            month, day = day, month
    else:
        return None
    whole = dt.date(int(year), int(month), int(day)).isoformat()
    return dt.datetime.fromisoformat(f"{whole}T{time}" if time else whole)


def naive(moment: dt.datetime) -> dt.datetime:
    """UTC without a zone, as columns have it; one without a zone stays."""
    return moment.astimezone(dt.UTC).replace(tzinfo=None) if moment.tzinfo else moment
