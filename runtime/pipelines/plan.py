"""What a pipeline is asked to be: steps, each a job, and what each waits for. Values; nothing is contacted.

A step waits for the steps that feed its inputs, and for those in `after`. An input that another step feeds has no dataset
yet: the conductor puts its id there when that step has stored its output.
"""

import dataclasses
import graphlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from runtime.errors import UserErrorException
from runtime.job.spec import JobSpec


@dataclass(frozen=True, slots=True)
class Feed:
    """The input `input` of a step is the output `output` of the step number `step`."""

    input: str
    step: int
    output: str


@dataclass(frozen=True, slots=True)
class Step:
    """One step: `name` as v1 finds it by, its job, and the numbers of the steps that it waits for besides its feeds."""

    name: str
    spec: JobSpec
    feeds: tuple[Feed, ...] = ()
    after: tuple[int, ...] = ()

    @property
    def needs(self) -> frozenset[int]:
        """The steps that must have succeeded before this one starts."""
        return frozenset((*(feed.step for feed in self.feeds), *self.after))


@dataclass(frozen=True, slots=True)
class Plan:
    """A pipeline's run. `go_on`: a step that fails stops only those that need it, and not all that have not begun."""

    run_id: str
    experiment: str
    steps: tuple[Step, ...]
    go_on: bool = False

    def to_json(self) -> str:
        """As text, for the conductor."""
        steps = [asdict(step) | {"spec": step.spec.to_json()} for step in self.steps]
        return json.dumps({**asdict(self), "steps": steps})

    @classmethod
    def from_json(cls, text: str) -> "Plan":
        """The plan that `to_json` wrote."""
        document = json.loads(text)
        return cls(document["run_id"], document["experiment"], tuple(map(_step, document["steps"])), document["go_on"])


def _step(document: Mapping[str, Any]) -> Step:
    return Step(
        document["name"],
        JobSpec.from_json(document["spec"]),
        tuple(Feed(**feed) for feed in document["feeds"]),
        tuple(document["after"]),
    )


def order(names: Sequence[str], needs: Sequence[frozenset[int]]) -> "graphlib.TopologicalSorter[int]":
    """What may run when; `needs` has, for each step, the numbers of those that come before it.

    Raises:
        UserErrorException: steps that wait for each other in a circle; they are named.
    """
    sorter: graphlib.TopologicalSorter[int] = graphlib.TopologicalSorter(dict(enumerate(needs)))
    try:
        sorter.prepare()
    except graphlib.CycleError as error:
        circle = " -> ".join(f"'{names[number]}'" for number in error.args[1])
        raise UserErrorException(f"steps wait for each other in a circle: {circle}; take one of these away") from None
    return sorter


def fed(spec: JobSpec, datasets: Mapping[str, str]) -> JobSpec:
    """`spec` with the datasets that its inputs were waiting for, by the input's name."""
    inputs = tuple(dataclasses.replace(each, dataset=datasets.get(each.name, each.dataset)) for each in spec.inputs)
    return dataclasses.replace(spec, inputs=inputs)
