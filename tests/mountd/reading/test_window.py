from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from mountd.reading.window import FIRST_WINDOW_BYTES, LAST_WINDOW_BYTES, Streams

GRANULE = 1 << 20
READ = 128 << 10


def test_a_stream_from_the_start_of_a_file_is_read_ahead_at_once_and_ever_further() -> None:
    streams = Streams(GRANULE)
    reach = []
    for number in range(400):
        _, end = streams.note(number * READ, READ)
        reach.append(end - (number + 1) * READ)
    assert reach[0] >= FIRST_WINDOW_BYTES
    assert LAST_WINDOW_BYTES <= max(reach) <= LAST_WINDOW_BYTES + GRANULE


def test_random_reads_fetch_nothing_ahead() -> None:
    streams = Streams(GRANULE)
    offsets = [n * 97 * GRANULE for n in (5, 90, 31, 700, 12, 44, 3, 81)]
    assert all(start == end for start, end in (streams.note(offset, 4096) for offset in offsets))


def test_two_readers_of_one_file_are_two_streams() -> None:
    streams = Streams(GRANULE)
    ranges = []
    for number in range(50):
        ranges.append(streams.note(number * READ, READ))
        ranges.append(streams.note((1 << 30) + number * READ, READ))
    assert any(end > start > (1 << 30) for start, end in ranges)
    assert any((1 << 30) > end > start for start, end in ranges)


def test_parts_of_one_kernel_read_ahead_may_come_in_any_order() -> None:
    streams = Streams(GRANULE)
    reached = 0
    for first in range(0, 200, 4):
        for number in (first + 2, first, first + 3, first + 1):
            reached = max(reached, streams.note(number * READ, READ)[1])
    assert reached >= 200 * READ + LAST_WINDOW_BYTES - GRANULE


@given(st.lists(st.tuples(st.integers(0, 1 << 32), st.integers(1, 1 << 20)), max_size=60))
def test_ranges_are_whole_granules_after_the_read_and_never_wider_than_the_window(reads: list[tuple[int, int]]) -> None:
    streams = Streams(GRANULE)
    for offset, size in reads:
        start, end = streams.note(offset, size)
        assert start <= end
        assert start >= offset + size
        assert end == start or (start % GRANULE == 0 and end % GRANULE == 0)
        assert end - (offset + size) <= LAST_WINDOW_BYTES + 3 * GRANULE


def test_no_extent_of_a_stream_is_asked_for_twice() -> None:
    streams = Streams(GRANULE)
    ranges = [streams.note(number * READ, READ) for number in range(300)]
    asked = [each for each in ranges if each[0] < each[1]]
    assert all(before[1] <= after[0] for before, after in pairwise(asked))
