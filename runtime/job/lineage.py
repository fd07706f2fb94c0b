"""A run as the catalog is told of it: what it is, what it reads, how it ended.

The record in the run's folder is the truth; this is a copy for whoever asks a dataset where it comes from, in a team's
catalog perhaps from another machine. It is told once the inputs are known, at the end, and by whoever cleans up behind a
launcher that died. What an output made is told with its registration, in one transaction. A catalog that refuses costs a
line and no job.

The command is told without secrets: what looks like one, the values of the storage variables in our environment, and
whatever stands behind an option that is called a password, a key or a token.
"""

import os
import re
import socket
from collections.abc import Callable, Mapping, Sequence

from mountd.errors import MountdError
from mountd.log import HIDDEN, redact
from runtime.errors import AzureMLException
from runtime.job.runs import RunRecord
from runtime.workspace import WorkspaceFolder

_SECRET_NAME = re.compile(
    r"(?i)(?:^|[-_])(?:pass|passwd|password|pwd|secret|token|sas|credentials?|connection[-_]string|"
    r"api[-_]?key|(?:account|access|storage|secret|private)[-_]key)$"
)


def tell(workspace: WorkspaceFolder, record: RunRecord, say: Callable[[str], None]) -> bool:
    """Write the run into the catalog, in place of what it was told before; False, and `say` hears why, if it refuses."""
    from runtime.catalog import Read, RunFacts, open_catalog

    run = RunFacts(
        record.run_id,
        record.spec.experiment,
        record.status,
        # A path may hold bytes that are no UTF-8, which no database keeps.
        f"{socket.gethostname()}:{workspace.path}".encode("utf-8", "backslashreplace").decode(),
        record.created,
        record.started,
        record.ended,
        record.exit_code,
        without_secrets(record.spec.command),
    )
    inputs = [Read(each.name, each.dataset_id, each.mode) for each in record.inputs if each.dataset_id]
    try:
        with open_catalog(workspace) as catalog:
            catalog.put_run(run, inputs)
    except (MountdError, AzureMLException, OSError) as error:
        say(f"the catalog is not told of this run, which is complete without: {error}")
        return False
    except Exception as error:  # noqa: BLE001 # a defect of ours must not cost a job that is over its outputs
        say(f"the catalog is not told of this run, by a defect in Moorage ({type(error).__name__}: {error})")
        return False
    return True


def without_secrets(command: Sequence[str], environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """`command` with `***` for every secret in it that can be told from its looks, its place or our environment."""
    from mountd.stores.credentials import SECRET_VARIABLES

    known = [value for name in SECRET_VARIABLES if (value := environ.get(name))]
    told: list[str] = []
    behind_secret_name = False
    for element in command:
        name, equals, _ = element.partition("=")
        if behind_secret_name and not element.startswith("-"):
            told.append(HIDDEN)
        elif equals and _SECRET_NAME.search(name):
            told.append(f"{name}={HIDDEN}")
        else:
            told.append(_replaced(redact(element), known))
        behind_secret_name = element.startswith("-") and not equals and _SECRET_NAME.search(element) is not None
    return tuple(told)


def _replaced(text: str, secrets: Sequence[str]) -> str:
    for each in secrets:
        text = text.replace(each, HIDDEN)
    return text
