"""Progress bars: on stderr, only where a person looks at it, and gone when the work is done."""

import contextlib
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def counted(what: str) -> Iterator[Callable[[int], None]]:
    """A running count whose end nobody knows: the function takes the count so far."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description} {task.completed} files"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda count: bar.update(task, completed=count)


@contextlib.contextmanager
def transferred(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar of bytes: the function takes (bytes done, bytes in all)."""
    if not sys.stderr.isatty():
        yield lambda _, __: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
