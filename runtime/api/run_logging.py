"""RunLogging: the part of v1's Run that logs metrics and reads them.

What is logged is on disk when the call returns; `flush` has nothing left to do. A disk that takes no more costs the metric
and not the training: one line on stderr says so.
"""

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runtime.errors import UserErrorException
from runtime.tracking import files, journal, metrics, values

_said: set[str] = set()


class RunLogging:
    """A run that can be logged to; whoever derives from it says in which folder."""

    id: str

    @property
    def _folder(self) -> Path:
        raise NotImplementedError

    def _before_writing(self) -> None:
        """Called before anything is kept with the run."""

    def log(self, name: str, value: Any, description: str = "", step: int | None = None) -> None:
        """Log a number or a text; the same name again makes a list of it.

        Raises:
            UserErrorException: `value` is of another type.
        """
        if step is not None and not isinstance(values.scalar(name, step), int):
            raise UserErrorException(f"metric {name!r}: step {step!r} is no whole number")
        whole = None if step is None else int(values.scalar(name, step))
        self._append(name, "scalar", values.scalar(values.checked_name(name), value), description, whole)

    def log_list(self, name: str, value: Any, description: str = "") -> None:
        """Log a list of numbers or texts; any iterable will do."""
        self._append(name, "list", values.column(values.checked_name(name), value), description)

    def log_row(self, name: str, description: str | None = None, **kwargs: Any) -> None:
        """Log one row of a table: a column for each keyword."""
        self._append(name, "row", values.row(values.checked_name(name), kwargs), description)

    def log_table(self, name: str, value: Mapping[str, Any], description: str = "") -> None:
        """Log a dictionary of columns."""
        self._append(name, "table", values.table(values.checked_name(name), value), description)

    def log_image(self, name: str, path: Any = None, plot: Any = None, description: str = "") -> None:
        """Log an image: the file `path`, or `plot`, a figure or the module pyplot of matplotlib.

        Raises:
            UserErrorException: neither or both are given, or the file is not there.
        """
        values.checked_name(name)
        if (path is None) == (plot is None):
            raise UserErrorException(f"image {name!r}: give either path or plot")
        plain = "".join(each if each.isalnum() or each in "-_ " else "_" for each in name)[:80]
        kept = f"{plain}_{time.time_ns()}{Path(str(path)).suffix[:10] if path is not None else '.png'}"
        if path is not None and not Path(path).is_file():
            raise UserErrorException(f"image {name!r}: no file {str(path)!r}")
        self._guard(lambda: self._keep_image(name, kept, path, plot, description), name)

    def _keep_image(self, name: str, kept: str, path: Any, plot: Any, description: str) -> None:
        if path is not None:
            files.add(self._folder, kept, Path(path))
        else:
            import io

            drawn = io.BytesIO()
            plot.savefig(drawn, format="png")
            drawn.seek(0)
            files.add(self._folder, kept, drawn)
        journal.append(self._folder, name, metrics.IMAGE, kept, description=description)

    def log_confusion_matrix(self, name: str, value: Any, description: str = "") -> None:
        """Log a confusion matrix: v1's dictionary, or its JSON."""
        self._document(name, "confusion_matrix", value, description)

    def log_accuracy_table(self, name: str, value: Any, description: str = "") -> None:
        """Log an accuracy table: v1's dictionary, or its JSON."""
        self._document(name, "accuracy_table", value, description)

    def log_residuals(self, name: str, value: Any, description: str = "") -> None:
        """Log residuals: v1's dictionary, or its JSON."""
        self._document(name, "residuals", value, description)

    def log_predictions(self, name: str, value: Any, description: str = "") -> None:
        """Log predictions: v1's dictionary, or its JSON."""
        self._document(name, "predictions", value, description)

    def flush(self, timeout_seconds: int = 300) -> None:
        """Nothing is left to do: what was logged is on disk."""

    def _document(self, name: str, kind: str, value: Any, description: str) -> None:
        checked = values.checked_name(name)
        self._append(checked, kind, values.document(checked, kind.replace("_", " "), value), description)

    def _append(self, name: str, kind: str, value: Any, description: str | None, step: int | None = None) -> None:
        self._guard(lambda: journal.append(self._folder, name, kind, value, step, description or ""), name)

    def _guard(self, write: Any, name: str) -> None:
        self._before_writing()
        try:
            write()
        except OSError as error:
            line = f"{error.filename or self._folder}: {error.strerror}"
            if line not in _said:
                _said.add(line)
                told = f"moorage: metric {name!r} is not kept, and others may not be: {line}"
                print(told, file=sys.stderr)  # noqa: T201 # a line for the user, not a log

    def _metrics(self, name: str | None = None) -> dict[str, Any]:
        """What was logged to this run alone, in v1's shapes."""
        entries, skipped = journal.read(self._folder)
        journal.say_skipped(skipped)
        found = metrics.shaped(entries, self.id)
        return found if name is None else {key: value for key, value in found.items() if key == name}
