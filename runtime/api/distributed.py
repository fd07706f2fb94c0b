"""The distributed job configurations: v1's words for one command as several processes.

Nodes are counted as v1 counts them, and all of them are this machine, which is told once. PyTorch over NCCL needs a GPU a
process: a script that names nccl and no other backend runs as fewer processes where there are fewer GPUs (decision 18).
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.api.telling import tell_or_refuse
from runtime.errors import RunConfigurationException
from runtime.job.spec import Ranks

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_RANKS = 128


@dataclass(slots=True)
class PyTorchConfiguration:
    """`process_count` processes in all, one a node if None; they find each other by RANK, MASTER_ADDR and their kin."""

    communication_backend: str = "Nccl"
    process_count: int | None = None
    node_count: int = 1

    @property
    def ranks(self) -> Ranks:
        """The processes."""
        nodes = _checked(self.node_count, "PyTorchConfiguration.node_count")
        count = nodes if self.process_count is None else self.process_count
        return Ranks("pytorch", _checked(count, "PyTorchConfiguration.process_count"), nodes)


@dataclass(slots=True)
class MpiConfiguration:
    """`process_count_per_node` processes on each of `node_count` nodes, started by `mpirun`."""

    process_count_per_node: int = 1
    node_count: int = 1

    @property
    def ranks(self) -> Ranks:
        """The processes."""
        nodes = _checked(self.node_count, "MpiConfiguration.node_count")
        each = _checked(self.process_count_per_node, "MpiConfiguration.process_count_per_node")
        return Ranks("mpi", _checked(nodes * each, "MpiConfiguration: processes in all"), nodes)


@dataclass(slots=True)
class TensorflowConfiguration:
    """`worker_count` workers and `parameter_server_count` servers; they find each other by TF_CONFIG."""

    worker_count: int = 1
    parameter_server_count: int = 1

    @property
    def ranks(self) -> Ranks:
        """The processes."""
        workers = _checked(self.worker_count, "TensorflowConfiguration.worker_count")
        servers = _checked(self.parameter_server_count, "TensorflowConfiguration.parameter_server_count", least=0)
        return Ranks("tensorflow", workers, workers, servers)


DistributedConfiguration = PyTorchConfiguration | MpiConfiguration | TensorflowConfiguration


def on_this_machine(ranks: Ranks, script: Path | None, environ: "Mapping[str, str]" = os.environ) -> Ranks:
    """`ranks` as they run here; says what differs, once.

    Raises:
        UserErrorException: something does, and MOORAGE_STRICT is set.
    """
    if ranks.nodes > 1:
        tell_or_refuse(f"{ranks.nodes} nodes were asked for: all {ranks.count} processes run on this machine")
    if ranks.kind != "pytorch" or script is None or not _needs_nccl(script):
        return ranks
    gpus = gpu_count(environ)
    if gpus is None or gpus >= ranks.count:
        return ranks
    fewer = max(1, gpus)
    if fewer < ranks.count:
        tell_or_refuse(
            f"{script.name} uses nccl, which needs a GPU a process, and this machine has {gpus}: {fewer} of "
            f"{ranks.count} processes are started"
        )
    return Ranks("pytorch", fewer, min(ranks.nodes, fewer))


def gpu_count(environ: "Mapping[str, str]" = os.environ, devices: Path = Path("/dev")) -> int | None:
    """How many GPUs a job sees here; None where that cannot be told (AMD's)."""
    if (devices / "kfd").exists():
        return None
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    there = len([each for each in devices.glob("nvidia[0-9]*") if each.name.removeprefix("nvidia").isdigit()])
    if visible is None:
        return there
    named = [each for each in visible.split(",") if each.strip() not in {"", "-1"}]
    return min(there, len(named))


def _needs_nccl(script: Path) -> bool:
    """True if the script's text names nccl, and not gloo, which it could fall back to."""
    try:
        text = script.read_text("utf-8", "replace").lower()
    except OSError:
        return False
    return "nccl" in text and "gloo" not in text


def _checked(count: object, what: str, least: int = 1) -> int:
    if isinstance(count, bool) or not isinstance(count, int) or not least <= count <= MOST_RANKS:
        raise RunConfigurationException(f"{what} is {count!r}; give a number from {least} to {MOST_RANKS}")
    return count
