"""The versions and snapshots of blobs: what names one, and the memory of which of them are the frozen ones.

A service that keeps versions still has what was frozen after a blob was overwritten or deleted: under another address, with
the ETag that it had. Which one that is costs a listing, so it is remembered: in a table of fixed size, eight places for each
hash of key and ETag, of which the one not used for longest is given up. An answer takes 16 bytes there, so a million
overwritten blobs have room in 32 MiB, of which only what is used takes memory. That there is none is believed for a minute.

Invariants: one listing for a key at a time, however many ask; the table may forget and, by two equal hashes, confuse, so
whoever reads what it tells pins the read to the ETag. The lock protects table and flights; nobody is asked under it.
"""

import re
import threading
import time
from calendar import timegm
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from mmap import mmap
from typing import Final, Literal

from mountd.errors import MountdError, StoreUnreachableError

_SETS: Final = 1 << 18
_PLACES: Final = 8
_WORD_BYTES: Final = 8
_NONE_S: Final = 60  # a version may be undeleted
_MOMENT: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)\.(\d{7})Z")
_TICKS: Final = 10_000_000  # a second has so many
_KINDS: Final = ("", "versionid", "snapshot", "none")


@dataclass(frozen=True, slots=True)
class Version:
    """One version or snapshot of a blob: the name of the parameter that asks for it, and its value."""

    kind: Literal["versionid", "snapshot"]
    moment: str

    def __str__(self) -> str:
        return f"?{self.kind}={self.moment}"


@dataclass(slots=True)
class _Flight:
    done: threading.Event = field(default_factory=threading.Event)
    found: Version | None = None
    error: MountdError | None = None


class Versions:
    """What is known of one store's frozen versions; any number of threads may ask."""

    def __init__(self, sets: int = _SETS, clock: Callable[[], float] = time.monotonic) -> None:
        self._sets, self._clock = sets, clock
        self._table: memoryview[int] | None = None  # made when there is something to remember
        self._flights: dict[int, _Flight] = {}
        self._lock = threading.Lock()

    def known(self, key: str, etag: str) -> Version | None:
        """The version of `key` that has `etag`, if that is remembered."""
        with self._lock:
            return _unpacked(self._look(_hash(key, etag)))

    def forget(self, key: str, etag: str) -> None:
        """It is not there any more."""
        with self._lock:
            self._put(_hash(key, etag), 0)

    def find(self, key: str, etag: str, look: Callable[[], Version | None], limit_s: float) -> Version | None:
        """As `known`, but `look` is called if nothing is: by one thread for each key, for which the others wait.

        Raises:
            MountdError: as `look` does; to those who waited for it, too.
        """
        place = _hash(key, etag)
        with self._lock:
            packed = self._look(place)
            if packed & 3 != 3 and packed:
                return _unpacked(packed)
            if packed and packed >> 2 > self._clock():
                return None
            flight = self._flights.get(place)
            is_first = flight is None
            if flight is None:
                flight = self._flights[place] = _Flight()
        if is_first:
            return self._fly(place, flight, look)
        if not flight.done.wait(limit_s):
            raise StoreUnreachableError(f"{key}: no time to look for the version that was frozen; try again")
        if flight.error is not None:
            raise type(flight.error)(str(flight.error))
        return flight.found

    def _fly(self, place: int, flight: _Flight, look: Callable[[], Version | None]) -> Version | None:
        packed = 0
        try:
            flight.found = look()
            packed = self._packed(flight.found)
        except MountdError as error:
            flight.error = error
            raise
        except BaseException:
            flight.error = StoreUnreachableError("the look for the version that was frozen failed; try again")
            raise
        finally:
            with self._lock:
                if packed:
                    self._put(place, packed)
                del self._flights[place]
            flight.done.set()
        return flight.found

    def _packed(self, found: Version | None) -> int:
        if found is None:
            return (int(self._clock()) + _NONE_S) << 2 | 3
        ticks = _ticks(found.moment)
        return 0 if ticks is None else ticks << 2 | _KINDS.index(found.kind)

    def _look(self, place: int) -> int:
        """What is kept under the hash `place`, 0 for nothing; it becomes the one that was used last."""
        if self._table is None:
            return 0
        begin = self._begin(place)
        for at in range(begin, begin + _PLACES * 2, 2):
            if self._table[at] == place:
                packed = self._table[at + 1]
                if at > begin:
                    self._put(place, packed)
                return packed
        return 0

    def _begin(self, place: int) -> int:
        return (place >> 1) % self._sets * _PLACES * 2  # the last bit is always set

    def _put(self, place: int, packed: int) -> None:
        if self._table is None:
            self._table = memoryview(mmap(-1, self._sets * _PLACES * 2 * _WORD_BYTES)).cast("Q")
        begin = self._begin(place)
        words = self._table[begin : begin + _PLACES * 2].tolist()
        others = [pair for pair in zip(words[::2], words[1::2], strict=True) if pair[0] not in {0, place}]
        kept = [(place, packed), *others] if packed else others
        kept = (kept + [(0, 0)] * _PLACES)[:_PLACES]
        for number, (name, value) in enumerate(kept):
            self._table[begin + number * 2], self._table[begin + number * 2 + 1] = name, value


def _hash(key: str, etag: str) -> int:
    text = f"{etag}\0{key}".encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=_WORD_BYTES).digest()) | 1  # 0 is an empty place


def _ticks(moment: str) -> int | None:
    """The moment as a number, if that says all of it: one that is written otherwise is not remembered."""
    found = _MOMENT.fullmatch(moment)
    if found is None:
        return None
    *clock, fraction = map(int, found.groups())
    try:
        ticks = timegm((*clock, 0, 0, 0)) * _TICKS + fraction
    except ValueError:
        return None
    return ticks if ticks > 0 and _moment(ticks) == moment else None


def _moment(ticks: int) -> str:
    seconds, fraction = divmod(ticks, _TICKS)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{fraction:07}Z"


def _unpacked(packed: int) -> Version | None:
    ticks, kind = packed >> 2, packed & 3
    if kind == 1:
        return Version("versionid", _moment(ticks))
    return Version("snapshot", _moment(ticks)) if kind == 2 else None
