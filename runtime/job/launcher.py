"""The launcher: puts a job together, in one process, and stays until nothing of it is left.

    planning    names in the catalog become frozen manifests; a command that does not exist is found here
    session     inputs up
    watch       the keeper starts the child; the launcher listens to both, to the mounts, and to signals
    finish      outputs stored and registered, if the child succeeded
    session     inputs down, in reverse

`moorage run` is a launcher itself; `Experiment.submit` starts one by path, with the spec on an inherited descriptor and the
output in the run's folder. Either way its first deed is to make itself undumpable and a subreaper, before it knows a secret.
"""

import contextlib
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if __name__ == "__main__":  # run by path with -P: find our own package, after all others
    sys.path.append(str(Path(__file__).resolve().parents[2]))

from mountd.errors import MountdError
from runtime.datasets import file
from runtime.datastores import reaching
from runtime.datastores.reaching import ADDRESS
from runtime.errors import AzureMLException, JobError
from runtime.job import finish, leftovers, lineage, mounted, processes, runs
from runtime.job.bell import Bell
from runtime.job.child import KeptChild
from runtime.job.layout import InputPlace, Layout
from runtime.job.planning import plan
from runtime.job.relay import Relay
from runtime.job.runs import InputRecord, OutputRecord, RunRecord
from runtime.job.session import Session, open_session
from runtime.job.spec import JobSpec
from runtime.job.watch import Outcome, watch
from runtime.tracking import files, marks
from runtime.workspace import WorkspaceFolder

if TYPE_CHECKING:
    from mountd.client.helper_processes import HelperSeat

NEVER_RAN = 64  # added to the code of DESIGN §12 when the child was not started
_DEFECT = 125
_MOUNTD_DEFECT = 70
_UPLOAD_GRACE_S = 30.0


def launch(
    workspace: WorkspaceFolder, spec: JobSpec, *, record: RunRecord | None = None, passthrough: bool = True
) -> int:
    """Run the job `spec` to its end in this process, and return the exit code of `moorage run`.

    `record` is the run's, if it is there already. With `passthrough` the child's output is also ours.

    Raises:
        JobError: the command was never started (64 + a code of DESIGN §12), or a part of the job died (125).
    """
    if os.name != "posix":
        raise JobError(
            "a job needs Linux or another POSIX system; `moorage dataset download` works everywhere", NEVER_RAN + 7
        )
    os.environ.pop(ADDRESS, None)  # of a job that this one is started from: it opens its own workspace only
    core_limit = processes.harden()
    processes.become_subreaper()
    try:
        leftovers.clean(workspace, lambda line: _say_early(line, passthrough=passthrough))
        layout, frozen = plan(workspace, spec)
        record = runs.take(workspace, record or runs.create(workspace, spec), status="Preparing")
    except BaseException as error:
        translated = never_ran(error)
        if record is not None:
            _close_record(workspace, record, translated)
        raise translated from error
    with Relay(runs.log_path(workspace, spec.run_id), passthrough=passthrough) as relay, Bell() as bell:
        for note in layout.notes:
            relay.say(note)
        return _Launch(workspace, layout, relay, bell, record, core_limit).run(frozen)


def _say_early(line: str, *, passthrough: bool) -> None:
    if passthrough:
        print(f"moorage: {line}", file=sys.stderr)  # noqa: T201 # a line for the user, before there is a log


def never_ran(error: BaseException) -> JobError:
    """What `moorage run` says and returns when the command was not started because of `error`."""
    if isinstance(error, JobError):
        return JobError(str(error), error.exit_code if error.exit_code >= NEVER_RAN else NEVER_RAN + error.exit_code)
    if isinstance(error, MountdError | AzureMLException):
        return JobError(str(error), _DEFECT if error.exit_code == _MOUNTD_DEFECT else NEVER_RAN + error.exit_code)
    if isinstance(error, OSError):
        where = f"{os.fsdecode(error.filename)}: " if error.filename is not None else ""
        code = {PermissionError: 5, FileNotFoundError: 4}.get(type(error), 3)
        return JobError(f"{where}{error.strerror or error}", NEVER_RAN + code)
    if isinstance(error, KeyboardInterrupt):
        return JobError("interrupted before the command was started", 130)
    return JobError(f"a defect in Moorage ({type(error).__name__}: {error})", _DEFECT)


def _close_record(workspace: WorkspaceFolder, record: RunRecord, error: JobError) -> RunRecord:
    told = _told_failure(workspace, record.run_id)
    canceled = error.exit_code > 128 and told is None
    status, reason = "Canceled" if canceled else "Failed", told or str(error)
    return runs.write(workspace, record, status=status, exit_code=error.exit_code, error=reason, ended=runs.now())


def _told_failure(workspace: WorkspaceFolder, run_id: str) -> str | None:
    """What Run.fail was told, in the script or from outside; None if it was not called."""
    try:
        return marks.read(runs.folder_of(workspace, run_id), {}).failure
    except (AzureMLException, OSError):  # marks that somebody damaged end no job
        return None


@contextlib.contextmanager
def _seat(
    workspace: WorkspaceFolder, frozen: Mapping[str, file.FrozenDataset], say: Callable[[str], None]
) -> "Iterator[HelperSeat | None]":
    """Where the job's helper sits while the command runs."""
    seat = None
    try:
        seat = reaching.seat(workspace, [each.credentials for each in frozen.values()])
    except (MountdError, AzureMLException, OSError) as error:  # most commands never want one
        say(f"no helper for the command's own reads of the workspace: {error}")
    try:
        yield seat
    finally:
        if seat is not None:
            seat.close()


class _Launch:
    """One job on its way: what every step needs, and the record, which is written at every step."""

    def __init__(
        self, workspace: WorkspaceFolder, layout: Layout, relay: Relay, bell: Bell, record: RunRecord, core_limit: int
    ) -> None:
        self._workspace = workspace
        self._layout = layout
        self._relay = relay
        self._bell = bell
        self._record = record
        self._core_limit = core_limit
        self._said: set[str] = set()
        self._seen: files.Seen = {}  # what lay in outputs/ and logs/ before the child
        self._told_failure: str | None = None  # what the script said by Run.fail

    def run(self, frozen: Mapping[str, file.FrozenDataset]) -> int:
        """From the first mount to the last line of the record; return the exit code."""
        try:
            self._write(inputs=_input_records(self._layout), outputs=_output_records(self._layout))
            self._tell()
            destined = _destined(self._workspace, self._layout)
            with open_session(self._layout, frozen, destined, self._bell, self._relay.say) as session:
                with _seat(self._workspace, frozen, self._relay.say) as seat:
                    outcome = self._run_child(session, seat)
                session.close_outputs()  # before they are committed: nothing is written any more
                self._finish(outcome)
                self._write_counters(session.close())
        except BaseException as error:
            if self._record.started is not None:
                raise self._broken(error) from error
            translated = self._stopped() or never_ran(error)
            finish.keep_outputs(self._workspace, self._record, self._relay.say)
            self._record = _close_record(self._workspace, self._record, translated)
            self._tell()
            raise translated from error
        return self._close(outcome)

    def _stopped(self) -> JobError | None:
        """The error of a job that a signal ended before its command; what broke then, broke because of the signal."""
        if not self._bell.stops:
            return None
        number = self._bell.stops[0]
        return JobError(f"stopped by signal {number} before the command was started", 128 + number)

    def _write(self, **changes: object) -> None:
        self._record = runs.write(self._workspace, self._record, **changes)

    def _note(self, **changes: object) -> None:
        """As `_write`, once the command runs: see `runs.note`."""
        self._record = runs.note(self._workspace, self._record, self._say_once, **changes)

    def _tell(self) -> None:
        lineage.tell(self._workspace, self._record, self._say_once)

    def _say_once(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            self._relay.say(line)

    def _run_child(self, session: Session, seat: "HelperSeat | None") -> Outcome:
        self._seen = files.look(self._layout.cwd, runs.folder_of(self._workspace, self._record.run_id))
        for output in self._layout.outputs:
            output.folder.mkdir(parents=True, exist_ok=True)
        grace_s = self._record.spec.grace_s
        layout = self._layout
        if seat is not None:
            layout = replace(layout, environment={**layout.environment, ADDRESS: seat.address})
        kept = KeptChild.start(layout, grace_s, self._core_limit, self._relay.out, self._relay.err)
        self._relay.release_child_ends()
        with kept as child:
            started = lambda pid: self._started(child.pid, pid)  # noqa: E731
            outcome = watch(child, session, self._bell, self._record.spec, started, seat, self._relay.say)
            if child.failure is not None:
                number, text = child.failure
                name = self._layout.argv[0]
                raise JobError(f"{name}: {text}", {2: 4, 13: 5}.get(number, 3))
        self._relay.drain()
        outcome = self._as_told(outcome)
        self._note(child_exit_code=outcome.child_code)
        self._collect_files()
        return outcome

    def _as_told(self, outcome: Outcome) -> Outcome:
        """A script that called Run.fail has failed, whatever it returned."""
        self._told_failure = _told_failure(self._workspace, self._record.run_id)
        if self._told_failure is not None:  # from outside, `fail` has also ended it by a signal
            return replace(outcome, child_code=outcome.child_code or 1, stopped=None)
        return outcome

    def _collect_files(self) -> None:
        """What the script left in ./outputs and ./logs becomes files of the run, whether it succeeded or not."""
        folder = runs.folder_of(self._workspace, self._record.run_id)
        without = {each.folder for each in self._layout.outputs}
        without |= {each.folder for each in self._layout.inputs if each.folder is not None}
        known = len(self._bell.stops)
        files.collect(
            folder, self._layout.cwd, self._seen, without, self._say_once, lambda: len(self._bell.stops) > known
        )

    def _started(self, keeper_pid: int, child_pid: int) -> None:
        self._note(status="Running", started=runs.now(), keeper_pid=keeper_pid, child_pid=child_pid)

    def _finish(self, outcome: Outcome) -> None:
        storing = outcome.ended_itself and any(each.of_failed_jobs for each in self._record.spec.outputs)
        if not outcome.succeeded:
            finish.keep_outputs(self._workspace, self._record, self._relay.say, storing=storing)
        if outcome.succeeded or storing:
            self._note(status="Finalizing")
            self._store_outputs()

    def _store_outputs(self) -> None:
        """Store the outputs on a thread of their own, so that a signal can still end the launcher."""
        errors: list[BaseException] = []
        records: list[RunRecord] = []

        def store() -> None:
            try:
                records.append(finish.finish_outputs(self._workspace, self._record, self._say_once))
            except BaseException as error:  # noqa: BLE001 # handed to the main thread, which raises it
                errors.append(error)
            self._bell.ring()

        thread = threading.Thread(target=store, name="outputs", daemon=True)
        thread.start()
        while thread.is_alive() and not self._bell.stops:
            self._bell.wait(timeout_s=1.0)
        thread.join(_UPLOAD_GRACE_S if self._bell.stops else None)
        if errors:
            raise errors[0]
        self._record = records[0] if records else runs.read(self._workspace, self._record.run_id)

    def _write_counters(self, counters: Mapping[str, Mapping[str, Mapping[str, int]]]) -> None:
        inputs = tuple(runs.with_counters(each, counters.get(each.name, {})) for each in self._record.inputs)
        self._note(inputs=inputs)
        with contextlib.suppress(OSError):  # an input that could not be taken down is still in it
            (runs.folder_of(self._workspace, self._record.run_id) / "inputs").rmdir()

    def _close(self, outcome: Outcome) -> int:
        code, error = outcome.exit_code, self._told_failure or outcome.failure
        if outcome.succeeded and (error := finish.incomplete(self._record)):
            code = finish.INCOMPLETE
        elif error is None and outcome.child_code is not None and outcome.child_code < 0:
            error = f"the command was killed by signal {-outcome.child_code}"
        ordinary = error is None  # a code of the child's own is its business, and for the record only
        if ordinary and code:
            error = f"the command returned {outcome.child_code}"
        status = "Completed" if code == 0 else "Canceled" if outcome.canceled else "Failed"
        self._note(status=status, exit_code=code, error=error, ended=runs.now())
        self._tell()
        if error and not ordinary:
            self._relay.say(error)
        return code

    def _broken(self, error: BaseException) -> JobError:
        """The line about what broke after the command was started, also in the record."""
        line = str(error) if isinstance(error, MountdError | AzureMLException) else f"{type(error).__name__}: {error}"
        broken = JobError(f"the job was ended by a defect in Moorage: {line}", _DEFECT)
        self._note(status="Failed", exit_code=_DEFECT, error=str(broken), ended=runs.now())
        self._tell()
        return broken


def _destined(workspace: WorkspaceFolder, layout: Layout) -> dict[str, mounted.MountedOutput]:
    """Where each mounted output goes, by its name."""
    return {
        spec.name: mounted.mounted_output(workspace, spec, layout.run_id)
        for spec in (each.spec for each in layout.outputs if each.mounted)
    }


def _called(place: InputPlace) -> str:
    """The name of an input's dataset: scripts hand over its id, which tells a reader of the run nothing."""
    is_id = place.spec.dataset == place.facts.dataset_id
    return place.facts.name if is_id and place.facts.name else place.spec.dataset


def _input_records(layout: Layout) -> tuple[InputRecord, ...]:
    return tuple(
        InputRecord(
            each.spec.name,
            _called(each),
            each.mode,
            each.spec.mode,
            each.value,
            each.facts.dataset_id,
            each.facts.version,
            each.facts.digest,
        )
        for each in layout.inputs
    )


def _output_records(layout: Layout) -> tuple[OutputRecord, ...]:
    return tuple(
        OutputRecord(
            each.spec.name, each.spec.datastore, each.prefix, str(each.folder), register_as=each.spec.register_as
        )
        for each in layout.outputs
    )


def main(arguments: Sequence[str]) -> int:
    """`launcher.py DESCRIPTOR`: the job on it, as JSON, written by `Experiment.submit`."""
    with os.fdopen(int(arguments[0]), "rb") as order:
        document = json.loads(order.read())
    workspace = WorkspaceFolder(Path(document["workspace"]))
    spec = JobSpec.from_json(document["spec"])
    try:
        return launch(workspace, spec, record=runs.read(workspace, spec.run_id), passthrough=False)
    except JobError as error:
        print(f"moorage: {error}", file=sys.stderr)  # noqa: T201 # the launcher's own log
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
