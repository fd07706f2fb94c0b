"""How a dataset enters a job: a value that is written down as a token, and becomes a path when the job runs.

An input has a name, a reference to a dataset (NAME, NAME@VERSION, or the id of a definition), and a mode: mount and
download give the child a path, direct the dataset's id. In an argument it is the token `DatasetConsumptionConfig:<name>`.
Nothing is contacted here.
"""

import re
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from runtime.errors import UserErrorException

Mode = Literal["mount", "download", "direct"]
TOKEN = "DatasetConsumptionConfig"  # noqa: S105 # v1's word for a placeholder; no secret
# v1 writes every input to $<name> and $<NAME>; for these that would break the child, so they are left alone.
UNSAFE_NAMES = frozenset({"path", "ld_library_path", "user", "logname", "home", "pwd", "shell"})
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def check_name(name: Any, what: str) -> str:
    """Return `name` if an input or output (`what`) may be called so.

    Raises:
        UserErrorException: letters, digits and `_` only, and no digit first; it becomes an environment variable.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UserErrorException(
            f"{what} name {name!r} cannot be an environment variable; use letters, digits and '_', and no digit first"
        )
    return name


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One input of a job, as asked for; `path_on_compute` None lets the job choose."""

    name: str
    dataset: str
    mode: Mode = "mount"
    path_on_compute: str | None = None

    def __post_init__(self) -> None:
        check_name(self.name, "input")
        if self.mode not in get_args(Mode):
            raise UserErrorException(f"input '{self.name}': no mode {self.mode!r}; use mount, download or direct")

    @property
    def token(self) -> str:
        """What stands for this input in the arguments of a script."""
        return f"{TOKEN}:{self.name}"


def parse_input(text: str) -> InputSpec:
    """`NAME=DATASET[@VERSION][:mount|download|direct]`, as typed on the command line; mount if nothing is said."""
    name, equals, rest = text.partition("=")
    dataset, colon, mode = rest.partition(":")
    if not equals or not dataset:
        raise UserErrorException(f"--input {text!r}: write NAME=DATASET[@VERSION][:mount|download|direct]")
    return InputSpec(name, dataset, cast("Mode", mode) if colon else "mount")
