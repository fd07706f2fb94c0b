"""The arguments of a job on their way to text: what stands for inputs and outputs becomes a token, the rest what it says.

v1's rules, element by element: a DatasetConsumptionConfig or an output becomes its token and joins the job; a DataReference
becomes `$AZUREML_DATAREFERENCE_<name>`, which the layout replaces; a dataset by itself is an error that says what to
call. Text, numbers and paths are themselves. A name that the run configuration has already keeps the configuration's
entry, which is told.
"""

import numbers
import os
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from runtime.api.consumption import DatasetConsumptionConfig
from runtime.api.output import OutputFileDatasetConfig
from runtime.api.run_config_data import Data, OutputData, Reference, input_spec, output_spec, reference
from runtime.api.telling import tell_once
from runtime.consumption import TOKEN as INPUT_TOKEN
from runtime.consumption import InputSpec
from runtime.errors import UserErrorException
from runtime.outputs import TOKEN as OUTPUT_TOKEN
from runtime.outputs import OutputSpec
from runtime.workspace import WorkspaceFolder

_UPLOAD = "upload"


@dataclass(slots=True)
class Arguments:
    """The elements of a command as text, and the inputs and outputs of the job, by name in the order they came."""

    data: dict[str, Any]
    output_data: dict[str, Any]
    references: dict[str, Any]
    texts: list[str] = field(default_factory=list)
    _added: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        elements: Iterable[Any],
        data: Mapping[str, Any],
        output_data: Mapping[str, Any],
        references: Mapping[str, Any],
    ) -> "Arguments":
        """Take `elements`, beside what a run configuration has already.

        Raises:
            UserErrorException: an element cannot become text, or two different ones have one name.
        """
        taken = cls(dict(data), dict(output_data), dict(references))
        for number, element in enumerate(elements, 1):
            taken.texts.append(taken._take(number, element))
        return taken

    def inputs(self, folder: WorkspaceFolder) -> tuple[InputSpec, ...]:
        """What the job in the workspace `folder` is told of its inputs."""
        references = {name: reference(each, name) for name, each in self.references.items()}
        specs = [input_spec(name, each, folder) for name, each in self.data.items()]
        specs += [input_spec(name, each, folder) for name, each in references.items() if each.mode != _UPLOAD]
        return tuple(specs)

    def outputs(self, folder: WorkspaceFolder) -> tuple[OutputSpec, ...]:
        """What the job in the workspace `folder` is told of its outputs."""
        references = {name: reference(each, name) for name, each in self.references.items()}
        specs = [output_spec(name, each, folder) for name, each in self.output_data.items()]
        specs += [output_spec(name, each, folder) for name, each in references.items() if each.mode == _UPLOAD]
        return tuple(specs)

    def aliases(self) -> dict[str, str]:
        """The variables that `environment_variable_name` asks for, with the token of each."""
        inputs = [(each, name, INPUT_TOKEN) for name, each in self.data.items()]
        outputs = [(each, name, OUTPUT_TOKEN) for name, each in self.output_data.items()]
        asked = [
            (getattr(each, "environment_variable_name", None), f"{token}:{name}")
            for each, name, token in (*inputs, *outputs)
        ]
        return {variable: token for variable, token in asked if variable}

    def note_producer(self, run_id: str) -> None:
        """Tell each output which run makes it."""
        for each in self.output_data.values():
            if isinstance(each, OutputFileDatasetConfig):
                each.note_producer(run_id)

    def _take(self, number: int, element: Any) -> str:
        if isinstance(element, DatasetConsumptionConfig):
            self._join(self.data, element.name, element, "input")
            return element.arg_val
        if isinstance(element, OutputFileDatasetConfig):
            self._join(self.output_data, element.name, element, "output")
            return element.arg_val
        if isinstance(element, Reference):
            self._join(self.references, element.data_reference_name, element, "data reference")
            return str(element)
        return _text(number, element)

    def _join(self, taken: dict[str, Any], name: str, element: Any, what: str) -> None:
        before = taken.setdefault(name, element)
        if before is element:
            self._added[name] = element
        elif name not in self._added:
            tell_once(f"{what} '{name}' is in the run configuration already: that one is used, and not the argument's")
        elif repr(before) != repr(element):
            raise UserErrorException(f"two different inputs or outputs are called '{name}'; give each its own name")


def _text(number: int, element: object) -> str:
    """An argument that is itself."""
    if isinstance(element, Data | OutputData):
        raise UserErrorException(
            f"argument {number} is a {type(element).__name__}; put it into the run configuration, and its token here"
        )
    if hasattr(element, "as_named_input"):
        raise UserErrorException(
            f"argument {number} is a dataset, which cannot be an argument by itself; say how the job gets it: "
            "ds.as_named_input('x').as_mount()"
        )
    if element is None:
        raise UserErrorException(f"argument {number} is None, which is no text; leave it out, or write ''")
    if isinstance(element, os.PathLike):
        return os.fsdecode(element)
    if isinstance(element, str | numbers.Number):
        return str(element)
    raise UserErrorException(
        f"argument {number} is of type {type(element).__name__}, which cannot become text: {element!r}"
    )


def shell_line(elements: Iterable[Any], texts: Iterable[str]) -> str:
    """A command that is a list, as v1 gave it to the shell: joined by blanks, paths kept in one piece.

    An element may be a piece of a line (`"python -m x --epochs 5"`, `"$NODE_RANK"`, `"&&"`), so text is left as it is. What
    stands for an input or output becomes a quoted variable, which no blank in a path can tear.
    """
    return " ".join(_piece(element, text) for element, text in zip(elements, texts, strict=True))


def _piece(element: object, text: str) -> str:
    for token, kind in ((INPUT_TOKEN, "INPUT"), (OUTPUT_TOKEN, "OUTPUT")):
        if text.startswith(f"{token}:") and text.removeprefix(f"{token}:").isidentifier():
            return f'"$AZURE_ML_{kind}_{text.removeprefix(f"{token}:")}"'
    if isinstance(element, Reference):
        return f'"{text}"'
    return shlex.quote(text) if isinstance(element, os.PathLike) else text
