"""What a job is asked to be: a command, its inputs and outputs. A value; nothing was contacted to make it."""

import json
import math
import re
import secrets
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from runtime.consumption import InputSpec
from runtime.errors import UserErrorException
from runtime.outputs import OutputSpec

DEFAULT_EXPERIMENT = "job"
DEFAULT_GRACE_S = 30.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_HIDDEN = "***"


@dataclass(frozen=True, slots=True)
class Ranks:
    """One command as many processes that work together: `count` of them, spread over `nodes` as v1 would count them.

    `servers` is how many parameter servers a tensorflow job has besides. All of them run on this machine.
    """

    kind: Literal["pytorch", "mpi", "tensorflow"]
    count: int
    nodes: int = 1
    servers: int = 0


@dataclass(frozen=True, slots=True)
class JobSpec:
    """One job. `command` is its argv, tokens included; `cwd` its folder; `grace_s` the time between SIGTERM and SIGKILL.

    `environment` is given to the child, tokens replaced; `configuration` is for the record alone: what v1 would have run it
    on. After `max_duration_s` the job is ended, None is never.
    """

    run_id: str
    experiment: str
    command: tuple[str, ...]
    cwd: str
    inputs: tuple[InputSpec, ...] = ()
    outputs: tuple[OutputSpec, ...] = ()
    grace_s: float = DEFAULT_GRACE_S
    tags: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    ranks: Ranks | None = None
    max_duration_s: float | None = None
    configuration: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.command or not self.command[0]:
            raise UserErrorException("no command; write it behind `--`: moorage run --input ... -- python train.py")
        if any("\0" in element for element in self.command):
            raise UserErrorException("the command holds a NUL; no program can be given one")
        if not math.isfinite(self.grace_s) or self.grace_s < 0:
            raise UserErrorException(f"--grace {self.grace_s}: give seconds, 0 or more")
        # Names become $<name> and $<NAME>, so two that differ only in case would write the same variable.
        names = Counter([each.name.upper() for each in self.inputs] + [each.name.upper() for each in self.outputs])
        for name, times in names.items():
            if times > 1:
                raise UserErrorException(
                    f"{times} inputs or outputs are called '{name.lower()}'; give each its own name"
                )

    def to_json(self) -> str:
        """As text, for the launcher; the environment may hold what is nobody else's business."""
        return json.dumps(asdict(self))

    def for_record(self) -> dict[str, Any]:
        """As the run's record keeps it: of the environment the names only."""
        return {**asdict(self), "environment": dict.fromkeys(self.environment, _HIDDEN)}

    @classmethod
    def from_json(cls, text: str) -> "JobSpec":
        """The spec that `to_json` wrote."""
        return _from_dict(json.loads(text))


def _from_dict(document: Mapping[str, Any]) -> JobSpec:
    outputs = (each | {"source_globs": tuple(each["source_globs"])} for each in document["outputs"])
    return JobSpec(
        document["run_id"],
        document["experiment"],
        tuple(document["command"]),
        document["cwd"],
        tuple(InputSpec(**each) for each in document["inputs"]),
        tuple(OutputSpec(**each) for each in outputs),
        document["grace_s"],
        document["tags"],
        document.get("environment", {}),
        Ranks(**ranks) if (ranks := document.get("ranks")) else None,
        document.get("max_duration_s"),
        document.get("configuration", {}),
    )


def check_experiment(name: str) -> str:
    """Return `name` if an experiment may be called so: it is part of a run's id, and of a folder's name."""
    if not _NAME.fullmatch(name):
        raise UserErrorException(
            f"{name!r} is no name for an experiment; use up to 64 letters, digits, '_' and '-', a letter or digit first"
        )
    return name


def new_run_id(experiment: str = DEFAULT_EXPERIMENT) -> str:
    """An id for a run, as v1 forms them: experiment, seconds since 1970, eight hexadecimal digits."""
    return f"{check_experiment(experiment)}_{int(time.time())}_{secrets.token_hex(4)}"
