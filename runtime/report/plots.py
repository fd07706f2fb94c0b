"""Lines of numbers as SVG: pure, from points to text.

Numbers that have no place on an axis (NaN, the infinities) break the line and are counted below it. A long line is thinned
to what a screen can show: of each column of pixels its lowest and highest point, so that no peak is lost.
"""

import math
from collections.abc import Callable, Mapping, Sequence

Points = Sequence[tuple[float, float]]
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 560, 220, 64, 24, 10
_COLOURS = ("#1b6ca8", "#c2571a", "#2e8540", "#8a2b8f", "#a67c00", "#4d4d4d")
_MOST_LINES = len(_COLOURS)


def plot(lines: Mapping[str, Points], escape: Callable[[object], str]) -> str:
    """One SVG element with up to six lines, and a legend if they have names; '' where nothing is finite."""
    shown = dict(list(lines.items())[:_MOST_LINES])
    finite = [point for points in shown.values() for point in points if _is_finite(point)]
    if not finite:
        return ""
    xs, ys = _span([x for x, _ in finite]), _span([y for _, y in finite])
    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" xmlns="http://www.w3.org/2000/svg">', *_axes(xs, ys)]
    for colour, points in zip(_COLOURS, shown.values(), strict=False):
        parts += _line(points, xs, ys, colour)
    parts.append("</svg>")
    if any(shown):
        keys = zip(_COLOURS, shown, strict=False)
        parts.append(
            "".join(f'<span class="key" style="color:{colour}">{escape(name)}</span>' for colour, name in keys)
        )
    notes = _notes(lines, shown)
    return "".join(parts) + (f'<p class="note">{escape(notes)}</p>' if notes else "")


def _notes(lines: Mapping[str, Points], shown: Mapping[str, Points]) -> str:
    missing = sum(1 for points in shown.values() for point in points if not _is_finite(point))
    notes = [f"{missing} values are NaN or infinite and not drawn"] if missing else []
    if len(lines) > len(shown):
        notes.append(f"{len(lines) - len(shown)} more columns are not drawn")
    return "; ".join(notes)


def _is_finite(point: tuple[float, float]) -> bool:
    return math.isfinite(point[0]) and math.isfinite(point[1])


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    if low < high and math.isfinite(high - low):
        return low, high
    if low == high:
        room = abs(low) / 2 or 1.0
        return max(low - room, -1.7e308), min(high + room, 1.7e308)
    return low, high


def _share(value: float, span: tuple[float, float]) -> float:
    """Where `value` lies in `span`, from 0 to 1; halved first, as the span of the largest numbers is infinite."""
    low, high = span[0] / 2, span[1] / 2
    return (value / 2 - low) / (high - low) if high > low else 0.5


def _place(point: tuple[float, float], xs: tuple[float, float], ys: tuple[float, float]) -> tuple[float, float]:
    x = _LEFT + _share(point[0], xs) * (_WIDTH - _LEFT - 10)
    y = _HEIGHT - _BOTTOM - _share(point[1], ys) * (_HEIGHT - _BOTTOM - _TOP)
    return round(x, 1), round(y, 1)


def _axes(xs: tuple[float, float], ys: tuple[float, float]) -> list[str]:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - 10
    return [
        f'<path class="axis" d="M{_LEFT} {_TOP}V{bottom}H{right}"/>',
        f'<text x="{_LEFT - 6}" y="{bottom}" text-anchor="end">{ys[0]:.4g}</text>',
        f'<text x="{_LEFT - 6}" y="{_TOP + 8}" text-anchor="end">{ys[1]:.4g}</text>',
        f'<text x="{_LEFT}" y="{_HEIGHT - 6}">{xs[0]:.6g}</text>',
        f'<text x="{right}" y="{_HEIGHT - 6}" text-anchor="end">{xs[1]:.6g}</text>',
    ]


def _line(points: Points, xs: tuple[float, float], ys: tuple[float, float], colour: str) -> list[str]:
    pieces: list[list[tuple[float, float]]] = [[]]
    for point in points:
        if _is_finite(point):
            pieces[-1].append(_place(point, xs, ys))
        elif pieces[-1]:
            pieces.append([])
    drawn = []
    for piece in map(_thinned, pieces):
        if len(piece) == 1:
            drawn.append(f'<circle cx="{piece[0][0]}" cy="{piece[0][1]}" r="2.5" fill="{colour}"/>')
        elif piece:
            text = " ".join(f"{x},{y}" for x, y in piece)
            drawn.append(f'<polyline points="{text}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
    return drawn


def _thinned(piece: list[tuple[float, float]]) -> list[tuple[float, float]]:
    if len(piece) <= 2 * _WIDTH:
        return piece
    kept: list[tuple[float, float]] = []
    size = math.ceil(len(piece) / _WIDTH)
    for start in range(0, len(piece), size):
        column = piece[start : start + size]
        lowest = min(range(len(column)), key=lambda at: column[at][1])
        highest = max(range(len(column)), key=lambda at: column[at][1])
        kept += [column[at] for at in sorted({0, lowest, highest, len(column) - 1})]
    return kept
