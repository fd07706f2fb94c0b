"""The starter of a job's ranks: one command as several processes on this machine, which find each other by v1's variables.

    pytorch      RANK, LOCAL_RANK, WORLD_SIZE, LOCAL_WORLD_SIZE, NODE_RANK, MASTER_ADDR, MASTER_PORT
    tensorflow   TF_CONFIG: a cluster of workers and parameter servers, and which of them the process is

It is the child that the keeper starts, by path and with the standard library only, so that it needs nothing of what the
command needs. The first rank that fails ends the job: its code is returned at once, and the keeper ends the others, as it
ends everything that a child leaves. A signal reaches every rank from the keeper, and not from here.

What the ranks print goes through a process of its own, line by line: Python writes a line's end apart from the line, and two
ranks on one file would tear each other's lines. That process ignores signals and ends with the last writer, so a rank that
is ended can still print.

Invariants: it returns 0 only if every rank did (a parameter server never ends by itself, and is not waited for). All
ranks of one node or of several run on this machine, so LOCAL_RANK counts through, and each has a GPU of its own.
"""

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

_HERE = "127.0.0.1"
_NOT_FOUND = 127
_LONGEST_LINE_BYTES = 1 << 16
_DRAIN_S = 1.0
_STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


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
    pipes = [(os.pipe(), os.pipe()) for _ in ranks]
    relay = _start_relay([(pipe, number) for pair in pipes for number, pipe in enumerate(pair, 1)])
    started = []  # kept: a Popen that is dropped is reaped by the next one, and its end would be missed here
    for each, ((_, out), (_, err)) in zip(ranks, pipes, strict=True):
        started.append(subprocess.Popen(command, env={**os.environ, **each}, stdout=out, stderr=err))
        os.close(out)
        os.close(err)
    pids = [each.pid for each in started]
    missing = set(pids[:awaited])
    for pid, code in _ends():
        if code and pid in pids:
            how = f"returned {code}" if code > 0 else f"was killed by signal {-code}"
            print(f"moorage: rank {pids.index(pid)} {how}, so the job is ended", file=sys.stderr, flush=True)  # noqa: T201 # a line for the user
            return code if code > 0 else 128 - code
        missing.discard(pid)
        if not missing:
            break
    _wait_for(relay)
    return 0


def _start_relay(pipes: "Sequence[tuple[tuple[int, int], int]]") -> int:
    """Start the process that writes what comes out of each pipe to the descriptor beside it; return its id."""
    pid = os.fork()
    if pid == 0:
        try:
            for number in _STOPS:
                signal.signal(number, signal.SIG_IGN)
            for (_, write), _ in pipes:
                os.close(write)
            _relay({read: target for (read, _), target in pipes})
        finally:
            os._exit(0)  # nothing of the parent's must run twice
    for (read, _), _ in pipes:
        os.close(read)
    return pid


def _relay(targets: dict[int, int]) -> None:
    """Pass on whole lines until the last writer is gone; a progress bar's carriage return ends a line too."""
    with selectors.DefaultSelector() as selector:
        held = dict.fromkeys(targets, b"")
        for read in targets:
            selector.register(read, selectors.EVENT_READ)
        while held:
            for read in [key.fd for key, _ in selector.select()]:
                block = os.read(read, _LONGEST_LINE_BYTES)
                text = held[read] + block
                end = max(text.rfind(b"\n"), text.rfind(b"\r")) + 1
                if not block or len(text) - end >= _LONGEST_LINE_BYTES:
                    end = len(text)
                held[read] = text[end:]
                _write(targets[read], text[:end])
                if not block:
                    selector.unregister(read)
                    del held[read]


def _write(target: int, text: bytes) -> None:
    while text:
        text = text[os.write(target, text) :]


def _wait_for(relay: int) -> None:
    """Give the relay a moment to pass on the last lines; who still holds a pipe is the keeper's to end."""
    end = time.monotonic() + _DRAIN_S
    while time.monotonic() < end:
        try:
            if os.waitpid(relay, os.WNOHANG)[0]:
                return
        except ChildProcessError:  # it ended before the last rank did
            return
        time.sleep(0.01)  # waitpid has no wait with a deadline


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
