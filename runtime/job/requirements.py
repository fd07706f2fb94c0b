"""What an environment asks of Python's packages, against what this Python has.

Nothing is installed: `missing` compares pip's requirement lines with the metadata of what is installed here. v1's own
packages are not missed, since Moorage stands in for them, and a line that is an option or an address says nothing that
could be checked.
"""

import importlib.metadata
from collections.abc import Iterable

_OURS = "azureml"


def missing(lines: Iterable[str]) -> list[str]:
    """Those of pip's requirement `lines` that this Python does not fulfil, each with what is here instead."""
    return [told for line in lines if (told := _missing(line)) is not None]


def _missing(line: str) -> str | None:
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        requirement = Requirement(line.partition(" #")[0].strip())
    except InvalidRequirement:  # an option, a path, a comment
        return None
    if requirement.name.lower().startswith(_OURS) or (requirement.marker and not requirement.marker.evaluate()):
        return None
    try:
        found = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return str(requirement)
    return None if requirement.specifier.contains(found, prereleases=True) else f"{requirement} (here: {found})"
