"""How far ahead to read: the state of the streams of reads in one file. Pure.

A stream is a run of reads that follow one another, told by offset alone, because the kernel tells neither opens nor closes.
A first read opens no window: at the start of a file it is answered with a small fetch, so that the first byte comes early,
and anywhere else with just what was asked for, because it may be a random one. The second read that goes on where another
ended opens a window. A read that has to wait although it continues a stream means that the window is too small: it doubles,
up to twice what the stream has read so far, so that a short one wastes little. Fetches grow with the window, so a long
stream has few and large ones. A window is never narrowed by a count: a reader who
jumps leaves his stream behind and begins a new one, small, and whoever reads on keeps his own. Where there is no memory for
a window, it halves.

A file keeps a few streams, so that readers who share it do not look random to one another; the one unused for longest makes
room.
"""

from dataclasses import dataclass

from mountd.dataset.extents import GRANULE_BYTES, Range, split

FIRST_FETCH_BYTES = 256 * 1024
FIRST_WINDOW_BYTES = 1 << 20
LARGEST_FETCH_BYTES = 4 << 20
_LEAST_AHEAD_BYTES = 512 * 1024
_FETCHES = 4  # a window is brought by that many requests at least, and refilled as soon as one of them fits in again
# The kernel sends the parts of one read-ahead in parallel, so they arrive in any order.
_SLACK_BYTES = 1 << 20
_STREAMS = 4


@dataclass(slots=True)
class Stream:
    """One run of reads: where it began, where the next is expected, its window, and how far has been asked for."""

    begun: int
    expected: int
    asked_to: int
    window_bytes: int = 0

    def withdraw(self, start: int) -> None:
        """What lies from `start` on could not be asked for: no memory or thread was free, or the file failed."""
        self.asked_to = min(self.asked_to, start)
        self.window_bytes = max(min(FIRST_WINDOW_BYTES, self.window_bytes), self.window_bytes // 2)


@dataclass(frozen=True, slots=True)
class Advice:
    """For one read: up to where to fetch if it must wait, the ranges worth fetching now, and the stream they are for."""

    fetch_to: int
    ahead: list[Range]
    stream: Stream


class Streams:
    """The streams of one file. Not thread-safe: its owner holds a lock."""

    def __init__(self, file_size: int, largest_window_bytes: int) -> None:
        self._file_size, self._largest_window_bytes = file_size, largest_window_bytes
        self._streams: list[Stream] = []  # the least recently used first

    def note(self, offset: int, size: int, *, starved: bool) -> Advice:
        """Record a read; `starved`: not all of it was here."""
        end = offset + size
        stream = next((each for each in self._streams if abs(offset - each.expected) <= _SLACK_BYTES), None)
        if stream is None:
            fetch_to = min(self._file_size, max(end, FIRST_FETCH_BYTES)) if offset == 0 else end
            del self._streams[: len(self._streams) - _STREAMS + 1]
            self._streams.append(Stream(offset, end, fetch_to))
            return Advice(fetch_to, [], self._streams[-1])
        self._streams.remove(stream)
        self._streams.append(stream)
        if end > stream.expected:
            stream.expected = end
            if starved or not stream.window_bytes:
                useful = max(FIRST_WINDOW_BYTES, 2 * (end - stream.begun))
                wider = max(FIRST_WINDOW_BYTES, 2 * stream.window_bytes)
                stream.window_bytes = min(wider, useful, self._largest_window_bytes)
        return Advice(end, self._ahead(stream, end), stream)

    def under_way(self) -> list[Stream]:
        """The streams that have a window and have not come to the end; any thread may ask."""
        return [each for each in tuple(self._streams) if each.window_bytes and each.expected < self._file_size]

    def _ahead(self, stream: Stream, end: int) -> list[Range]:
        start = max(stream.asked_to, -(-end // GRANULE_BYTES) * GRANULE_BYTES)
        window = stream.window_bytes
        # A power of two, so that parts of whatever size end at the same places.
        part = 1 << min(LARGEST_FETCH_BYTES, max(_LEAST_AHEAD_BYTES, window // _FETCHES)).bit_length() - 1
        if not window or start - end > window - part:
            return []
        finish = min(self._file_size, -(-(end + window) // part) * part)
        stream.asked_to = max(start, finish)
        return list(split(start, finish, part))
