"""What a plan has still to come, for whoever trims the disk.

A table of 8 bytes an entry: 40 bits of the file's digest and 24 bits of its place in the plan, sorted. A file is needed if
it has a place that was not read yet. Making the table costs a look-up in the manifest for each entry, so it is made only
when trimming has asked; until then nothing is spared.

Invariant: a table is never changed, only replaced, so readers need no lock.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable

LONGEST = 1 << 24
_PLACE_BITS = 24
_PARTS = 256  # by the first byte of the digest


class Needed:
    """The table; one thread makes and drops it, any thread asks."""

    def __init__(self) -> None:
        self._table: array[int] | None = None
        self._read_to = 0
        self.is_asked = False

    def has(self, file: bytes) -> bool:
        """Whether the plan has the file with this digest still to come; False also while nothing is known."""
        table = self._table
        if table is None:
            self.is_asked = True
            return False
        least = _mark(file, self._read_to)
        found = bisect_left(table, least)
        return found < len(table) and table[found] >> _PLACE_BITS == least >> _PLACE_BITS

    def fill(self, files: Iterable[tuple[bytes, int]]) -> None:
        """Make the table of (digest, place)."""
        # Sorted in parts: as a list of objects all of it would take six times its size.
        parts = [array("Q") for _ in range(_PARTS)]
        for file, place in files:
            parts[file[0]].append(_mark(file, place))
        table = array("Q")
        for part in parts:
            table.extend(sorted(part))
        self._table = table

    def drop(self) -> None:
        """Another plan begins."""
        self._table, self._read_to, self.is_asked = None, 0, False

    def pass_to(self, place: int) -> None:
        """Everything before `place` was read."""
        self._read_to = place


def _mark(file: bytes, place: int) -> int:
    return int.from_bytes(file[:5], "big") << _PLACE_BITS | place
