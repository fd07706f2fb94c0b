from hypothesis import given
from hypothesis import strategies as st

from mountd.dataset.extents import Span, clip, spans

SIZES = st.integers(0, 5000)


@given(offset=SIZES, size=SIZES, file_size=SIZES, extent_size=st.integers(1, 700))
def test_spans_cover_exactly_the_clipped_range_in_order(
    offset: int, size: int, file_size: int, extent_size: int
) -> None:
    covered = [
        position
        for span in spans(offset, size, file_size, extent_size)
        for position in range(span.offset + span.start, span.offset + span.end)
    ]
    assert covered == list(range(offset, offset + clip(offset, size, file_size)))


@given(offset=SIZES, size=SIZES, file_size=SIZES, extent_size=st.integers(1, 700))
def test_every_reader_of_a_file_asks_for_the_same_extents(
    offset: int, size: int, file_size: int, extent_size: int
) -> None:
    for span in spans(offset, size, file_size, extent_size):
        assert span.offset % extent_size == 0
        assert span.size == min(extent_size, file_size - span.offset)
        assert 0 <= span.start < span.end <= span.size


def test_a_read_over_a_boundary_has_two_spans() -> None:
    assert list(spans(90, 20, 1000, 100)) == [Span(0, 100, 90, 100), Span(100, 100, 0, 10)]
