"""Tables against pyarrow and pandas on the same local files: `python -m benchmarks.tabular [--quick]`.

Files are made in a temporary folder, read once so that all of them are in the page cache, and removed at the end. What is
compared runs in one process, in turns, and the best of the rounds counts; peak memory is that of a process of its own.
Prints a table in Markdown. A full run needs 8 GB of disk.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Self

import click

if TYPE_CHECKING:
    from runtime.api.tabular_dataset import TabularDataset

_FILES = 20
_ROUNDS = 3
_BLOCK_ROWS = 100_000
_PARQUET_ROWS = 200_000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a twentieth of the bytes")
    parser.add_argument("--export", type=Path, help=argparse.SUPPRESS)  # what the process of its own does
    options = parser.parse_args()
    if options.export:
        _export(options.export)
        return
    size_bytes = (50 << 20) if options.quick else 1 << 30
    with tempfile.TemporaryDirectory(prefix="moorage-tabular-") as scratch:
        folder = Path(scratch)
        _open_workspace(folder / ".moorage")
        click.echo("| what | figure |\n| --- | ---: |")
        _whole(_make_csv(folder / "csv", _FILES, size_bytes), size_bytes)
        _head(folder / "csv")
        _columns(folder / "parquet")
        _memory(folder, size_bytes)


def _open_workspace(folder: Path) -> None:
    from runtime.workspace import init

    os.environ["MOORAGE_WORKSPACE"] = str(folder)
    init(folder)


def _make_csv(folder: Path, files: int, size_bytes: int) -> Path:
    """So many files of nine columns, alike in all that a parser minds; each line differs."""
    import numpy as np
    import pyarrow as pa
    from pyarrow import csv

    folder.mkdir()
    random = np.random.default_rng(5)
    words = np.array(["harbour", "quay", "pier", "mooring", "anchor"])
    for number in range(files):
        at, path = 0, folder / f"{number:02}.csv"
        with path.open("wb") as file:
            while file.tell() < size_bytes // files:
                begin = number * 10**9 + at
                table = pa.table(
                    {
                        "id": np.arange(begin, begin + _BLOCK_ROWS),
                        "day": (np.datetime64("2020-01-01T00:00:00") + random.integers(0, 10**8, _BLOCK_ROWS)),
                        "name": words[random.integers(0, 5, _BLOCK_ROWS)],
                        "code": np.char.add("c", random.integers(0, 10**6, _BLOCK_ROWS).astype(str)),
                        "small": random.integers(0, 100, _BLOCK_ROWS),
                        "one": random.random(_BLOCK_ROWS).round(6),
                        "two": random.normal(0, 100, _BLOCK_ROWS).round(3),
                        "three": random.exponential(5, _BLOCK_ROWS).round(4),
                        "flag": random.random(_BLOCK_ROWS) < 0.5,
                    }
                )
                csv.write_csv(table, file, csv.WriteOptions(include_header=at == 0, quoting_style="none"))
                at += _BLOCK_ROWS
    return folder


def _dataset(folder: Path) -> "TabularDataset":
    from runtime import Dataset

    made: TabularDataset = Dataset.Tabular.from_delimited_files(str(folder), validate=False)
    return made


def _whole(folder: Path, size_bytes: int) -> None:
    """All rows to a frame of pandas, by each."""
    import pandas as pd
    import pyarrow as pa
    from pyarrow import csv

    files = sorted(folder.iterdir())

    def by_arrow() -> Any:
        return pa.concat_tables([csv.read_csv(path) for path in files])

    def by_both() -> Any:
        return by_arrow().to_pandas()

    def to_arrow() -> Any:
        return _dataset(folder).to_arrow()

    def by_pandas() -> Any:
        return pd.concat([pd.read_csv(path, parse_dates=["day"]) for path in files])

    def by_moorage() -> Any:
        return _dataset(folder).to_pandas_dataframe()

    best = _best(
        {"arrow": by_arrow, "own": to_arrow, "both": by_both, "pandas": by_pandas, "moorage": by_moorage},
        _ROUNDS if size_bytes < 1 << 29 else 2,
    )
    rate = size_bytes / best["moorage"] / 1e6
    click.echo(f"| {size_bytes >> 20:,} MiB of CSV in {_FILES} files to pandas, MB/s | {rate:,.0f} |")
    click.echo(f"| the same to Arrow, x the time of pyarrow.csv | {best['own'] / best['arrow']:.2f} |")
    click.echo(
        f"| the same to pandas, x the time of pyarrow.csv and to_pandas | {best['moorage'] / best['both']:.2f} |"
    )
    click.echo(f"| the same to pandas, x the time of pyarrow.csv alone | {best['moorage'] / best['arrow']:.2f} |")
    click.echo(f"| the same to pandas, x faster than pandas.read_csv | {best['pandas'] / best['moorage']:.2f} |")


def _head(folder: Path) -> None:
    made = _dataset(folder)
    made.frozen()
    best = _best({"take": lambda: made.take(10).to_pandas_dataframe()}, 5)
    with _Counted() as counted:
        made.take(10).to_pandas_dataframe()
    click.echo(f"| take(10) of it, after the listing, ms | {best['take'] * 1e3:.1f} |")
    click.echo(f"| take(10) of it, KiB read | {counted.bytes >> 10:,} |")


def _columns(folder: Path) -> None:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from runtime import Dataset

    folder.mkdir()
    random = np.random.default_rng(6)
    table = pa.table({f"c{number:02}": random.random(_PARQUET_ROWS) for number in range(40)})
    pq.write_table(table, folder / "a.parquet")
    with _Counted() as counted:
        Dataset.Tabular.from_parquet_files(str(folder), validate=False).keep_columns(["c03", "c30"]).to_arrow()
    share = counted.bytes / (folder / "a.parquet").stat().st_size
    click.echo(f"| 2 of 40 columns of parquet, part of the bytes read | {share:.1%} |")


def _memory(folder: Path, size_bytes: int) -> None:
    """Peak memory of a process that writes five times as much as parquet; the files are one, linked five times."""
    for number in range(1, 5):
        for path in sorted((folder / "csv").glob("??.csv")):
            os.link(path, folder / "csv" / f"{path.stem}-{number}.csv")
    command = [sys.executable, "-m", "benchmarks.tabular", "--export", str(folder / "csv")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"TMPDIR": str(folder)})
    click.echo(f"| to_parquet_files of {5 * size_bytes >> 20:,} MiB of CSV, MiB of peak RSS | {int(done.stdout):,} |")


def _export(folder: Path) -> None:
    _dataset(folder).to_parquet_files()
    # Not getrusage's: that one counts what the parent had when it made this process.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    click.echo(int(status["VmHWM"].split()[0]) >> 10)


def _best(runs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """The least time of each in s; in turns, because a machine that others use favours who comes when."""
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(rounds):
        for name, run in runs.items():
            begun = perf_counter()
            run()
            best[name] = min(best[name], perf_counter() - begun)
    return best


class _Counted:
    """Counts the bytes that tables are read by, while it is open."""

    def __enter__(self) -> Self:
        from runtime.datasets.tabular.files import TableFile

        self.bytes, self._read = 0, TableFile.read
        whole, counted = self._read, self

        def read(self: TableFile, offset: int, size: int) -> bytes:
            data = whole(self, offset, size)
            counted.bytes += len(data)
            return data

        TableFile.read = read  # type: ignore[method-assign] # put back below
        return self

    def __exit__(self, *_: object) -> None:
        from runtime.datasets.tabular.files import TableFile

        TableFile.read = self._read  # type: ignore[method-assign] # as above


if __name__ == "__main__":
    main()
