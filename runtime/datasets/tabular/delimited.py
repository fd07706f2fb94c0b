"""Rows of delimited text: header and types out of the first rows, then blocks of whole records, parsed by all processors.

Bytes come by `chunks`, become UTF-8, and are cut at the ends of records: without `multi_line` at any line's end, with
it where the quotes before it are even. Blocks are parsed by threads (Arrow leaves Python meanwhile) and handed on in
their order.

    ALL_SAME     each file's first record is its header; columns go by their place, under the first file's names
    ONLY_FIRST   the first file's first record is the header; in the others it is a row
    COMBINE      each file has a header of its own; the columns are all that any has, null where a file lacks one
    NO_HEADERS   columns are Column1, Column2, ...

An empty file has no rows, and one with nothing but a header none either.
"""

import codecs
import enum
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Final

from runtime.datasets.tabular.chunks import chunks
from runtime.datasets.tabular.files import TableFile
from runtime.datasets.tabular.inference import SAMPLE_ROWS, ambiguous_date, infer
from runtime.datasets.tabular.kinds import TEXT, ColumnType, Kind
from runtime.datasets.tabular.parsing import Layout, Parsed, parse_block, records, unique
from runtime.errors import DatasetValidationError, UserErrorException

ENCODINGS: Final = {
    "utf8": "utf-8",
    "utf8bom": "utf-8",
    "iso88591": "iso-8859-1",
    "latin1": "iso-8859-1",
    "ascii": "ascii",
    "utf16": "utf-16",
    "utf32": "utf-32",
    "windows1252": "cp1252",
}
_HEAD_BYTES: Final = 64 << 10
_HEAD_MOST_BYTES: Final = 16 << 20
_RECORD_MOST_BYTES: Final = 256 << 20
_GZIP: Final = b"\x1f\x8b"
_WIDE_MARKS: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Header(enum.StrEnum):
    """Which files begin with a header."""

    NO_HEADERS = "none"
    ONLY_FIRST = "first"
    COMBINE = "combine"
    ALL_SAME = "same"


@dataclass(frozen=True, slots=True)
class Delimited:
    """How the text is to be read. `types` are those that the user set, by column."""

    separator: str = ","
    header: Header = Header.ALL_SAME
    encoding: str = "utf8"
    multi_line: bool = False
    empty_as_string: bool = False
    infer: bool = True
    types: Mapping[str, ColumnType] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.separator) != 1 or self.separator in '"\r\n':
            raise ValueError(f"separator {self.separator!r}: one character separates columns")
        if self.encoding not in ENCODINGS:
            raise UserErrorException(f"encoding {self.encoding!r}: use one of {', '.join(ENCODINGS)}")


@dataclass(frozen=True, slots=True)
class Head:
    """What the first rows say: the columns, and by file the names of its own (all the same, but for COMBINE)."""

    names: tuple[str, ...]
    types: tuple[ColumnType, ...]
    by_file: Callable[[int], tuple[str, ...]]
    ambiguous: Mapping[str, str]


def look(files: Sequence[TableFile], options: Delimited) -> Head:
    """Read the headers that are needed and the first rows.

    Raises:
        DatasetValidationError: a file's text is not what `options` say.
        MountdError: as reading raises it.
    """
    own = [_first_records(file, options, 1)[:1] for file in files] if options.header is Header.COMBINE else []
    sample: list[list[str]] = []
    names: tuple[str, ...] = ()
    for number, file in enumerate(files):
        rows = _first_records(file, options, SAMPLE_ROWS + 1)
        header = rows.pop(0) if rows and _has_header(options.header, number) else []
        if options.header is Header.COMBINE:
            return _combined(files, options, [unique(each[0]) if each else () for each in own])
        names = names or unique(header)
        sample += rows[: SAMPLE_ROWS - len(sample)]
        if len(sample) >= SAMPLE_ROWS:
            break
    width = max([len(names), *map(len, sample)])
    names = unique([*names, *[""] * (width - len(names))])
    types, ambiguous = _types(names, sample, options)
    return Head(names, types, lambda _: names, ambiguous)


def _combined(files: Sequence[TableFile], options: Delimited, own: list[tuple[str, ...]]) -> Head:
    names = tuple(dict.fromkeys(name for each in own for name in each))
    samples: dict[str, list[str]] = {name: [] for name in names}
    for file, columns in zip(files, own, strict=True):
        if all(len(each) >= SAMPLE_ROWS for each in samples.values()):
            break
        for row in _first_records(file, options, SAMPLE_ROWS + 1)[1:]:
            for name, value in zip(columns, row, strict=False):
                samples[name].append(value)
    rows = [samples[name][:SAMPLE_ROWS] for name in names]
    types = tuple(_type(name, values, options) for name, values in zip(names, rows, strict=True))
    return Head(names, types, lambda number: own[number], {})


def _types(
    names: Sequence[str], sample: list[list[str]], options: Delimited
) -> tuple[tuple[ColumnType, ...], dict[str, str]]:
    columns = [[row[at] for row in sample if at < len(row)] for at in range(len(names))]
    types = tuple(_type(name, values, options) for name, values in zip(names, columns, strict=True))
    ambiguous = {
        name: date
        for name, values, kind in zip(names, columns, types, strict=True)
        if kind.kind is Kind.DATETIME and not kind.formats and (date := ambiguous_date(values))
    }
    return types, ambiguous


def _type(name: str, values: Sequence[str], options: Delimited) -> ColumnType:
    if name in options.types:
        return options.types[name]
    return infer(values) if options.infer else TEXT


def read(
    files: Sequence[TableFile], kept: Sequence[int], options: Delimited, head: Head, wanted: Sequence[str]
) -> Iterator[tuple[int, Parsed]]:
    """Yield the wanted columns of the files with the numbers `kept`, in their order, as (number of the file, block).

    Raises:
        DatasetValidationError: as `look`; it names the file.
    """
    layouts: dict[int, Layout] = {}

    def parse(number: int, block: bytes) -> Parsed:
        try:
            return _in_union(parse_block(block, layouts[number]), head, wanted)
        except DatasetValidationError as error:
            raise DatasetValidationError(f"{files[number].path}: {error}") from None

    waiting: deque[tuple[int, Future[Parsed]]] = deque()
    threads = os.cpu_count() or 1
    allowed = 1  # as `chunks`: who stops early has had little parsed
    with ThreadPoolExecutor(threads, thread_name_prefix="table-parse") as pool:
        try:
            for number, block in blocks(files, kept, options):
                layouts.setdefault(number, _layout(number, options, head, wanted))
                waiting.append((number, pool.submit(parse, number, block)))
                while len(waiting) >= allowed:
                    yield _next(waiting)
                    allowed = min(allowed + 1, 2 * threads)
            while waiting:
                yield _next(waiting)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _next(waiting: deque[tuple[int, Future[Parsed]]]) -> tuple[int, Parsed]:
    number, future = waiting.popleft()
    return number, future.result()


def _layout(number: int, options: Delimited, head: Head, wanted: Sequence[str]) -> Layout:
    names = head.by_file(number)
    types = tuple(head.types[head.names.index(name)] for name in names)
    kept = tuple(name for name in wanted if name in names)
    return Layout(names, types, kept, options.separator, options.multi_line, options.empty_as_string)


def _in_union(parsed: Parsed, head: Head, wanted: Sequence[str]) -> Parsed:
    """The block with a column of nulls for each wanted one that its file does not have."""
    import pyarrow as pa

    if tuple(parsed.table.column_names) == tuple(wanted):
        return parsed
    columns: list[Any] = []
    for name in wanted:
        kind = head.types[head.names.index(name)].arrow
        there = name in parsed.table.column_names
        columns.append(parsed.table.column(name) if there else pa.nulls(parsed.table.num_rows, kind))
    return replace(parsed, table=pa.table(columns, names=list(wanted)))


def _has_header(header: Header, number: int) -> bool:
    return header in {Header.ALL_SAME, Header.COMBINE} or (header is Header.ONLY_FIRST and number == 0)


def blocks(files: Sequence[TableFile], kept: Sequence[int], options: Delimited) -> Iterator[tuple[int, bytes]]:
    """Whole records of the files with the numbers `kept`, in UTF-8, without headers, as (number of the file, block)."""
    reader, at = None, -1
    for chunk in chunks([files[number] for number in kept]):
        number = kept[chunk.file]
        if number != at or reader is None:
            at, reader = number, _Records(files[number], options, has_header=_has_header(options.header, number))
        if block := reader.feed(chunk.data, is_last=chunk.is_last):
            yield number, block


def first_block(file: TableFile, options: Delimited, count: int) -> bytes:
    """The beginning of a file, header included: at least `count` records, or all; no more is read than they take."""
    size = _HEAD_BYTES
    while True:
        data = file.read(0, size)
        is_last = len(data) >= file.size
        block = _Records(file, options, has_header=False).feed(data, is_last=is_last)
        if is_last or block.count(b"\n") >= 2 * count or size >= _HEAD_MOST_BYTES:
            return block
        size *= 4


def _first_records(file: TableFile, options: Delimited, count: int) -> list[list[str]]:
    text = first_block(file, options, count).decode(errors="replace")
    return list(islice(records(text, options.separator, multi_line=options.multi_line), count))


class _Records:
    """Cuts the bytes of one file at the ends of records."""

    def __init__(self, file: TableFile, options: Delimited, *, has_header: bool) -> None:
        self._file, self._options, self._drops = file, options, has_header
        self._decoder = codecs.getincrementaldecoder(ENCODINGS[options.encoding])()
        self._is_utf8 = ENCODINGS[options.encoding] == "utf-8"
        self._rest = b""
        self._begun = False

    def feed(self, data: bytes, *, is_last: bool) -> bytes:
        """The whole records that have come with `data`, all that is left if it `is_last`."""
        if not self._begun:
            self._begun = True
            data = self._checked(data)
        text = self._rest + (data if self._is_utf8 else self._decoded(data, is_last=is_last))
        end = len(text) if is_last else self._end(text)
        if len(text) - end > _RECORD_MOST_BYTES:
            raise DatasetValidationError(
                f"{self._file.path}: a record of more than {_RECORD_MOST_BYTES >> 20} MiB; a quote may not be "
                "closed, or the file is no text"
            )
        self._rest = text[end:]
        block = text[:end]
        if self._drops and (begin := self._first_end(block)):
            self._drops = False
            block = block[begin:]
        return block

    def _checked(self, data: bytes) -> bytes:
        if data.startswith(_GZIP):
            raise DatasetValidationError(f"{self._file.path}: compressed by gzip; unpack it, a dataset's text is plain")
        if self._is_utf8 and data.startswith(_WIDE_MARKS):
            raise DatasetValidationError(f"{self._file.path}: begins as UTF-16 does; say encoding='utf16'")
        return data.removeprefix(codecs.BOM_UTF8) if self._is_utf8 else data

    def _decoded(self, data: bytes, *, is_last: bool) -> bytes:
        try:
            return self._decoder.decode(data, is_last).encode()
        except (UnicodeDecodeError, UnicodeEncodeError) as error:
            raise DatasetValidationError(
                f"{self._file.path}: no text in {self._options.encoding} ({error.reason}); name the encoding it has"
            ) from None

    def _end(self, text: bytes) -> int:
        """Where the last whole record of `text` ends."""
        end = text.rfind(b"\n") + 1
        if not self._options.multi_line:
            return end
        quotes = text.count(b'"', 0, end)
        while end and quotes % 2:
            after, end = end, text.rfind(b"\n", 0, end - 1) + 1
            quotes -= text.count(b'"', end, after)  # each line is looked at once
        return end

    def _first_end(self, text: bytes) -> int:
        """Where the first record of `text` ends; empty lines before it belong to it."""
        end = quotes = 0
        while end < len(text):
            begin, end = end, (text.find(b"\n", end) + 1) or len(text)
            quotes += text.count(b'"', begin, end)
            if text[begin:end].strip(b"\r\n") and not (self._options.multi_line and quotes % 2):
                break
        return end
