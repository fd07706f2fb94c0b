"""Ranges against plain sets of byte numbers."""

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from mountd.dataset.extents import GRANULE_BYTES, FileKey, Range, clip, gaps, split, widen

SIZES = st.integers(0, 5000)
RANGES = st.tuples(SIZES, SIZES).map(lambda pair: (min(pair), max(pair)))
SOME_GRANULES = st.integers(0, 5 * GRANULE_BYTES)
URL, KEY, ETAG = "https://host/container/", "folder/file", "0x8D"


def numbers(*ranges: Range) -> set[int]:
    return {number for start, end in ranges for number in range(start, end)}


@given(offset=SIZES, size=SIZES, file_size=SIZES)
def test_a_read_is_clipped_to_what_the_file_has(offset: int, size: int, file_size: int) -> None:
    clipped = numbers((offset, offset + clip(offset, size, file_size)))
    assert clipped == numbers((offset, offset + size)) & numbers((0, file_size))


@given(wanted=RANGES, covered=st.lists(RANGES, max_size=8).map(sorted))
def test_gaps_are_exactly_what_is_not_covered_in_order_and_none_is_empty(wanted: Range, covered: list[Range]) -> None:
    left = gaps(*wanted, covered)
    assert numbers(*left) == numbers(wanted) - numbers(*covered)
    assert all(start < end for start, end in left)
    assert all(before[1] <= after[0] for before, after in pairwise(left))


@given(wanted=st.tuples(SOME_GRANULES, SOME_GRANULES).map(sorted), more=SOME_GRANULES)
@example(wanted=[0, 1], more=0)
@example(wanted=[GRANULE_BYTES, 2 * GRANULE_BYTES], more=1)
def test_a_fetch_is_the_fewest_whole_granules_that_hold_the_read_within_the_file(wanted: list[int], more: int) -> None:
    start, end = wanted
    file_size = end + more
    begin, finish = widen(start, end, file_size)
    assert begin <= start
    assert end <= finish <= file_size
    assert begin % GRANULE_BYTES == 0
    assert finish % GRANULE_BYTES == 0 or finish == file_size
    assert start - begin < GRANULE_BYTES
    assert finish - end < GRANULE_BYTES


@given(whole=RANGES, part_bytes=st.integers(1, 700))
def test_a_split_range_is_the_range_in_parts_that_end_at_multiples(whole: Range, part_bytes: int) -> None:
    parts = list(split(*whole, part_bytes))
    assert [number for part in parts for number in range(*part)] == list(range(*whole))
    assert all(0 < end - start <= part_bytes for start, end in parts)
    assert all(end % part_bytes == 0 for _, end in parts[:-1])


def test_a_file_has_another_digest_when_its_store_key_or_etag_is_another() -> None:
    keys = [
        FileKey.of(url, 2, 0, key, etag, 5)
        for url, key, etag in [
            (URL, KEY, ETAG),
            ("https://other/container/", KEY, ETAG),
            (URL, "folder/file2", ETAG),
            (URL, KEY, "0x8E"),
            (URL, "folder", f"file{ETAG}"),
            (URL, "folder/\udcff", ETAG),
        ]
    ]
    assert len({key.digest for key in keys}) == len(keys)


def test_a_file_has_one_digest_wherever_a_manifest_lists_it() -> None:
    assert FileKey.of(URL, 2, 0, KEY, ETAG, 5).digest == FileKey.of(URL, 9, 3, KEY, ETAG, 5).digest
