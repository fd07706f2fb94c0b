"""The soak as a program: `python -m tests.soak --minutes 10 --seed 1 --json FILE`.

First a store far away lets one request in a hundred hang, and what readers wait is compared with a clean run. Then two
mounts share one small cache on a small disk, in a cgroup (where one can be made) of 256 MiB and what the disk, a tmpfs,
has. Processes of their own read them and compare each byte, while one injector after the other, in seeded order, does its
harm for a second. At the end everything is counted, and whatever is wrong is a line; the exit code is 1 then.
"""

import argparse
import contextlib
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mountd import client
from mountd.errors import MountdError
from mountd.fuse import mounting
from tests.soak.injectors import INJECTORS
from tests.soak.scene import Scene
from tests.soak.stalling import measure
from tests.support.cgroups import limited, why_no_cgroup
from tests.support.content import make_tree
from tests.support.fault_proxy import FaultProxy
from tests.support.mounts import is_running
from tests.support.storms import MIB, make_sparse, served
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
READERS = 16
DEADLINE_S = 20
LATEST_S = DEADLINE_S + 2
DISK_BYTES = 64 * MIB
# 256 MiB for two mounts. The kernel counts the pages of a tmpfs, the scene's disk, as memory of those who wrote them.
LIMIT_BYTES = 256 * MIB + DISK_BYTES
MEMORY_BYTES = 16 * MIB
RSS_BYTES = MEMORY_BYTES + 128 * MIB  # the interpreter, its libraries, and what the C library keeps for threads
THREADS, DESCRIPTORS = 200, 400
FLIPS_A_MINUTE, LEAST_FLIPS = 100_000, 3_000
STORM_S = 120
SIZES = {f"{size}": size for size in (0, 1, 65535, 65536, 65537, 700_000, (3 << 20) + 7, (4 << 20) + 1)}


def soak(minutes: float, seed: int, folder: Path) -> dict[str, Any]:
    """Run it; what came of it as JSON has it."""
    counts, end_s = dict.fromkeys(INJECTORS, 0), time.monotonic() + 60 * minutes
    stalls = measure(minutes, folder / "stalls")
    with contextlib.ExitStack() as parts:
        storm = parts.enter_context(started_storm(minutes, seed, folder / "storm"))
        scene = parts.enter_context(opened(folder, seed))
        peaks = Peaks(scene.mounts)
        readers = [start_reader(scene, seed + number) for number in range(READERS)]
        try:
            inject(scene, random.Random(seed), end_s, counts, peaks)
        finally:
            told = [end_reader(reader) for reader in readers]
        idle = threads_and_fetches_end(scene)
        kills = scene.group.oom_kills() if scene.group else 0
        peaks.look()
        corrupt = sum(peaks.corrupt.values())
        restarts = sum(mount.status()["restarts"] for mount in scene.mounts)
        wire = dict(scene.proxy.report)
        damaged = end_storm(storm)
    bad = [each for reader in told for each in reader["bad"]]
    return {
        "minutes": minutes,
        "seed": seed,
        "cgroup": scene.group is not None,
        "injected": counts,
        "wire": wire,
        "storm": damaged,
        "stalls": stalls,
        "reads": sum(each["reads"] for each in told),
        "slowest_s": round(max(each["slowest_s"] for each in told), 3),
        "corrupt": corrupt,
        "restarts": restarts,
        "oom_kills": kills,
        "peak": peaks.told,
        "bad": bad[:20],
        "bad_count": len(bad),
        "left": [*idle, *left(scene, peaks.pids)],
    }


@contextlib.contextmanager
def opened(folder: Path, seed: int) -> Iterator[Scene]:
    """The served tree, the disk, the mounts; all of it is undone at the end."""
    with contextlib.ExitStack() as parts:
        plain = make_tree(folder / "plain", SIZES)
        make_sparse(plain / "sparse")
        proxies: list[FaultProxy] = []

        @contextlib.contextmanager
        def front(endpoint: str) -> Iterator[str]:
            with FaultProxy.start(endpoint, seed) as proxy:
                proxies.append(proxy)
                yield proxy.endpoint

        world = parts.enter_context(served(plain, folder / "manifest", front))
        disk = folder / "disk"
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=700", "tmpfs", str(disk)], check=True)
        parts.callback(subprocess.check_call, ["umount", "-l", str(disk)])
        group = None if why_no_cgroup() else parts.enter_context(limited(LIMIT_BYTES))
        told = {"cache_dir": str(disk / "cache"), "cache_size": "16MiB", "memory": str(MEMORY_BYTES)}
        told["read_deadline"] = str(DEADLINE_S)
        with group.joined() if group else contextlib.nullcontext():
            mounts = tuple(parts.enter_context(world.mount(folder / name, **told)) for name in ("one", "two"))
        yield Scene(world, proxies[0], mounts, disk, disk / "cache", group)


class Peaks:
    """The most that any worker had of each thing, and every worker that there was."""

    def __init__(self, mounts: tuple[client.Mount, ...]) -> None:
        self._mounts = mounts
        self.pids: set[int] = set()
        self.corrupt: dict[int, int] = {}  # damaged extents that each worker had met when it was last looked at
        self.told = {"rss_bytes": 0, "threads": 0, "descriptors": 0}

    def look(self) -> None:
        """Look once."""
        for mount in self._mounts:
            try:
                status = mount.status()
                pid = status["worker_pid"]
            except MountdError:  # between two workers
                continue
            self.pids |= {pid, mount.pid}
            self.corrupt[pid] = status["cache"]["corrupt"]
            proc = Path(f"/proc/{pid}")
            with contextlib.suppress(FileNotFoundError):
                lines = (proc / "status").read_text().splitlines()
                rss = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))
                found = {"rss_bytes": rss, "threads": len(list((proc / "task").iterdir()))}
                found["descriptors"] = len(list((proc / "fd").iterdir()))
                self.told = {name: max(value, found[name]) for name, value in self.told.items()}


def inject(scene: Scene, chosen: random.Random, end_s: float, counts: dict[str, int], peaks: Peaks) -> None:
    """Every injector once, in random order; and again, until the time is over."""
    held = threading.Event()  # nobody sets it: harm is held for its time
    is_first = True
    while is_first or time.monotonic() < end_s:
        for name in chosen.sample(sorted(INJECTORS), len(INJECTORS)):
            with INJECTORS[name](scene, chosen) as done:
                held.wait(1)
            counts[name] += done if isinstance(done, int) else done.count
            peaks.look()
            if not is_first and time.monotonic() >= end_s:
                return
        is_first = False


@contextlib.contextmanager
def started_storm(minutes: float, seed: int, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """The storm that damages a cache of its own, one byte of one extent after the other, and reads each."""
    flips = int(FLIPS_A_MINUTE * minutes) + LEAST_FLIPS
    command = [
        "nice",
        "-n",
        "-5",
        sys.executable,
        "-m",
        "tests.support.damage_storm",
        str(folder),
        str(flips),
        str(seed),
    ]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as storm:
        try:
            yield storm
        finally:
            storm.kill()


def end_storm(storm: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait for its end; what it tells."""
    try:
        out, _ = storm.communicate(timeout=STORM_S)
    except subprocess.TimeoutExpired:
        return {"wrong": [f"the storm takes {STORM_S} s longer than the soak"]}
    return dict(json.loads(out)) if out else {"wrong": [f"the storm ended with {storm.returncode}"]}


def start_reader(scene: Scene, seed: int) -> subprocess.Popen[str]:
    """A process that reads both mounts."""
    world = scene.world
    pairs = [(str(m.mountpoint / path), str(world.plain / path)) for m in scene.mounts for path in world.files]
    command = [sys.executable, "-m", "tests.soak.reading", str(seed)]
    reader = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert reader.stdin is not None
    reader.stdin.write(json.dumps(pairs) + "\n")
    reader.stdin.flush()
    return reader


def end_reader(reader: subprocess.Popen[str]) -> dict[str, Any]:
    """Tell it to end; what it found. One that dies (SIGBUS) or hangs has found something bad."""
    try:
        out, _ = reader.communicate("", timeout=LATEST_S + 10)
    except subprocess.TimeoutExpired:
        reader.kill()
        reader.communicate()
        return {"reads": 0, "slowest_s": LATEST_S + 10, "bad": [["the reader hangs"]]}
    if reader.returncode:
        return {"reads": 0, "slowest_s": 0, "bad": [[f"the reader ended with {reader.returncode}"]]}
    return dict(json.loads(out))


def threads_and_fetches_end(scene: Scene) -> list[str]:
    """What mounts still do when nobody reads."""
    try:
        until(lambda: not any(m.status()["fetch"]["in_flight"] for m in scene.mounts), deadline_s=LATEST_S)
    except AssertionError:
        return ["fetches in flight"]
    return []


def left(scene: Scene, pids: set[int]) -> list[str]:
    """What is there after the end."""
    mounts = [f"mount {m.mountpoint}" for m in scene.mounts if mounting.find(m.mountpoint)]
    return mounts + [f"process {pid}" for pid in pids if is_running(pid)]


def verdicts(told: dict[str, Any]) -> list[str]:
    """Everything that is wrong with the outcome of a soak."""
    peak, found = told["peak"], [f"left: {what}" for what in told["left"]]
    found += [f"bad read: {each}" for each in told["bad"]]
    limits = {"rss_bytes": RSS_BYTES, "threads": THREADS, "descriptors": DESCRIPTORS}
    found += [f"{name}: {peak[name]}, limit {limit}" for name, limit in limits.items() if peak[name] > limit]
    found += [f"damage: {each}" for each in told["storm"]["wrong"]]
    stalls = told["stalls"]
    if stalls and stalls["p999_stalled_s"] >= 2 * stalls["p999_clean_s"]:
        found.append(f"p99.9 with stalls {stalls['p999_stalled_s']} s, clean {stalls['p999_clean_s']} s")
    if told["oom_kills"]:
        found.append(f"{told['oom_kills']} kills by the kernel for memory")
    if told["slowest_s"] > LATEST_S:
        found.append(f"a read took {told['slowest_s']} s, limit {LATEST_S} s")
    if not told["reads"]:
        found.append("nothing was read")
    return found


def main() -> int:
    """The program; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="moorage-soak-") as folder:
        told = soak(asked.minutes, asked.seed, Path(folder))
    told["wrong"] = verdicts(told)
    lines = [f"{name:24} {count:>10} injected" for name, count in told["injected"].items()]
    lines += [
        f"{name:24} {told[name]:>10}"
        for name in ("reads", "bad_count", "slowest_s", "corrupt", "restarts", "oom_kills")
    ]
    for group in ("wire", "storm", "stalls"):
        lines += [f"{group} {name:{23 - len(group)}} {count!s:>10}" for name, count in told[group].items()]
    lines += [f"peak {name:19} {value:>10}" for name, value in told["peak"].items()]
    sys.stdout.write("\n".join([*lines, *told["wrong"], "soak: " + ("FAILED" if told["wrong"] else "survived")]) + "\n")
    if asked.json:
        asked.json.write_text(json.dumps(told, indent=2) + "\n")
    return 1 if told["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
