from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mountd.cache.appending import Appender, Record
from mountd.cache.segments import LONGEST_BYTES, Segments, files_in, segment_path
from mountd.errors import CorruptDataError
from tests.support.caches import MIB, data_of, file_id

SIZES = st.sampled_from([1, 5000, 70_000, 400_000, 600_000, MIB + 1])


def record(name: str, size: int, offset: int = 0) -> Record:
    return Record.of(file_id(name), offset, data_of(name, offset, size), None)


@settings(max_examples=40, deadline=None)
@given(batches=st.lists(st.lists(SIZES, min_size=1, max_size=4), min_size=1, max_size=6))
def test_batches_small_and_big_can_be_read_and_told_from_the_file_alone(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[int]]
) -> None:
    folder = tmp_path_factory.mktemp("segments")
    appender, segments = Appender(folder), Segments(folder)
    appender.open()
    extents = [
        extent
        for number, sizes in enumerate(batches)
        for extent in appender.append([record(f"{number} {at}", size) for at, size in enumerate(sizes)])
    ]
    names = [f"{number} {at}" for number, sizes in enumerate(batches) for at in range(len(sizes))]
    [path] = folder.iterdir()
    assert path == segment_path(folder, extents[0].segment)
    assert list(files_in(path)) == [file_id(name) for name in names]
    assert path.stat().st_size == appender.used_bytes
    for name, extent in zip(names, extents, strict=True):
        assert segments.read(extent, 0, extent.length) == data_of(name, 0, extent.length)


def test_what_an_earlier_batch_left_in_the_buffer_is_no_record(tmp_path: Path) -> None:
    appender = Appender(tmp_path)
    appender.open()
    appender.append([record("a", MIB), record("b", 100)])
    appender.append([record("c", MIB)])  # ends where the record of b began
    [path] = tmp_path.iterdir()
    assert list(files_in(path)) == [file_id(name) for name in ("a", "b", "c")]


@pytest.mark.parametrize("size", [LONGEST_BYTES, 1])
def test_the_longest_extent_fits_the_buffer(tmp_path: Path, size: int) -> None:
    appender = Appender(tmp_path)
    appender.open()
    [extent] = appender.append([record("a", size)])
    assert Segments(tmp_path).read(extent, 0, size) == data_of("a", 0, size)


def test_a_head_that_was_verified_does_not_excuse_the_bytes(tmp_path: Path) -> None:
    appender, segments = Appender(tmp_path), Segments(tmp_path)
    appender.open()
    [extent] = appender.append([record("a", MIB)])
    assert len(segments.read(extent, 500_000, 500_001)) == 1
    with next(tmp_path.iterdir()).open("r+b") as stream:
        stream.seek(500_000)
        stream.write(b"damage")
    with pytest.raises(CorruptDataError):
        segments.read(extent, 500_000, 500_001)


def test_without_an_open_segment_nothing_is_written(tmp_path: Path) -> None:
    appender = Appender(tmp_path / "segments")
    assert not appender.has_room(1, MIB)
    with pytest.raises(OSError, match="no segment is open"):
        appender.append([record("a", 1)])
    appender.open()
    assert appender.has_room(LONGEST_BYTES, MIB)  # an empty segment takes any extent
    appender.append([record("a", MIB // 2)])
    assert appender.has_room(MIB // 3, MIB)
    assert not appender.has_room(MIB // 2, MIB)
