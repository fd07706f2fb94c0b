"""Runs of pixels as COCO has them: out of its texts, out of polygons and boxes, and back into polygons.

A mask goes down the columns, the leftmost first. Back into polygons it is cut into bands: neighbouring columns' runs
that follow one another, each band an outline along pixels' edges. Bands cover exactly the mask's pixels, holes left out,
which one outline of a thing with a hole could not.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from runtime.labels.values import BadItem, Box, Mask, Region, Size

_Run = tuple[int, int]


def parse(told: Any) -> Mask:
    """A mask out of COCO's {'size': [height, width], 'counts': a list, or the text that pycocotools makes of it}."""
    try:
        height, width = told["size"]
        counts = told["counts"]
        runs = tuple(_unpacked(counts)) if isinstance(counts, str | bytes) else tuple(counts)
    except (KeyError, TypeError, ValueError, IndexError):
        raise BadItem("a mask is no {'size': [height, width], 'counts': ...}") from None
    if not all(type(each) is int and each >= 0 for each in (*runs, width, height)) or sum(runs) != width * height:
        raise BadItem("a mask's counts do not add up to its size")
    return Mask(Size(width, height), runs)


def _unpacked(text: str | bytes) -> Iterator[int]:
    """Six bits a character from '0' on: five of the number, the lowest first, and one that says that more follow.

    From the fourth number on it is told how it differs from the one before the last.
    """
    found: list[int] = []
    value = shift = 0
    for character in text.encode() if isinstance(text, str) else text:
        bits = character - 48
        if not 0 <= bits < 64:
            raise BadItem("a mask's counts hold a character that has no meaning there")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (1 << shift) if bits & 16 else 0
            found.append(value + (found[-2] if len(found) > 2 else 0))
            value = shift = 0
    if shift:
        raise BadItem("a mask's counts end in the middle of a number")
    return iter(found)


def pixels(mask: Mask) -> int:
    """How many lie inside."""
    return sum(mask.counts[1::2])


def of_box(box: Box, size: Size) -> Mask:
    """The pixels of a box, its edges rounded."""
    left, right = round(box.left * size.width), round(box.right * size.width)
    rows = (round(box.top * size.height), round(box.bottom * size.height))
    return _packed(size, ([rows] if left <= x < right and rows[0] < rows[1] else [] for x in range(size.width)))


def of_polygons(parts: Sequence[Sequence[float]], size: Size) -> Mask:
    """The pixels whose middle lies in one of the polygons, whose coordinates are shares."""
    scaled = [[(x * size.width, y * size.height) for x, y in zip(part[::2], part[1::2], strict=True)] for part in parts]

    def column(x: int) -> list[_Run]:
        return _merged(run for part in scaled for run in _crossed(part, x + 0.5, size.height))

    return _packed(size, map(column, range(size.width)))


def _crossed(points: Sequence[tuple[float, float]], x: float, height: int) -> Iterator[_Run]:
    found = []
    for at, (x1, y1) in enumerate(points):
        x0, y0 = points[at - 1]
        if (x0 <= x) != (x1 <= x):
            found.append(y0 + (x - x0) * (y1 - y0) / (x1 - x0))
    found.sort()
    for first, last in zip(found[::2], found[1::2], strict=True):
        start, end = max(0, math.ceil(first - 0.5)), min(height, math.ceil(last - 0.5))
        if start < end:
            yield start, end


def _merged(runs: Iterable[_Run]) -> list[_Run]:
    found: list[_Run] = []
    for start, end in sorted(runs):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def _packed(size: Size, columns: Iterable[Sequence[_Run]]) -> Mask:
    counts: list[int] = []
    done = 0
    for x, runs in enumerate(columns):
        for start, end in runs:
            begin = x * size.height + start
            if counts and begin == done:  # the run goes on from the column before
                counts[-1] += end - start
            else:
                counts += (begin - done, end - start)
            done = x * size.height + end
    rest = size.width * size.height - done
    return Mask(size, (*counts, rest) if rest or not counts else tuple(counts))


def _columns(mask: Mask) -> list[list[_Run]]:
    height = mask.size.height
    columns: list[list[_Run]] = [[] for _ in range(mask.size.width)]
    at = 0
    for number, count in enumerate(mask.counts):
        end = at + count
        while number % 2 and at < end:
            x = at // height
            stop = min(end, (x + 1) * height)
            columns[x].append((at - x * height, stop - x * height))
            at = stop
        at = end
    return columns


def to_region(name: str, mask: Mask, *, crowd: bool) -> Region:
    """A region that is this mask, with its polygons."""
    parts = tuple(_outline(x, runs, mask.size) for x, runs in _bands(mask))
    if not parts:
        raise BadItem(f"the mask of '{name}' is empty")
    return Region(name, parts, crowd, mask)


def _bands(mask: Mask) -> Iterator[tuple[int, list[_Run]]]:
    """(the leftmost column, the runs) of each band."""
    growing: list[tuple[int, list[_Run]]] = []
    for x, runs in enumerate(_columns(mask)):
        after: list[tuple[int, list[_Run]]] = []
        lasts = [band[1][-1] for band in growing]
        for run in runs:
            touched = [at for at, last in enumerate(lasts) if _touch(last, run)]
            if len(touched) == 1 and sum(_touch(lasts[touched[0]], other) for other in runs) == 1:
                band = growing[touched[0]]
                band[1].append(run)
            else:
                band = (x, [run])
            after.append(band)
        yield from (band for band in growing if not any(band is other for other in after))
        growing = after
    yield from growing


def _touch(one: _Run, other: _Run) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def _outline(left: int, runs: Sequence[_Run], size: Size) -> tuple[float, ...]:
    above: list[tuple[int, int]] = []
    below: list[tuple[int, int]] = []
    for x, (start, end) in enumerate(runs, left):
        for side, y in ((above, start), (below, end)):
            if side and side[-1][1] == y:
                side[-1] = (x + 1, y)
            else:
                side += [(x, y), (x + 1, y)]
    return tuple(part for x, y in (*above, *reversed(below)) for part in (x / size.width, y / size.height))
