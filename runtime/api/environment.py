"""Environment: v1's face of what a job needs around it: packages, an image, variables.

Nothing is built here. The variables are given to the job; the rest is recorded with the run. A job runs in the Python that
submits it, which is told once with the pip requirements that this Python does not fulfil. With
`python.user_managed_dependencies` that is what v1 meant too, and `python.interpreter_path` names the Python.

Registered environments are documents in the workspace: name, then version.
"""

import copy
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.api.conda_dependencies import CondaDependencies
from runtime.api.telling import tell_or_refuse
from runtime.errors import UserErrorException
from runtime.job.requirements import missing
from runtime.workspace import documents

if TYPE_CHECKING:
    from runtime.api.workspace import Workspace

DEFAULT_CPU_IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu20.04"
DEFAULT_GPU_IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-cuda11.1-cudnn8-ubuntu20.04"
_KIND = "environments"
_CURATED = "azureml-"  # how the names of Microsoft's own environments begin
_FILE = "azureml_environment.json"


@dataclass(slots=True)
class PythonSection:
    """Which Python, and what is installed in it."""

    interpreter_path: str = "python"
    user_managed_dependencies: bool = False
    conda_dependencies: CondaDependencies | None = field(default_factory=CondaDependencies)
    conda_dependencies_file: str | None = None
    base_conda_environment: str | None = None


@dataclass(slots=True)
class ContainerRegistry:
    """Where an image comes from; recorded nowhere, as no image is fetched."""

    address: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)


@dataclass(slots=True)
class DockerSection:
    """The image; none is started, a job runs as a process of this machine."""

    enabled: bool = False
    base_image: str | None = DEFAULT_CPU_IMAGE
    base_dockerfile: str | None = None
    base_image_registry: ContainerRegistry = field(default_factory=ContainerRegistry)
    shm_size: str = "2g"
    gpu_support: bool = False
    shared_volumes: bool = True
    arguments: list[str] = field(default_factory=list)
    platform: object = None
    build_context: object = None


@dataclass(slots=True)
class SparkSection:
    """What Spark would fetch; no Spark is started."""

    repositories: list[str] = field(default_factory=list)
    packages: list[object] = field(default_factory=list)
    precache_packages: bool = True


class Environment:
    """What a job needs around it. `version` is None until it is registered."""

    def __init__(self, name: str | None, **given: Any) -> None:
        self.name = name
        self.version: str | None = None
        self.environment_variables: dict[str, str] = {}
        self.python = PythonSection()
        self.docker = DockerSection()
        self.spark = SparkSection()
        self.inferencing_stack_version: str | None = None
        for key, value in given.items():
            if key not in vars(self):
                raise UserErrorException(f"Environment: no {key!r}; it has {', '.join(sorted(vars(self)))}")
            setattr(self, key, value)

    @staticmethod
    def from_conda_specification(name: str, file_path: str | os.PathLike[str]) -> "Environment":
        """An environment of the conda specification in the file `file_path`."""
        made = Environment(name)
        made.python.conda_dependencies = CondaDependencies(file_path)
        return made

    @staticmethod
    def from_pip_requirements(
        name: str,
        file_path: str | os.PathLike[str],
        pip_version: str | None = None,  # noqa: ARG004 # v1's; pip is not run
    ) -> "Environment":
        """An environment of the requirements in the file `file_path`."""
        try:
            lines = Path(file_path).read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserErrorException(f"{file_path}: cannot be read as requirements ({error})") from None
        wanted = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
        made = Environment(name)
        made.python.conda_dependencies = CondaDependencies.create(pip_packages=wanted)
        return made

    @staticmethod
    def from_existing_conda_environment(name: str, conda_environment_name: str) -> "Environment":
        """An environment of what conda says of one of this machine.

        Raises:
            UserErrorException: there is no conda here, or no such environment.
        """
        conda = shutil.which("conda")
        if conda is None:
            raise UserErrorException(f"conda is not on PATH, so nothing is known of '{conda_environment_name}'")
        told = subprocess.run(
            [conda, "env", "export", "--no-builds", "--json", "--name", conda_environment_name],
            capture_output=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        try:
            document = json.loads(told.stdout) if told.returncode == 0 else None
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise UserErrorException(f"conda knows no environment '{conda_environment_name}'; see `conda env list`")
        made = Environment(name)
        made.python.conda_dependencies = CondaDependencies(_underlying_structure=document)
        return made

    @staticmethod
    def from_docker_image(
        name: str,
        image: str,
        container_registry: ContainerRegistry | None = None,
        conda_specification: str | os.PathLike[str] | None = None,
        pip_requirements: str | os.PathLike[str] | None = None,
    ) -> "Environment":
        """An environment of an image; without a specification its Python is taken as it is."""
        made = _specified(name, conda_specification, pip_requirements)
        made.docker.base_image = image
        made.docker.base_image_registry = container_registry or ContainerRegistry()
        return made

    @staticmethod
    def from_dockerfile(
        name: str,
        dockerfile: str | os.PathLike[str],
        conda_specification: str | os.PathLike[str] | None = None,
        pip_requirements: str | os.PathLike[str] | None = None,
    ) -> "Environment":
        """As `from_docker_image`, for an image that would be built of `dockerfile`: a path, or its text."""
        made = _specified(name, conda_specification, pip_requirements)
        text = os.fspath(dockerfile)
        is_path = "\n" not in text and Path(text).is_file()
        made.docker.base_dockerfile = Path(text).read_text("utf-8") if is_path else text
        made.docker.base_image = None
        return made

    @staticmethod
    def get(workspace: "Workspace", name: str, version: str | int | None = None) -> "Environment":
        """The registered environment `name`; the latest version if none is said.

        Microsoft's own (`AzureML-…`) are never registered here: their name is all that is known.

        Raises:
            UserErrorException: there is none, or no such version.
        """
        kept = documents.load(workspace.folder, _KIND)
        if name not in kept and name.lower().startswith(_CURATED):
            made = Environment(name, version=None if version is None else str(version))
            made.python.conda_dependencies = CondaDependencies(_underlying_structure={})
            return made
        if name not in kept:
            raise UserErrorException(f"no environment '{name}' in {workspace.folder.path}; register() keeps one there")
        versions = kept[name]
        wanted = str(max(map(int, versions))) if version is None else str(version)
        if wanted not in versions:
            raise UserErrorException(f"environment '{name}' has no version {wanted}; there are {', '.join(versions)}")
        return _from_document(versions[wanted])

    @staticmethod
    def list(workspace: "Workspace") -> "dict[str, Environment]":
        """The latest version of every registered environment by name."""
        return {name: Environment.get(workspace, name) for name in documents.load(workspace.folder, _KIND)}

    def register(self, workspace: "Workspace") -> "Environment":
        """Keep it in the workspace: as a new version, or as the one that is exactly this."""
        if not self.name:
            raise UserErrorException("an environment without a name cannot be registered; give it one")
        document = self.to_document()
        with documents.change(workspace.folder, _KIND) as kept:
            versions = kept.setdefault(self.name, {})
            latest = str(max(map(int, versions), default=0))
            if versions.get(latest) != {**document, "version": latest}:
                latest = str(int(latest) + 1)
                versions[latest] = {**document, "version": latest}
            return _from_document(versions[latest])

    def clone(self, new_name: str) -> "Environment":
        """The same under another name, not registered."""
        made = copy.deepcopy(self)
        made.name, made.version = new_name, None
        return made

    def save_to_directory(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:  # noqa: FBT001, FBT002 # v1's signature
        """Write it into the folder `path`, for `load_from_directory`."""
        target = Path(path) / _FILE
        if target.exists() and not overwrite:
            raise UserErrorException(f"{target} exists; name another folder, or say overwrite=True")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(self.to_document(), indent=4) + "\n", "utf-8")

    @staticmethod
    def load_from_directory(path: str | os.PathLike[str]) -> "Environment":
        """What `save_to_directory` wrote."""
        file = Path(path) / _FILE
        try:
            return _from_document(json.loads(file.read_text("utf-8")))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserErrorException(f"{file}: cannot be read as an environment ({error})") from None

    def to_document(self) -> dict[str, Any]:
        """What is kept of it: no credential of a registry."""
        conda = self.python.conda_dependencies
        return {
            "name": self.name,
            "version": self.version,
            "environment_variables": {name: str(value) for name, value in self.environment_variables.items()},
            "python": {
                "interpreter_path": self.python.interpreter_path,
                "user_managed_dependencies": self.python.user_managed_dependencies,
                "conda_dependencies": None if conda is None else conda.as_dict(),
            },
            "docker": {"base_image": self.docker.base_image, "base_dockerfile": self.docker.base_dockerfile},
        }

    def interpreter(self) -> str:
        """The Python that a script of it runs with.

        Raises:
            UserErrorException: `python.interpreter_path` names none; or, if MOORAGE_STRICT is set, the environment would
                have to be built.
        """
        if not self.python.user_managed_dependencies:
            return sys.executable
        named = self.python.interpreter_path
        if named in {"", "python", "python3"}:
            return sys.executable
        found = shutil.which(named)
        if found is None:
            raise UserErrorException(f"environment '{self.name}': no Python at interpreter_path {named!r}")
        return os.path.abspath(found)  # noqa: PTH100 # a virtual environment's python is a link that must not be resolved

    def tell_difference(self) -> None:
        """Say, once, that the job gets this Python and not what is asked for; or refuse."""
        conda = self.python.conda_dependencies
        if self.python.user_managed_dependencies or conda is None:
            return
        lacking = missing(conda.pip_packages)
        there = f"; missing in it: {', '.join(lacking)}" if lacking else ""
        tell_or_refuse(
            f"environment '{self.name}' is not built: the job runs in this Python {platform.python_version()} "
            f"({sys.executable}){there}"
        )

    def __repr__(self) -> str:
        return f"Environment(name={self.name!r}, version={self.version!r})"


def _specified(
    name: str,
    conda_specification: str | os.PathLike[str] | None,
    pip_requirements: str | os.PathLike[str] | None,
) -> Environment:
    if conda_specification is not None and pip_requirements is not None:
        raise UserErrorException("give either conda_specification or pip_requirements")
    if conda_specification is not None:
        return Environment.from_conda_specification(name, conda_specification)
    if pip_requirements is not None:
        return Environment.from_pip_requirements(name, pip_requirements)
    made = Environment(name)
    made.python.user_managed_dependencies = True
    return made


def _from_document(document: Mapping[str, Any]) -> Environment:
    made = Environment(document["name"], version=document["version"])
    made.environment_variables = dict(document["environment_variables"])
    python = dict(document["python"])
    if (conda := python.pop("conda_dependencies")) is not None:
        conda = CondaDependencies(_underlying_structure=conda)
    made.python = PythonSection(conda_dependencies=conda, **python)
    made.docker = DockerSection(**document["docker"])
    return made
