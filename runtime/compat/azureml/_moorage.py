"""How a module of this tree gives `runtime`'s classes v1's places.

`reexport` makes the `__getattr__` and `__dir__` of a module (PEP 562): a name is looked up in `runtime`, then among its
errors, when it is first used. A name that v1 had and Moorage has not is an ImportError that names it; any other is an
AttributeError, because libraries ask every module for names of all kinds.
"""

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

_TREE = Path(__file__).resolve().parents[1]
_SAID = "MOORAGE_V1_SAID"  # one line for a script and all that it starts
_HOMES = ("runtime", "runtime.errors")
_PAGE = "see docs/azureml-v1.md"

Lookup = tuple[Callable[[str], object], Callable[[], list[str]]]


def reexport(
    module: str, names: Iterable[str], absent: Mapping[str, str] | None = None, first: str | None = None
) -> Lookup:
    """`__getattr__` and `__dir__` of `module`, which has `names`; `absent` has v1's others, each with a reason.

    `first` is where a name is looked up before `runtime`: v1 gave some names to two classes.
    """
    known = tuple(names)
    reasons = absent or {}
    homes = ((first,) if first else ()) + _HOMES

    def lookup(name: str) -> object:
        if name == "__all__":
            return [each for each in known if _looked_up(homes, each) is not None]
        if name in known:
            value = _found(module, homes, name)
        elif name in reasons:
            raise ImportError(f"{module}.{name} is not in Moorage: {reasons[name]}", name=module)
        else:
            value = _submodule(module, name)
        setattr(sys.modules[module], name, value)
        return value

    def listed() -> list[str]:
        return sorted({*vars(sys.modules[module]), *known})

    return lookup, listed


def _found(module: str, homes: Sequence[str], name: str) -> object:
    value = _looked_up(homes, name)
    if value is None:
        raise ImportError(f"{module}.{name} is not in this version of Moorage; {_PAGE}", name=module)
    return value


def _looked_up(homes: Sequence[str], name: str) -> object | None:
    for home in homes:
        try:
            value: object = getattr(importlib.import_module(home), name)
        except (AttributeError, ModuleNotFoundError):
            continue
        return value
    return None


def _submodule(module: str, name: str) -> object:
    """v1 imported its submodules itself, so `azureml.core.run` works behind a mere `import azureml.core`."""
    if not name.startswith("_") and hasattr(sys.modules[module], "__path__"):
        try:
            return importlib.import_module(f"{module}.{name}")
        except ModuleNotFoundError:
            pass
    raise AttributeError(f"module {module!r} has no attribute {name!r}")


def check_runtime() -> None:
    """This tree is nothing without the package beside it.

    Raises:
        ImportError: the interpreter of this process has no Moorage, and what to do.
    """
    if importlib.util.find_spec("runtime") is None:
        raise ImportError(
            f"{sys.executable} has no Moorage, which stands in for azureml here; install moorage into it, or start the "
            "script with the Python that has it"
        )


def say_what_is_hidden() -> None:
    """One line where the real azureml is installed too."""
    places = (Path(entry or ".").resolve() for entry in sys.path)
    hidden = next((place for place in places if place != _TREE and (place / "azureml" / "core").is_dir()), None)
    if hidden is not None and _SAID not in os.environ:
        os.environ[_SAID] = "1"
        print(f"moorage: azureml is Moorage's here, and not the one in {hidden}", file=sys.stderr)  # noqa: T201 # for the user
