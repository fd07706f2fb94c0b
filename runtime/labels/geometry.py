"""Numbers into boxes and polygons: the one place where coordinates are believed or refused.

What lies outside by a pixel at the most (by a millionth where the picture's size is unknown) is a rounding, and is moved
to the edge. Anything further out, and corners that are swapped, are refused: they are most often pixels taken for
shares, or one axis for the other.
"""

import math
from collections.abc import Sequence
from typing import Any, Final

from runtime.labels.values import BadItem, Box, Region, Size

_ROUNDING: Final = 1e-6
_TRUTHS: Final = {"1": True, "true": True, "0": False, "false": False}
_LONGEST_SIDE: Final = 1 << 20  # pixels; more is no picture but a broken file


def number(value: Any, what: str) -> float:
    """A finite number."""
    try:
        found = math.nan if isinstance(value, bool) or not isinstance(value, int | float) else float(value)
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise BadItem(f"{what} is {str(value)[:40]!r}, and no number")
    return found


def crowd(value: Any) -> bool:
    """Whether it is a crowd, in all the spellings that files have: 0, 1, true, 'true', 'True', '1', nothing."""
    if value is None:
        return False
    text = str(int(value)) if isinstance(value, float) and value in {0.0, 1.0} else str(value)
    if text.lower() not in _TRUTHS:
        raise BadItem(f"crowd is {value!r}; it is 0 or 1")
    return _TRUTHS[text.lower()]


def size(width: Any, height: Any) -> Size | None:
    """A picture's size out of numbers or texts such as '400px'; None where both are missing or 0."""
    sides = [_side(value, what) for value, what in ((width, "width"), (height, "height"))]
    if sides == [0, 0]:
        return None
    if 0 in sides:
        raise BadItem(f"the image is {sides[0]} by {sides[1]} pixels; give both, or none")
    return Size(*sides)


def _side(value: Any, what: str) -> int:
    if isinstance(value, str):
        text = value.strip().lower().removesuffix("px").strip() or "0"
        try:
            value = float(text)
        except ValueError:
            raise BadItem(f"{what} is {value!r}, and no number of pixels") from None
    side = number(0 if value is None else value, what)
    if side != int(side) or not 0 <= side <= _LONGEST_SIDE:
        raise BadItem(f"{what} is {value!r}, and no number of pixels")
    return int(side)


def share(value: Any, what: str, pixels: int | None) -> float:
    """A coordinate of 0 to 1 on a side of so many `pixels`."""
    found = number(value, what)
    slack = max(_ROUNDING, (1 + _ROUNDING) / pixels) if pixels else _ROUNDING
    if not -slack <= found <= 1 + slack:
        raise BadItem(f"{what} is {found:g}, outside of the image (0 to 1)", "outside")
    return min(1.0, max(0.0, found))


def box(name: str, corners: Sequence[Any], *, crowd: bool, size: Size | None) -> Box:
    """A box by its corners left, top, right, bottom, as shares."""
    sides = _sides(size)
    left, right = (share(corners[at], what, sides[0]) for at, what in ((0, "left"), (2, "right")))
    top, bottom = (share(corners[at], what, sides[1]) for at, what in ((1, "top"), (3, "bottom")))
    if left > right or top > bottom:
        raise BadItem(
            f"the box of '{name}' has its corners swapped: {left:g},{top:g} to {right:g},{bottom:g}", "swapped"
        )
    return Box(name, left, top, right, bottom, crowd)


def _sides(size: Size | None) -> tuple[int | None, int | None]:
    return (size.width, size.height) if size else (None, None)


def polygons(name: str, parts: Any, *, crowd: bool, size: Size | None) -> Region:
    """A region by its polygons, as shares."""
    if not isinstance(parts, list) or not parts:
        raise BadItem(f"'{name}' has no polygon")
    return Region(name, tuple(_polygon(name, part, size) for part in parts), crowd)


def _polygon(name: str, part: Any, size: Size | None) -> tuple[float, ...]:
    if not isinstance(part, list) or len(part) < 6 or len(part) % 2:
        raise BadItem(f"a polygon of '{name}' is no list of three points or more: x1, y1, x2, y2, ...")
    sides = _sides(size)
    return tuple(share(value, "xy"[at % 2], sides[at % 2]) for at, value in enumerate(part))


def bounds(region: Region) -> tuple[float, float, float, float]:
    """left, top, right, bottom of all its polygons."""
    xs = [x for part in region.polygons for x in part[::2]]
    ys = [y for part in region.polygons for y in part[1::2]]
    return min(xs), min(ys), max(xs), max(ys)


def area(points: Sequence[float]) -> float:
    """What a polygon x1, y1, x2, y2, ... covers, in units of its coordinates."""
    xs, ys = points[::2], points[1::2]
    twice = sum(xs[at - 1] * ys[at] - xs[at] * ys[at - 1] for at in range(len(xs)))
    return abs(twice) / 2
