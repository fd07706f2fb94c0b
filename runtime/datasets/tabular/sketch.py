"""What a column of any length comes to in bounded memory: moments, quantiles, how many different values there are.

Each sketch is fed by arrays, and two of two parts of a column merge into that of the whole:

    Moments     count, mean and the sums of the second to fourth powers of what is off it: as exact as floats are
    Quantiles   values with weights, in order; every value itself up to `_EXACT`, then means of neighbours: few in the
                middle, single ones at both ends (a t-digest), so a quantile is off by a thousandth of the ranks at most
    Distinct    the least `_HASHES` of the values' hashes: exact up to there, then off by some 3 percent

Not safe for threads: one for each, merged at the end.
"""

# ruff: noqa: SLF001 # a sketch looks into another one that it merges

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np

_EXACT: Final = 20_000
_MEANS: Final = 2_000
_HASHES: Final = 4_096
_ALL_HASHES: Final = 2.0**64


class Moments:
    """Of finite numbers."""

    def __init__(self) -> None:
        self.count, self.mean = 0, 0.0
        self._second = self._third = self._fourth = 0.0

    def add(self, values: "np.ndarray[Any, Any]") -> None:
        """Count these numbers in."""
        other = Moments()
        other.count = len(values)
        if not other.count:
            return
        other.mean = float(values.mean())
        off = values - other.mean
        squares = off * off
        other._second = float(squares.sum())
        other._third, other._fourth = float((squares * off).sum()), float((squares * squares).sum())
        self.merge(other)

    def merge(self, other: "Moments") -> None:
        """Count in what `other` has counted."""
        if not other.count:
            return
        one, two = float(self.count), float(other.count)
        n, delta = one + two, other.mean - self.mean
        part = delta / n
        crossed = delta * part * one * two
        self._fourth += other._fourth + crossed * part * part * (one * one - one * two + two * two)
        self._fourth += 6 * part * part * (one * one * other._second + two * two * self._second)
        self._fourth += 4 * part * (one * other._third - two * self._third)
        self._third += other._third + crossed * part * (one - two)
        self._third += 3 * part * (one * other._second - two * self._second)
        self._second += other._second + crossed
        self.mean += part * two
        self.count += other.count

    @property
    def variance(self) -> float | None:
        """Of a sample (by n - 1); None of fewer than two."""
        return self._second / (self.count - 1) if self.count > 1 else None

    @property
    def skewness(self) -> float | None:
        """The third standardised moment; None where all are about the same."""
        scale = self._second**1.5
        return math.sqrt(self.count) * self._third / scale if scale > 0 else None

    @property
    def kurtosis(self) -> float | None:
        """The fourth standardised moment less 3; None where all are about the same."""
        scale = self._second**2
        return self.count * self._fourth / scale - 3 if scale > 0 else None


class Quantiles:
    """Of finite numbers."""

    def __init__(self) -> None:
        import numpy as np

        self._values, self._weights = np.empty(0), np.empty(0)
        self._new: list[Any] = []
        self._new_count = 0
        self._is_exact = True  # each value stands for itself alone
        self._bounds = (math.inf, -math.inf)

    @classmethod
    def of(cls, counts: Mapping[float, int]) -> "Quantiles":
        """Of numbers that are counted, each as often as it says."""
        import numpy as np

        made = cls()
        known = {float(value): count for value, count in counts.items() if math.isfinite(value)}
        made._settle(np.array([*known], float), np.array([*known.values()], float))
        return made

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the greatest."""
        self._settle()
        return self._bounds

    def add(self, values: "np.ndarray[Any, Any]") -> None:
        """Count these numbers in."""
        self._new.append(values)
        self._new_count += len(values)
        if self._new_count > _EXACT:
            self._settle()

    def merge(self, other: "Quantiles") -> None:
        """Count in what `other` has counted."""
        other._settle()
        self._is_exact &= other._is_exact
        self._settle(other._values, other._weights)
        self._bounds = (min(self._bounds[0], other._bounds[0]), max(self._bounds[1], other._bounds[1]))

    def at(self, shares: Sequence[float]) -> list[float]:
        """The value below which each share of the numbers lies, between two neighbours by interpolation."""
        import numpy as np

        self._settle()
        if not len(self._values):
            return [math.nan for _ in shares]
        places = np.asarray(shares) * (self._weights.sum() - 1)
        if self._is_exact:
            ends, whole = self._weights.cumsum(), np.floor(places)
            low, high = (self._values[np.searchsorted(ends, each, "right")] for each in (whole, np.ceil(places)))
            found = low + (high - low) * (places - whole)
        else:
            found = np.clip(np.interp(places, self._places(), self._values), *self._bounds)
        return [float(each) for each in found]

    def counts(self, edges: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        """How many numbers lie between each two `edges`, all of them between the first and the last."""
        import numpy as np

        self._settle()
        if self._is_exact:
            return np.histogram(self._values, edges, weights=self._weights)[0]
        total = self._weights.sum()
        below = np.interp(edges, self._values, self._places() + 0.5, left=0.0, right=total)
        below[0], below[-1] = 0.0, total
        return np.diff(below)

    def _places(self) -> "np.ndarray[Any, Any]":
        """The rank, from 0, in the middle of each value's weight."""
        ranks: np.ndarray[Any, Any] = self._weights.cumsum() - self._weights / 2 - 0.5
        return ranks

    def _settle(self, *more: Any) -> None:
        """Put in order what is new, and neighbours together where there are too many."""
        import numpy as np

        if not self._new and not more:
            return
        values = np.concatenate((self._values, *self._new, *more[:1]))
        weights = np.concatenate((self._weights, *(np.ones(len(each)) for each in self._new), *more[1:]))
        self._new, self._new_count = [], 0
        order = np.argsort(values, kind="stable")
        self._values, self._weights = values[order], weights[order]
        if len(values):
            self._bounds = (
                min(self._bounds[0], float(self._values[0])),
                max(self._bounds[1], float(self._values[-1])),
            )
        if len(values) > _EXACT:
            self._gather()

    def _gather(self) -> None:
        import numpy as np

        values, weights = self._values, self._weights
        share = (weights.cumsum() - weights / 2) / weights.sum()
        group = np.floor(_MEANS * (np.arcsin(2 * share - 1) / np.pi + 0.5))
        firsts = np.flatnonzero(np.diff(group, prepend=-1.0))
        self._weights = np.add.reduceat(weights, firsts)
        lengths = np.diff(firsts, append=len(values))
        self._values = np.add.reduceat(values * (weights / self._weights.repeat(lengths)), firsts)
        self._is_exact = False


class Distinct:
    """How many different values there are."""

    def __init__(self) -> None:
        import numpy as np

        self._least = np.empty(0, np.uint64)

    def add(self, values: "np.ndarray[Any, Any]") -> None:
        """Count these values in; each of them once is enough."""
        from pandas.util import hash_array

        self._take(hash_array(values, categorize=False))

    def merge(self, other: "Distinct") -> None:
        """Count in what `other` has counted."""
        self._take(other._least)

    @property
    def count(self) -> int:
        """The number of them."""
        if len(self._least) < _HASHES:
            return len(self._least)
        return round((_HASHES - 1) * _ALL_HASHES / (float(self._least[-1]) + 1))

    def _take(self, hashes: "np.ndarray[Any, Any]") -> None:
        import numpy as np

        if len(self._least) == _HASHES:
            hashes = hashes[hashes < self._least[-1]]
        if len(hashes):
            self._least = np.unique(np.concatenate((self._least, hashes)))[:_HASHES]
