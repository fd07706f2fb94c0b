"""What every store promises (`mountd.stores.base`), asked of every store."""

import pickle
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mountd.errors import DataChangedError, DestinationExistsError, NotFoundError
from mountd.stores.base import RangeReader
from tests.mountd.stores.places import PLACES, Place
from tests.support.content import content

pytestmark = pytest.mark.azurite

SIZE = 300_000
ODD_NAMES = [
    "a b",
    "ü/é",
    "100%",
    "a%20b",
    "q?x=1",
    "h#y",
    "p+q",
    "trail.",
    "[x]{y}",
    "🎉/x",
    "-",
    "~",
    "'\"",
    "a&b;c,d:e@f$g!",
    "..a",
]


@pytest.fixture(params=sorted(PLACES))
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    with PLACES[request.param](request) as found:
        yield found


@pytest.fixture(params=sorted(set(PLACES) - {"https"}))
def writable(request: pytest.FixtureRequest) -> Iterator[Place]:
    with PLACES[request.param](request) as found:
        yield found


@pytest.mark.parametrize("start", [0, 1, 65_535, 65_536, SIZE - 1])
@pytest.mark.parametrize("size", [1, 2, 65_536, SIZE])
def test_reads_exactly_what_lies_there(place: Place, start: int, size: int) -> None:
    size = min(size, SIZE - start)
    place.put("folder/file", content("file", 0, SIZE))
    assert place.read("folder/file", start, size) == content("file", start, size)


def test_object_of_no_bytes_is_listed_and_read(place: Place) -> None:
    place.put("empty", b"")
    assert place.info("empty").size == 0
    assert place.read("empty", 0, 0) == b""


def test_read_beyond_the_end_is_no_short_read(place: Place) -> None:
    place.put("file", b"0123456789")
    etag = place.info("file").etag
    for offset, size in ((5, 6), (10, 1), (500, 10)):
        with pytest.raises(DataChangedError, match="file"):
            place.reader().read("file", offset, size, etag)


def test_listing_tells_size_etag_and_time(place: Place) -> None:
    place.put("a/b/file", b"x" * 17)
    info = place.info("a/b/file")
    assert (info.key, info.size, info.is_directory) == ("a/b/file", 17, False)
    assert info.etag
    assert '"' not in info.etag
    assert place.info("a/b/file").etag == info.etag


def test_listing_is_recursive_and_keeps_to_the_prefix(writable: Place) -> None:
    place = writable
    for key in ("a", "b/c", "b/d/e", "b-", "bc/x"):
        place.put(key, key.encode())
    assert place.keys() == {"a", "b/c", "b/d/e", "b-", "bc/x"}
    assert place.keys("b") == {"b/c", "b/d/e", "b-", "bc/x"}
    assert place.keys("b/") == {"b/c", "b/d/e"}
    assert place.keys("b/d") == {"b/d/e"}
    assert list(place.lister().list("nothing/here")) == []
    assert list(place.lister().list("a/")) == []  # a file has nothing below it


def test_changed_object_is_an_error_and_never_mixed_bytes(place: Place) -> None:
    place.put("file", b"old bytes")
    etag = place.info("file").etag
    assert bytes(place.reader().read("file", 0, 9, etag)) == b"old bytes"
    place.put("file", b"new bytes")
    with pytest.raises(DataChangedError, match="file"):
        place.reader().read("file", 0, 9, etag)
    assert place.read("file", 0, 9) == b"new bytes"


def test_gone_object_is_a_changed_one(place: Place) -> None:
    place.put("file", b"bytes")
    etag = place.info("file").etag
    place.remove("file")
    with pytest.raises(DataChangedError, match=r"file.*gone"):
        place.reader().read("file", 0, 5, etag)


def test_missing_key_without_a_pin_is_not_found(place: Place) -> None:
    with pytest.raises(NotFoundError, match="nothing"):
        place.reader().read("nothing", 0, 1, "")


def test_odd_names_are_read_right(place: Place) -> None:
    names = [name for name in (*ODD_NAMES, *place.odd_names) if name not in place.refused_names]
    for name in names:
        place.put(name, b"<" + name.encode("utf-8", "surrogateescape") + b">")
    for name in names:
        expected = b"<" + name.encode("utf-8", "surrogateescape") + b">"
        assert place.read(name, 0, len(expected)) == expected
    if place.lists:
        assert place.keys() == set(names)


def test_errors_are_one_line(place: Place) -> None:
    place.put("file", b"1")
    for key, etag in (("file", "0badc0de"), ("none", "0badc0de"), ("none", "")):
        with pytest.raises((DataChangedError, NotFoundError)) as caught:
            place.reader().read(key, 0, 1, etag)
        assert "\n" not in str(caught.value)
        assert "Traceback" not in "".join(traceback.format_exception_only(caught.value))
        pickle.dumps(caught.value)  # it crosses processes


def test_reader_tells_its_url_and_kind(place: Place) -> None:
    reader = place.reader()
    assert isinstance(reader, RangeReader)
    assert reader.url == place.url
    assert reader.in_place is place.url.startswith("file:")


@pytest.mark.parametrize("from_file", [True, False])
@pytest.mark.parametrize("size", [0, 1, 100_000])
def test_write_is_verified_and_readable(writable: Place, tmp_path: Path, from_file: bool, size: int) -> None:  # noqa: FBT001 - a parameter
    data = content("w", 0, size)
    source = tmp_path / "source"
    source.write_bytes(data)
    info = writable.writer().write("out/put", source if from_file else data)
    assert (info.key, info.size) == ("out/put", size)
    assert writable.info("out/put") in {info, replace(info, md5=None)}  # a file share's listing tells no MD5
    assert writable.read("out/put", 0, size, info.etag) == data


def test_write_refuses_what_exists_and_changes_nothing(writable: Place) -> None:
    writable.writer().write("file", b"first")
    with pytest.raises(DestinationExistsError, match="file"):
        writable.writer().write("file", b"second")
    assert writable.read("file", 0, 5) == b"first"
    writable.writer().write("file", b"third", overwrite=True)
    assert writable.read("file", 0, 5) == b"third"


def test_delete_twice_is_no_error(writable: Place) -> None:
    writable.put("file", b"1")
    writable.writer().delete("file")
    writable.writer().delete("file")
    assert list(writable.lister().list("file")) == []
