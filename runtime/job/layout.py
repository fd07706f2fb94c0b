"""Where everything of a job lies, and what its child is told: computed before anything starts, from values alone.

`lay_out` takes the spec, what the catalog says of each input, and the launcher's environment; it gives the folder of each
input and output, the child's argv with every token replaced, and the child's environment: the launcher's, without storage
secrets, with v1's variables and ours. Nothing is contacted or made, so the same arguments give the same layout, and
`moorage run --dry-run` prints it.
"""

import re
import shlex
import sys
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from runtime.consumption import TOKEN as INPUT_TOKEN
from runtime.consumption import UNSAFE_NAMES, InputSpec, Mode
from runtime.datastores.reaching import ADDRESS
from runtime.errors import UserErrorException
from runtime.job.mounted import FOLDER
from runtime.job.spec import JobSpec, Ranks
from runtime.outputs import TOKEN as OUTPUT_TOKEN
from runtime.outputs import OutputSpec
from runtime.workspace import Identity

RUN_ID = "MOORAGE_RUN_ID"
WORKSPACE = "MOORAGE_WORKSPACE"
INPUTS_VARIABLE = "AZUREML_DATASET_ENVIRONMENT_VARS"
OUTPUTS_VARIABLE = "AZUREML_DATASET_FILE_OUTPUTS"
LATEST_VARIABLE = "SkipValidateDatasets"
_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_TOKENS = re.compile(
    rf"(?P<kind>{INPUT_TOKEN}|{OUTPUT_TOKEN}):(?P<name>{_NAME})|\{{(?P<group>inputs?|outputs?)\.(?P<member>[^{{}}]*)\}}"
)
# v1 had the job's shell replace these; an argument of a script meets no shell here.
_REFERENCE = re.compile(rf"\$AZUREML_DATAREFERENCE_(?P<name>{_NAME})(?=/|$)")
_RANKS = Path(__file__).with_name("ranks.py")
# mpirun's own words for: run as root in a container, and more processes than cores. Other MPIs do not read them.
_MPI = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "AZ_BATCH_MASTER_NODE": "127.0.0.1:6000",
    "AZ_BATCHAI_MPI_MASTER_NODE": "127.0.0.1",
}
# v1's own client asks for an address and a token; these lead nowhere, and are no secret.
_NO_SERVICE = "https://moorage.invalid"
_NO_TOKEN = "none"  # noqa: S105 # says that there is none
_NEVER = "4102444800"  # the year 2100
_NOBODY = Identity("local")


@dataclass(frozen=True, slots=True)
class InputFacts:
    """What the catalog says of an input's dataset. `single_file` is its path in the tree if one file is all there is.

    `name` is the one that it is registered by; none is ''.
    """

    dataset_id: str
    digest: str
    version: int = 0
    single_file: str | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a layout depends on besides the spec. `no_fuse` says why no input can be mounted here, None if it can.

    `no_output_mount` says the same of outputs, whose driver is an extra.
    """

    workspace: Path
    runs: Path
    spool: Path
    environ: Mapping[str, str] = field(repr=False)
    secrets: Collection[str] = ()
    no_fuse: str | None = None
    identity: Identity = _NOBODY
    no_output_mount: str | None = None


@dataclass(frozen=True, slots=True)
class InputPlace:
    """One input: `folder` is where its tree shows (None for direct), `value` what the child is given for it."""

    spec: InputSpec
    facts: InputFacts
    mode: Mode
    folder: Path | None
    value: str

    @property
    def kept(self) -> bool:
        """True if the user chose the place, so that a download stays there after the job."""
        return self.spec.path_on_compute is not None


@dataclass(frozen=True, slots=True)
class OutputPlace:
    """One output: the folder that the child writes to, its prefix in the datastore, and whether it is mounted."""

    spec: OutputSpec
    folder: Path
    prefix: str
    mounted: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """A job, ready to start. `environment` is all that the child gets, `variables` the part of it that the job adds.

    `starter` stands in front of `argv`, where the command is to run as several processes.
    """

    run_id: str
    argv: tuple[str, ...]
    cwd: Path
    inputs: tuple[InputPlace, ...]
    outputs: tuple[OutputPlace, ...]
    variables: Mapping[str, str]
    removed: tuple[str, ...]
    notes: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    starter: tuple[str, ...] = ()

    @property
    def started(self) -> tuple[str, ...]:
        """What is executed: the command behind its starter."""
        return (*self.starter, *self.argv)

    def describe(self) -> str:
        """The layout as lines for people; of the environment only what differs from the launcher's."""
        lines = [f"run      {self.run_id}", f"folder   {self.cwd}", f"command  {shlex.join(self.started)}"]
        lines += [
            f"input    {each.spec.name} = {each.spec.dataset} ({each.mode}) at {each.value}" for each in self.inputs
        ]
        for output in self.outputs:
            place = f"{output.spec.datastore}/{output.prefix}"
            register = f", registered as {output.spec.register_as}" if output.spec.register_as else ""
            lines.append(f"output   {output.spec.name} from {output.folder} to {place}{register}")
        lines += [f"set      {name}={value}" for name, value in sorted(self.variables.items())]
        lines += [f"removed  {name}" for name in self.removed]
        lines += [f"note     {note}" for note in self.notes]
        return "\n".join(lines)


def lay_out(spec: JobSpec, facts: Mapping[str, InputFacts], around: Surroundings) -> Layout:
    """Compute the layout of `spec`; `facts` has each input's by its name.

    Raises:
        UserErrorException: a token names no input or output, or two of them would share a folder.
    """
    notes: list[str] = []
    inputs = tuple(_place_input(each, facts[each.name], spec, around, notes) for each in spec.inputs)
    outputs = tuple(_place_output(each, spec, around, notes) for each in spec.outputs)
    _check_apart(inputs, outputs)
    variables = _variables(spec, inputs, outputs, notes) | _run_variables(spec, around)
    removed = tuple(sorted(name for name in around.secrets if name in around.environ))
    kept = {name: value for name, value in around.environ.items() if name not in around.secrets}
    for stale in (
        INPUTS_VARIABLE,
        OUTPUTS_VARIABLE,
        LATEST_VARIABLE,
        ADDRESS,
    ):  # of a job that this one is started from
        kept.pop(stale, None)
    values = {("inputs", each.spec.name): each.value for each in inputs}
    values |= {("outputs", each.spec.name): str(each.folder) for each in outputs}
    given = {name: _replace_tokens(value, values) for name, value in spec.environment.items()}
    of_ranks = _MPI if spec.ranks is not None and spec.ranks.kind == "mpi" else {}
    environment = {"PYTHONUNBUFFERED": "1", **of_ranks, **kept, **given, **variables}
    argv = tuple(_replace_tokens(element, values) for element in spec.command)
    cwd, starter = Path(spec.cwd), _starter(spec.ranks)
    return Layout(spec.run_id, argv, cwd, inputs, outputs, variables, removed, tuple(notes), environment, starter)


def _starter(ranks: Ranks | None) -> tuple[str, ...]:
    if ranks is None:
        return ()
    if ranks.kind == "mpi":
        return ("mpirun", "-n", str(ranks.count))
    counts = (str(ranks.count), str(ranks.nodes), str(ranks.servers))
    return (sys.executable, "-I", "-S", str(_RANKS), ranks.kind, *counts)


def _place_input(
    spec: InputSpec, facts: InputFacts, job: JobSpec, around: Surroundings, notes: list[str]
) -> InputPlace:
    if spec.mode == "direct":
        return InputPlace(spec, facts, "direct", None, facts.dataset_id)
    if spec.path_on_compute is None:
        folder = around.runs / job.run_id / "inputs" / spec.name
    else:
        folder = Path(job.cwd) / spec.path_on_compute
    if spec.mode == "mount" and around.no_fuse is not None:
        notes.append(f"input '{spec.name}' is downloaded instead of mounted: {around.no_fuse}")
        # The value stays what it is for a mount: a script that opens the single file must find it either way.
        return InputPlace(spec, facts, "download", folder, _inside(folder, facts.single_file))
    if spec.mode == "mount":
        return InputPlace(spec, facts, "mount", folder, _inside(folder, facts.single_file))
    return InputPlace(spec, facts, "download", folder, str(folder))


def _inside(folder: Path, single_file: str | None) -> str:
    """v1's rule: a mounted dataset of a single file is that file, a downloaded one is the folder."""
    return str(folder / single_file) if single_file else str(folder)


def _place_output(spec: OutputSpec, job: JobSpec, around: Surroundings, notes: list[str]) -> OutputPlace:
    prefix = spec.prefix(job.run_id)
    if spec.source is not None:
        return OutputPlace(spec, Path(job.cwd) / spec.source, prefix)
    if spec.mode == "mount" and around.no_output_mount is None:
        return OutputPlace(spec, around.runs / job.run_id / FOLDER / spec.name, prefix, mounted=True)
    if spec.mode == "mount":
        notes.append(f"output '{spec.name}' is staged, and stored when the job ends: {around.no_output_mount}")
    return OutputPlace(spec, around.spool / job.run_id / spec.name, prefix)


def _check_apart(inputs: Sequence[InputPlace], outputs: Sequence[OutputPlace]) -> None:
    """No folder of one input or output may lie in another's: a mount would hide it, an upload would include it."""
    places = [(f"input '{each.spec.name}'", each.folder) for each in inputs if each.folder is not None]
    places += [(f"output '{each.spec.name}'", each.folder) for each in outputs]
    for number, (name, folder) in enumerate(places):
        for other, its_folder in places[:number]:
            if folder.is_relative_to(its_folder) or its_folder.is_relative_to(folder):
                raise UserErrorException(f"{other} and {name} share the folder {folder}; give each its own")
    prefixes = [(each.spec.name, (each.spec.datastore.lower(), each.prefix)) for each in outputs]
    for number, (name, prefix) in enumerate(prefixes):
        for other, its_prefix in prefixes[:number]:
            if prefix[0] == its_prefix[0] and (
                prefix[1].startswith(its_prefix[1]) or its_prefix[1].startswith(prefix[1])
            ):
                raise UserErrorException(
                    f"outputs '{other}' and '{name}' share the place {'/'.join(prefix)}; give each its own"
                )


def _variables(
    job: JobSpec, inputs: Sequence[InputPlace], outputs: Sequence[OutputPlace], notes: list[str]
) -> dict[str, str]:
    variables: dict[str, str] = {}
    for kind, name, value in (
        *(("INPUT", each.spec.name, each.value) for each in inputs),
        *(("OUTPUT", each.spec.name, str(each.folder)) for each in outputs),
    ):
        if name.lower() in UNSAFE_NAMES:
            notes.append(f"${name.upper()} keeps its meaning; read $AZURE_ML_{kind}_{name} for the path of '{name}'")
        else:
            variables |= {name: value, name.upper(): value}
        variables |= {f"AZUREML_DATAREFERENCE_{name}": value, f"AZURE_ML_{kind}_{name}": value}
    if inputs:
        variables[INPUTS_VARIABLE] = ",".join(f"{each.spec.name}:{each.spec.mode}" for each in inputs)
    if outputs:
        variables[OUTPUTS_VARIABLE] = ";".join(each.spec.name for each in outputs)
    if latest := [each.name for each in job.inputs if _is_latest(each.dataset)]:
        variables[LATEST_VARIABLE] = ",".join(latest)
    return variables


def _is_latest(dataset: str) -> bool:
    """True for a name whose version is looked up when the job starts: not NAME@NUMBER, nor the id of a definition."""
    try:
        uuid.UUID(dataset)
    except ValueError:
        return "@" not in dataset or dataset.endswith("@latest")
    return False


def _run_variables(job: JobSpec, around: Surroundings) -> dict[str, str]:
    """What tells a script which run it is: ours, and those that v1's own client looks for."""
    return {
        RUN_ID: job.run_id,
        WORKSPACE: str(around.workspace),
        "AZUREML_RUN_ID": job.run_id,
        "AZUREML_EXPERIMENT_ID": job.experiment,
        "AZUREML_WORKSPACE_ID": around.identity.name,
        "AZUREML_ARM_SUBSCRIPTION": around.identity.subscription_id,
        "AZUREML_ARM_RESOURCEGROUP": around.identity.resource_group,
        "AZUREML_ARM_WORKSPACE_NAME": around.identity.name,
        "AZUREML_ARM_PROJECT_NAME": job.experiment,
        "AZUREML_SERVICE_ENDPOINT": _NO_SERVICE,
        "AZUREML_RUN_TOKEN": _NO_TOKEN,
        "AZUREML_RUN_TOKEN_EXPIRY": _NEVER,
    }


def _replace_tokens(element: str, values: Mapping[tuple[str, str], str]) -> str:
    def value(match: re.Match[str]) -> str:
        name = match["name"] or match["member"]
        group = match["group"] or ("inputs" if match["kind"] == INPUT_TOKEN else "outputs")
        if (group, name) not in values:
            known = ", ".join(f"{{{of}.{known}}}" for of, known in values) or "none"
            raise UserErrorException(f"{match[0]!r} in the command: the job's inputs and outputs are {known}")
        return values[group, name]

    if (reference := _REFERENCE.match(element)) is not None:
        for group in ("inputs", "outputs"):
            if (path := values.get((group, reference["name"]))) is not None:
                return path + element[reference.end() :]
    return _TOKENS.sub(value, element)
