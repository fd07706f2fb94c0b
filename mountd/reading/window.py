"""How far ahead to read: the state of one stream of reads. Pure.

A stream is a run of reads that follow one another in one file, told by offset alone, because the kernel tells us neither
opens nor closes. Its window starts at nothing, opens with the second read that continues the first, and doubles with each
further one; a read that lands elsewhere belongs to another stream. A file keeps a few streams, so that readers who share it
do not look random to one another; the one unused for longest makes room.
"""

from dataclasses import dataclass

FIRST_WINDOW_BYTES = 1 << 20
LAST_WINDOW_BYTES = 16 << 20
# The kernel sends the parts of one read-ahead in parallel, so they arrive in any order.
_SLACK_BYTES = 1 << 20
_STREAMS = 4


@dataclass(slots=True)
class _Stream:
    expected: int
    window_bytes: int = 0
    ahead_to: int = 0  # everything before this offset was asked for already


class Streams:
    """The streams of one file. Not thread-safe: its owner holds a lock."""

    def __init__(self, granule_bytes: int) -> None:
        """`granule_bytes`: ranges begin and end at its multiples, so that no extent is asked for twice."""
        self._granule_bytes = granule_bytes
        self._streams: list[_Stream] = []  # the least recently used first

    def note(self, offset: int, size: int) -> tuple[int, int]:
        """Record a read; return the range [start, end) that is now worth fetching, empty if none is."""
        end = offset + size
        stream = next((each for each in self._streams if _continues(each, offset)), None)
        if stream is None:
            del self._streams[: len(self._streams) - _STREAMS + 1]
            # A read at the start of a file is the likely beginning of a stream, any other may be a random one.
            stream = _Stream(end, FIRST_WINDOW_BYTES if offset == 0 else 0, self._round_up(end))
        else:
            self._streams.remove(stream)
            if end > stream.expected:
                stream.expected = end
                stream.window_bytes = min(LAST_WINDOW_BYTES, max(FIRST_WINDOW_BYTES, stream.window_bytes * 2))
        self._streams.append(stream)
        start = max(stream.ahead_to, self._round_up(end))
        stream.ahead_to = max(start, self._round_up(end + stream.window_bytes)) if stream.window_bytes else start
        return start, stream.ahead_to

    def _round_up(self, offset: int) -> int:
        return -(-offset // self._granule_bytes) * self._granule_bytes


def _continues(stream: _Stream, offset: int) -> bool:
    return -_SLACK_BYTES <= offset - stream.expected <= _SLACK_BYTES
