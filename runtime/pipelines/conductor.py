"""The conductor: a process that runs a pipeline's plan to its end, each step by a launcher of its own.

Steps that wait for nothing any more start at once, a few at a time; a thread each freezes what feeds the step, starts its
launcher and waits for it. The main thread alone decides: it hears how a step ended and which may start next. SIGTERM (and
`PipelineRun.cancel`) starts nothing more and is passed on to the launchers that run. A conductor that is killed leaves the
launchers, which end as they would; no further step starts, and the pipeline's run shows as failed.

The pipeline's own record is that of a run: status, times, what went wrong; its log tells the steps and what they printed.
"""

import json
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import FrameType

if __name__ == "__main__":  # run by path with -P: find our own package, after all others
    sys.path.append(str(Path(__file__).resolve().parents[2]))

from runtime.errors import AzureMLException
from runtime.job import canceling, processes, runs
from runtime.job.launcher import never_ran
from runtime.job.runs import RunRecord
from runtime.job.spec import JobSpec
from runtime.job.starting import start_launcher
from runtime.pipelines.feeding import freeze_output
from runtime.pipelines.plan import Plan, fed, order
from runtime.workspace import WorkspaceFolder

AT_ONCE = 4
_SHOWN_BYTES = 1 << 20  # of what a step printed, in the pipeline's own log


class Conductor:
    """One pipeline on its way.

    `_lock` guards `_running`: steps' threads put their launcher there, a signal's handler (on the main thread) reads it.
    Nothing is started, sent or written under it.
    """

    def __init__(self, workspace: WorkspaceFolder, plan: Plan) -> None:
        self._workspace = workspace
        self._plan = plan
        self._lock = threading.RLock()  # the handler may come while the main thread holds it
        self._running: dict[int, int] = {}
        self._stopped = False
        self._failed: dict[int, str] = {}

    def run(self) -> str:
        """Run every step that can run; return the status of the pipeline."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._stop)
        record = runs.read(self._workspace, self._plan.run_id)
        record = runs.take(self._workspace, record, status="Running", started=runs.now())
        for step in self._plan.steps:
            runs.take(self._workspace, runs.read(self._workspace, step.spec.run_id))
        self._run_steps()
        self._close_the_rest()
        status = "Canceled" if self._stopped else "Failed" if self._failed else "Completed"
        error = "; ".join(self._failed.values()) or None
        code = {"Completed": 0, "Failed": 1}.get(status, 143)
        runs.write(self._workspace, record, status=status, exit_code=code, error=error, ended=runs.now())
        return status

    def _run_steps(self) -> None:
        steps = self._plan.steps
        waiting = order([step.name for step in steps], [step.needs for step in steps])
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="step") as pool:
            flights: dict[Future[str | None], int] = {}
            while True:
                if not self._is_over():
                    flights |= {pool.submit(self._run_step, number): number for number in waiting.get_ready()}
                if not flights:
                    return
                ended, _ = wait(flights, return_when=FIRST_COMPLETED)
                for flight in ended:
                    number, error = flights.pop(flight), flight.result()
                    if error is None:
                        waiting.done(number)
                    else:
                        self._failed[number] = f"step '{steps[number].name}': {error}"

    def _is_over(self) -> bool:
        return self._stopped or bool(self._failed and not self._plan.go_on)

    def _run_step(self, number: int) -> str | None:
        """Run one step, on a thread of the pool; None, or what went wrong."""
        step = self._plan.steps[number]
        if self._is_over():  # it was queued behind the one that failed
            return None
        record = runs.read(self._workspace, step.spec.run_id)
        try:
            spec = self._fed(number)
            runs.write(self._workspace, record, spec=spec)
            self._say(f"step '{step.name}' starts as run {spec.run_id}")
            launcher = start_launcher(self._workspace, spec)
        except Exception as error:  # noqa: BLE001 # one line in the step's record and in the pipeline's, whatever it is
            told = never_ran(error)
            runs.write(
                self._workspace, record, status="Failed", exit_code=told.exit_code, error=str(told), ended=runs.now()
            )
            return str(told)
        with self._lock:
            self._running[number] = launcher.pid
        if self._stopped:
            self._cancel({number: launcher.pid})
        launcher.wait()
        with self._lock:
            del self._running[number]
        return self._ended(number)

    def _fed(self, number: int) -> JobSpec:
        """The job of a step, with what the others left for it."""
        step = self._plan.steps[number]
        datasets = {}
        for feed in step.feeds:
            producer = self._plan.steps[feed.step].spec
            (output,) = (each for each in producer.outputs if each.name == feed.output)
            datasets[feed.input] = freeze_output(self._workspace, output, producer.run_id)
        return fed(step.spec, datasets)

    def _ended(self, number: int) -> str | None:
        step = self._plan.steps[number]
        record = runs.read(self._workspace, step.spec.run_id)
        if record.status not in runs.FINAL:
            error = (
                f"its launcher ended without a word; see {runs.folder_of(self._workspace, record.run_id)}/launcher.log"
            )
            record = runs.write(self._workspace, record, status="Failed", exit_code=125, error=error, ended=runs.now())
        self._show(record)
        self._say(f"step '{step.name}' {record.status.lower()}")
        return None if record.status == "Completed" else record.error or record.status

    def _close_the_rest(self) -> None:
        """Steps that never started say why not."""
        names = {number: step.name for number, step in enumerate(self._plan.steps)}
        why = ", ".join(f"'{names[number]}'" for number in self._failed)
        error = f"not started, because step {why} failed" if why else "not started, because the pipeline was canceled"
        for step in self._plan.steps:
            record = runs.read(self._workspace, step.spec.run_id)
            if record.status == "NotStarted":
                runs.write(self._workspace, record, status="Canceled", error=error, ended=runs.now())

    def _show(self, record: RunRecord) -> None:
        with runs.log_path(self._workspace, record.run_id).open("rb") as log:
            text = log.read(_SHOWN_BYTES)
        with runs.log_path(self._workspace, self._plan.run_id).open("ab") as ours:
            ours.write(text)

    def _say(self, line: str) -> None:
        with runs.log_path(self._workspace, self._plan.run_id).open("a", encoding="utf-8") as log:
            log.write(f"moorage: {line}\n")

    def _stop(self, number: int, _: FrameType | None) -> None:
        """Start nothing more, and end what runs."""
        del number
        self._stopped = True
        with self._lock:
            running = dict(self._running)
        self._cancel(running)

    def _cancel(self, running: Mapping[int, int]) -> None:
        """End these steps, on a thread each: a launcher that has just been started cannot hear it yet."""
        for number, pid in running.items():
            threading.Thread(target=self._cancel_one, args=(number, pid), name="cancel", daemon=True).start()

    def _cancel_one(self, number: int, pid: int) -> None:
        step = self._plan.steps[number]
        try:
            canceling.cancel(self._workspace, step.spec.run_id, pid)
        except (AzureMLException, OSError) as error:
            self._say(f"step '{step.name}' cannot be canceled: {error}")


def main(arguments: Sequence[str]) -> int:
    """`conductor.py DESCRIPTOR`: the plan on it, as JSON, written by `Experiment.submit`."""
    processes.harden()
    with os.fdopen(int(arguments[0]), "rb") as given:
        document = json.loads(given.read())
    workspace = WorkspaceFolder(Path(document["workspace"]))
    return 0 if Conductor(workspace, Plan.from_json(document["plan"])).run() == "Completed" else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
