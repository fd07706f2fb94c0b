"""Streams of reads and what they are worth, without a byte being read."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mountd.dataset.extents import GRANULE_BYTES, Range
from mountd.reading.window import FIRST_FETCH_BYTES, FIRST_WINDOW_BYTES, LARGEST_FETCH_BYTES, Streams

MIB = 1 << 20
READ = 128 << 10
LIMIT = 32 * MIB
FILE = 1 << 30


def opened(largest_window_bytes: int = LIMIT, file_size: int = FILE) -> Streams:
    return Streams(file_size, largest_window_bytes)


def read_on(streams: Streams, start: int, count: int, *, starved: bool = True) -> list[Range]:
    """Read `count` times from `start` on; return what was advised."""
    return [
        each for number in range(count) for each in streams.note(start + number * READ, READ, starved=starved).ahead
    ]


def reach(streams: Streams, start: int, count: int) -> int:
    """How far in front of a starving reader the farthest advice ends."""
    far = 0
    for number in range(count):
        ahead = streams.note(start + number * READ, READ, starved=True).ahead
        far = max([far, *(end - start - (number + 1) * READ for _, end in ahead)])
    return far


def test_a_starving_stream_is_read_ahead_ever_further_up_to_the_limit() -> None:
    assert reach(opened(), 0, 4) < 4 * MIB
    assert LIMIT <= reach(opened(), 0, 1000) <= LIMIT + LARGEST_FETCH_BYTES


def test_a_stream_that_never_starves_keeps_its_first_window() -> None:
    ranges = read_on(opened(), 0, 200, starved=False)
    assert max(end - start for start, end in ranges) <= FIRST_WINDOW_BYTES
    assert ranges[-1][1] <= 200 * READ + 2 * FIRST_WINDOW_BYTES


def test_the_first_fetch_of_a_file_is_small_and_brings_more_than_the_read() -> None:
    advice = opened().note(0, 4096, starved=True)
    assert (advice.fetch_to, advice.ahead) == (FIRST_FETCH_BYTES, [])
    assert opened(file_size=5000).note(0, 4096, starved=True).fetch_to == 5000
    assert opened().note(0, MIB, starved=True).fetch_to == MIB


def test_a_first_read_inside_a_file_brings_just_itself() -> None:
    advice = opened().note(77 * MIB, 4096, starved=True)
    assert (advice.fetch_to, advice.ahead) == (77 * MIB + 4096, [])


def test_random_reads_fetch_nothing_ahead() -> None:
    streams = opened()
    offsets = [n * 9 * MIB for n in (5, 90, 31, 70, 12, 44, 3, 81)]
    advised = [streams.note(offset, 4096, starved=True) for offset in offsets * 3]
    assert [advice.ahead for advice in advised] == [[]] * len(advised)


@pytest.mark.parametrize("offset", [0, 5 * MIB, 5 * MIB + 12345])
@pytest.mark.parametrize("size", [4096, GRANULE_BYTES, READ, MIB])
def test_the_same_bytes_read_again_and_again_are_no_stream(offset: int, size: int) -> None:
    streams = opened()
    assert [streams.note(offset, size, starved=True).ahead for _ in range(5)] == [[]] * 5


def test_two_readers_of_one_file_are_two_streams() -> None:
    streams = opened()
    ranges: dict[int, list[Range]] = {0: [], FILE // 2: []}
    for number in range(50):
        for start in ranges:
            ranges[start] += streams.note(start + number * READ, READ, starved=True).ahead
    for start, advised in ranges.items():
        assert start < advised[0][0]
        assert start + 50 * READ + 4 * MIB <= advised[-1][1] < start + FILE // 2
        assert all(before[1] <= after[0] for before, after in pairwise(advised))


def test_a_stream_goes_on_although_another_reader_jumps_about() -> None:
    streams = opened()
    ranges = []
    for number in range(100):
        ranges += streams.note(number * READ, READ, starved=True).ahead
        assert streams.note(FILE // 2 + number * 5 * MIB, 4096, starved=True).ahead == []
    assert ranges == read_on(opened(), 0, 100)


def test_parts_of_one_kernel_read_ahead_may_come_in_any_order() -> None:
    streams = opened()
    ranges = []
    for first in range(0, 800, 4):
        for number in (first + 2, first, first + 3, first + 1):
            ranges += streams.note(number * READ, READ, starved=True).ahead
    assert max(end for _, end in ranges) >= 800 * READ + LIMIT // 2
    assert all(before[1] <= after[0] for before, after in pairwise(ranges))


@pytest.mark.parametrize("count", [2, 3, 5, 10, 30, 100])
@pytest.mark.parametrize("start", [0, 100 * MIB])
def test_a_short_stream_wastes_little_more_than_twice_what_it_read(start: int, count: int) -> None:
    ranges = read_on(opened(), start, count)
    wasted = max(end for _, end in ranges) - start - count * READ
    assert wasted <= max(1.5 * MIB, 2.5 * count * READ)


def test_a_large_window_is_brought_by_few_and_large_requests() -> None:
    ranges = [each for each in read_on(opened(), 0, 4000) if each[0] > 64 * MIB]
    assert sum(end - start for start, end in ranges) / len(ranges) > LARGEST_FETCH_BYTES * 0.9


def test_nothing_is_advised_beyond_the_end_of_the_file() -> None:
    ranges = read_on(opened(file_size=10 * MIB + 5), 0, 80)
    assert ranges[-1][1] == 10 * MIB + 5


def test_without_memory_the_window_halves_and_the_same_range_is_advised_again() -> None:
    streams = opened()
    read_on(streams, 0, 400)
    advice = next(
        advice for number in range(400, 800) if (advice := streams.note(number * READ, READ, starved=False)).ahead
    )
    refused, window = advice.ahead[0][0], advice.stream.window_bytes
    advice.stream.withdraw(refused)
    assert advice.stream.window_bytes == window // 2
    again = read_on(streams, advice.stream.expected, 200, starved=False)
    assert again[0][0] == refused
    assert all(end - start <= LARGEST_FETCH_BYTES for start, end in again)


@pytest.mark.parametrize("limit", [512 << 10, MIB, 3 * MIB])
def test_a_window_without_memory_does_not_grow_over_its_limit(limit: int) -> None:
    streams = opened(limit)
    for number in range(50):
        advice = streams.note(number * READ, READ, starved=True)
        advice.stream.withdraw(advice.stream.asked_to)
        assert advice.stream.window_bytes <= limit


READS = st.lists(
    st.tuples(
        st.integers(0, 40 * MIB) | st.integers(0, 320).map(lambda number: number * READ),
        st.sampled_from([1, 4096, READ, MIB]) | st.integers(1, 3 * MIB),
        st.booleans(),
    ),
    max_size=60,
)


@given(reads=READS, limit=st.sampled_from([512 << 10, MIB, 8 * MIB, 64 * MIB]), refuses=st.booleans())
def test_what_is_advised_lies_after_the_read_within_the_file_and_the_limit_disjoint_and_ascending(
    reads: list[tuple[int, int, bool]], limit: int, *, refuses: bool
) -> None:
    file_size = 43 * MIB + 5
    streams = opened(limit, file_size)
    for offset, size, starved in reads:
        advice = streams.note(offset, size, starved=starved)
        end = offset + size
        assert advice.fetch_to >= min(end, file_size)
        assert advice.fetch_to <= max(end, FIRST_FETCH_BYTES)
        at = min(end, file_size)
        for start, finish in advice.ahead:
            assert at <= start < finish <= file_size
            assert start % GRANULE_BYTES == 0
            assert finish % GRANULE_BYTES == 0 or finish == file_size
            assert finish - start <= LARGEST_FETCH_BYTES
            at = finish
        assert at - end <= limit + LARGEST_FETCH_BYTES
        if refuses and advice.ahead:
            advice.stream.withdraw(advice.ahead[-1][0])


@given(st.lists(st.sampled_from([4096, READ, 300_000, MIB]), max_size=200), st.booleans())
def test_no_byte_of_a_stream_is_asked_for_twice(sizes: list[int], starved: bool) -> None:  # noqa: FBT001  # drawn
    streams = opened()
    at, asked_to = 0, 0
    for size in sizes:
        for start, end in streams.note(at, size, starved=starved).ahead:
            assert start >= asked_to
            asked_to = end
        at += size
