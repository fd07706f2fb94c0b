"""The starter of a job's ranks: one command as several processes on this machine, which find each other by v1's variables.

    pytorch      RANK, LOCAL_RANK, WORLD_SIZE, LOCAL_WORLD_SIZE, NODE_RANK, MASTER_ADDR, MASTER_PORT
    tensorflow   TF_CONFIG: a cluster of workers and parameter servers, and which of them the process is

It is the child that the keeper starts, by path and with the standard library only, so that it needs nothing of what the
command needs. The first rank that fails ends the job: its code is returned at once, and the keeper ends the others, as it
ends everything that a child leaves. A signal reaches every rank from the keeper, and not from here.

Invariants: it returns 0 only if every rank did (a parameter server never ends by itself, and is not waited for). All
ranks of one node or of several run on this machine, so LOCAL_RANK counts through, and each has a GPU of its own.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence

_HERE = "127.0.0.1"
_NOT_FOUND = 127


def pytorch(count: int, nodes: int) -> list[dict[str, str]]:
    """The variables of each of `count` ranks, spread over `nodes`."""
    (port,) = _free_ports(1)
    shared = {
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": _HERE,
        "MASTER_PORT": str(port),
    }
    return [
        {"RANK": str(rank), "LOCAL_RANK": str(rank), "NODE_RANK": str(rank * nodes // count), **shared}
        for rank in range(count)
    ]


def tensorflow(workers: int, servers: int) -> list[dict[str, str]]:
    """The variables of each worker, and of each parameter server behind them."""
    places = [f"{_HERE}:{port}" for port in _free_ports(workers + servers)]
    cluster = {"worker": places[:workers]} | ({"ps": places[workers:]} if servers else {})
    tasks = [("worker", index) for index in range(workers)] + [("ps", index) for index in range(servers)]
    return [
        {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}, "environment": "cloud"})}
        for kind, index in tasks
    ]


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now; held together, so that they differ, and let go for the ranks to take."""
    held = [socket.create_server((_HERE, 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports


def run(command: Sequence[str], ranks: Sequence[dict[str, str]], awaited: int) -> int:
    """Start `command` once for each of `ranks`; return 0 when the first `awaited` of them have, else the first failure."""
    pids = [subprocess.Popen(command, env={**os.environ, **each}).pid for each in ranks]
    missing = set(pids[:awaited])
    for pid, code in _ends():
        if code and pid in pids:
            how = f"returned {code}" if code > 0 else f"was killed by signal {-code}"
            print(f"moorage: rank {pids.index(pid)} {how}, so the job is ended", file=sys.stderr, flush=True)  # noqa: T201 # a line for the user
            return code if code > 0 else 128 - code
        missing.discard(pid)
        if not missing:
            break
    return 0


def _ends() -> Iterator[tuple[int, int]]:
    """Each child's process id and exit code (negative for a signal), as it ends."""
    while True:
        try:
            pid, status = os.wait()
        except ChildProcessError:
            return
        yield pid, os.waitstatus_to_exitcode(status)


def main(arguments: Sequence[str]) -> int:
    """`ranks.py KIND COUNT NODES SERVERS COMMAND...`: the layout's own command line, not a user's."""
    kind, command = arguments[0], arguments[4:]
    count, nodes, servers = map(int, arguments[1:4])
    ranks = tensorflow(count, servers) if kind == "tensorflow" else pytorch(count, nodes)
    try:
        return run(command, ranks, count)
    except OSError as error:
        print(f"moorage: {command[0]}: {error.strerror}", file=sys.stderr)  # noqa: T201 # as above
        return _NOT_FOUND


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
