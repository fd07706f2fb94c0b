"""CondaDependencies: v1's face of a conda specification, a YAML document of channels, packages and pip requirements.

It is edited, written and recorded. Nothing is installed from it: see Environment.
"""

import copy
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from runtime.errors import UserErrorException

PYTHON_DEFAULT = "3.8.13"  # v1's last; a default that many files have written down
_CHANNELS = ("anaconda", "conda-forge")
_FILE = "conda_dependencies.yml"


class CondaDependencies:
    """A conda specification: read from a file, or v1's default of Python and `azureml-defaults`."""

    def __init__(
        self,
        conda_dependencies_file_path: str | os.PathLike[str] | None = None,
        _underlying_structure: dict[str, Any] | None = None,
    ) -> None:
        if conda_dependencies_file_path is not None:
            self._document = _read(Path(conda_dependencies_file_path))
        elif _underlying_structure is not None:
            self._document = copy.deepcopy(_underlying_structure)
        else:
            self._document = {
                "name": "project_environment",
                "channels": list(_CHANNELS),
                "dependencies": [f"python={PYTHON_DEFAULT}", {"pip": ["azureml-defaults"]}],
            }

    @staticmethod
    def create(  # v1's signature
        pip_indexurl: str | None = None,
        pip_packages: Sequence[str] | None = None,
        conda_packages: Sequence[str] | None = None,
        python_version: str = PYTHON_DEFAULT,
        pin_sdk_version: bool = True,  # noqa: ARG004, FBT001, FBT002 # v1's; its SDK is not installed
    ) -> "CondaDependencies":
        """A specification of these packages; `azureml-defaults` if no pip package is given."""
        made = CondaDependencies()
        made.set_python_version(python_version)
        if pip_packages is not None:
            made._pip()[:] = list(pip_packages)
        for package in conda_packages or ():
            made.add_conda_package(package)
        if pip_indexurl:
            made.set_pip_index_url(pip_indexurl)
        return made

    @property
    def conda_channels(self) -> Iterator[str]:
        """The channels."""
        return iter(list(self._document.get("channels") or []))

    @property
    def conda_packages(self) -> Iterator[str]:
        """Conda's packages, Python itself included."""
        return iter([each for each in self._dependencies() if isinstance(each, str)])

    @property
    def pip_packages(self) -> Iterator[str]:
        """Pip's requirement lines without its options."""
        return iter([each for each in self._pip_lines() if not each.startswith("-")])

    @property
    def pip_options(self) -> Iterator[str]:
        """Pip's options, such as `--extra-index-url URL`."""
        return iter([each for each in self._pip_lines() if each.startswith("-")])

    @property
    def python_version(self) -> str | None:
        """The version of Python that is asked for."""
        versions = (each.partition("=")[2].strip("=") for each in self.conda_packages if _name(each) == "python")
        return next(versions, None)

    def set_python_version(self, version: str) -> None:
        """Ask for another version of Python."""
        self.remove_conda_package("python")
        self._dependencies().insert(0, f"python={version}")

    def add_channel(self, channel: str) -> None:
        """Add a channel."""
        channels = self._document.setdefault("channels", [])
        if channel not in channels:
            channels.append(channel)

    def remove_channel(self, channel: str) -> None:
        """Remove a channel."""
        self._document["channels"] = [each for each in self.conda_channels if each != channel]

    def add_conda_package(self, conda_package: str) -> None:
        """Add a package, in place of another version of it."""
        self.remove_conda_package(conda_package)
        packages = self._dependencies()
        packages.insert(sum(isinstance(each, str) for each in packages), conda_package)

    def remove_conda_package(self, conda_package: str) -> None:
        """Remove a package, whatever its version."""
        name = _name(conda_package)
        kept = [each for each in self._dependencies() if not (isinstance(each, str) and _name(each) == name)]
        self._dependencies()[:] = kept

    def add_pip_package(self, pip_package: str) -> None:
        """Add a requirement, in place of another one of the same package."""
        self.remove_pip_package(pip_package)
        self._pip().append(pip_package)

    def remove_pip_package(self, pip_package: str) -> None:
        """Remove a requirement, whatever its version."""
        self._pip()[:] = [each for each in self._pip() if each.startswith("-") or _name(each) != _name(pip_package)]

    def set_pip_option(self, pip_option: str) -> None:
        """Add an option of pip, in place of the same one with another value."""
        self.remove_pip_option(pip_option)
        self._pip().append(pip_option)

    def remove_pip_option(self, pip_option: str) -> None:
        """Remove an option of pip, whatever its value."""
        name = pip_option.split(maxsplit=1)[0]
        self._pip()[:] = [each for each in self._pip() if each.split()[:1] != [name]]

    def set_pip_index_url(self, index_url: str) -> None:
        """Use another package index."""
        self.set_pip_option(f"--index-url {index_url}")

    def add_tensorflow_pip_package(self, core_type: str = "cpu", version: str | None = None) -> None:
        """Require TensorFlow; `core_type` is cpu or gpu."""
        name = "tensorflow-gpu" if core_type == "gpu" else "tensorflow"
        self.add_pip_package(f"{name}=={version}" if version else name)

    def add_tensorflow_conda_package(self, core_type: str = "cpu", version: str | None = None) -> None:
        """Require conda's TensorFlow; `core_type` is cpu or gpu."""
        name = "tensorflow-gpu" if core_type == "gpu" else "tensorflow"
        self.add_conda_package(f"{name}={version}" if version else name)

    def as_dict(self) -> dict[str, Any]:
        """The document."""
        return copy.deepcopy(self._document)

    def serialize_to_string(self) -> str:
        """The document as YAML."""
        import yaml

        return str(yaml.safe_dump(self._document, sort_keys=False))

    def save_to_file(
        self, base_directory: str | os.PathLike[str], conda_file_path: str | os.PathLike[str] | None = None
    ) -> str:
        """Write it below `base_directory`; return the path from there."""
        name = os.fspath(conda_file_path or _FILE)
        self.save(Path(base_directory) / name)
        return name

    def save(self, path: str | os.PathLike[str] | None = None) -> None:
        """Write it to the file `path`, or into the folder `path`."""
        target = Path(path or ".")
        if target.is_dir():
            target /= _FILE
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(self.serialize_to_string(), "utf-8")

    def _dependencies(self) -> list[Any]:
        found: list[Any] = self._document.setdefault("dependencies", [])
        return found

    def _pip_lines(self) -> list[str]:
        return [str(line) for each in self._dependencies() if isinstance(each, dict) for line in each.get("pip") or ()]

    def _pip(self) -> list[Any]:
        for each in self._dependencies():
            if isinstance(each, dict) and isinstance(each.get("pip"), list):
                pip: list[Any] = each["pip"]
                return pip
        added: dict[str, list[Any]] = {"pip": []}
        self._dependencies().append(added)
        return added["pip"]


def _name(package: str) -> str:
    """A package's name, without channel, version, extras, or the difference between `-` and `_`."""
    name = package.rpartition("::")[2]
    for end in "[=<>!~; ":
        name = name.partition(end)[0]
    return name.strip().lower().replace("_", "-")


def _read(path: Path) -> dict[str, Any]:
    import yaml

    try:
        document = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise UserErrorException(f"{path}: {error.strerror}; name a conda specification") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserErrorException(f"{path}: not YAML ({' '.join(str(error).split())}); mend it") from None
    if not isinstance(document, dict) or not isinstance(document.get("dependencies", []), list):
        raise UserErrorException(f"{path}: no conda specification; it has `dependencies:` with a list")
    document.setdefault("dependencies", [])
    return document
