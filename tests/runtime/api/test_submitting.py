"""Whole jobs by ScriptRunConfig: several processes, a time limit, the copy of the source, odd output."""

import json
import signal
import sys
from pathlib import Path

import pytest

from runtime import (
    Dataset,
    Environment,
    Experiment,
    MpiConfiguration,
    PyTorchConfiguration,
    Run,
    ScriptRunConfig,
    Workspace,
)
from runtime.api import distributed, telling
from runtime.api.run_configuration import RunConfiguration
from runtime.errors import ActivityFailedException, UserErrorException
from runtime.job import launcher, processes, runs
from runtime.job.spec import JobSpec, Ranks
from runtime.workspace import init
from tests.runtime.job import jobs
from tests.support.content import make_tree
from tests.support.waiting import until

WRITE_RANK = """
import os, sys
names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "NODE_RANK")
os.write(1, (" ".join([os.environ[name] for name in names] + sys.argv[1:]) + "\\n").encode())
"""

# Each rank's gradient is its own number, and the weight moves by the mean of both: it is right only if they met.
TRAIN = """
import os, torch, torch.distributed as dist
dist.init_process_group("gloo")
rank = dist.get_rank()
total = torch.tensor([rank + 1]); dist.all_reduce(total)
model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(1, 1, bias=False))
with torch.no_grad():
    model.module.weight.zero_()
model(torch.tensor([[-(rank + 1.0)]])).sum().backward()
torch.optim.SGD(model.parameters(), lr=1.0).step()
os.write(1, f"sum {total.item()} weight {model.module.weight.item()} of {rank}\\n".encode())
dist.barrier()
os._exit(0)  # torch's own threads abort an ordinary exit now and then
"""


@pytest.fixture(autouse=True)
def _outside_of_any_job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("MOORAGE_RUN_ID", "MOORAGE_WORKSPACE", "MOORAGE_STRICT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(telling, "_told", set())


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.of(init(tmp_path / ".moorage"))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    return tmp_path / "src"


def submitted(workspace: Workspace, config: ScriptRunConfig) -> Run:
    return Experiment(workspace, "exp").submit(config)


def log_of(workspace: Workspace, run: Run) -> str:
    return runs.log_path(workspace.folder, run.id).read_bytes().decode("utf-8", "replace")


def test_every_process_of_a_pytorch_job_gets_its_rank_and_the_arguments(
    workspace: Workspace, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (source / "train.py").write_text(WRITE_RANK)
    make_tree(tmp_path / "data", {"a": 1})
    data = Dataset.File.from_files(str(tmp_path / "data")).as_named_input("d").as_download()
    config = ScriptRunConfig(
        source, "train.py", [data], distributed_job_config=PyTorchConfiguration("Gloo", process_count=4, node_count=2)
    )
    run = submitted(workspace, config)
    run.wait_for_completion()
    place = workspace.folder.runs_path / run.id / "inputs" / "d"
    assert sorted(log_of(workspace, run).splitlines()) == [f"{n} {n} 4 {n // 2} {place}" for n in range(4)]
    assert "2 nodes were asked for: all 4 processes run on this machine" in capsys.readouterr().err


def test_a_rank_that_fails_ends_those_that_would_wait_for_ever(workspace: Workspace, source: Path) -> None:
    (source / "train.py").write_text(
        "import os, signal\nif os.environ['RANK'] == '1': raise SystemExit(5)\nsignal.pause()\n"
    )
    config = ScriptRunConfig(source, "train.py", distributed_job_config=PyTorchConfiguration(process_count=2))
    run = submitted(workspace, config)
    with pytest.raises(ActivityFailedException, match="the command returned 5"):
        run.wait_for_completion()
    assert "moorage: rank 1 returned 5, so the job is ended" in log_of(workspace, run)
    assert not jobs.marked(run.id)


def test_a_command_runs_on_every_node_with_its_own_rank(workspace: Workspace, source: Path) -> None:
    """The form that starts torch.distributed.launch itself: shell variables in a list."""
    command = ["echo node", "$NODE_RANK of", "$WORLD_SIZE", "&&", "python", "-c", "'import sys; print(sys.executable)'"]
    config = ScriptRunConfig(source, command=command, distributed_job_config=PyTorchConfiguration(node_count=2))
    run = submitted(workspace, config)
    run.wait_for_completion()
    said = sorted(log_of(workspace, run).splitlines())
    assert said[-2:] == ["node 0 of 2", "node 1 of 2"]
    assert {Path(line).parent for line in said[:2]} == {Path(sys.executable).parent}


@pytest.mark.full
@pytest.mark.timeout(300)
@pytest.mark.parametrize("launch", [False, True])
def test_torch_finds_its_peers(workspace: Workspace, source: Path, *, launch: bool) -> None:
    """A real process group over gloo: one process a rank, and by torch's own launcher on each of two nodes."""
    (source / "train.py").write_text(TRAIN)
    if launch:
        line = "python -m torch.distributed.run --nproc_per_node 1 --nnodes 2 --node_rank $NODE_RANK"
        command = [line, "--master_addr $MASTER_ADDR --master_port $MASTER_PORT train.py"]
        config = ScriptRunConfig(source, command=command, distributed_job_config=PyTorchConfiguration(node_count=2))
    else:
        config = ScriptRunConfig(source, "train.py", distributed_job_config=PyTorchConfiguration(process_count=2))
    run = submitted(workspace, config)
    run.wait_for_completion()
    told = [line for line in log_of(workspace, run).splitlines() if line.startswith("sum ")]
    assert sorted(told) == ["sum 3 weight 1.5 of 0", "sum 3 weight 1.5 of 1"]


@pytest.mark.parametrize(
    ("text", "gpus", "expected"),
    [
        ("backend='nccl'", 0, Ranks("pytorch", 1, 1)),
        ("backend='NCCL'", 2, Ranks("pytorch", 2, 2)),
        ("backend='nccl'", 8, Ranks("pytorch", 4, 2)),
        ("'nccl' if cuda else 'gloo'", 0, Ranks("pytorch", 4, 2)),
        ("print()", 0, Ranks("pytorch", 4, 2)),
        ("backend='nccl'", None, Ranks("pytorch", 4, 2)),
    ],
)
def test_a_script_that_can_only_use_nccl_gets_no_more_processes_than_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, gpus: int | None, expected: Ranks
) -> None:
    (tmp_path / "train.py").write_text(text)
    monkeypatch.setattr(distributed, "gpu_count", lambda _: gpus)
    ranks = PyTorchConfiguration(process_count=4, node_count=2).ranks
    assert distributed.on_this_machine(ranks, tmp_path / "train.py") == expected


def test_gpus_are_counted_by_their_devices(tmp_path: Path) -> None:
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert distributed.gpu_count({}, tmp_path) == 2
    assert distributed.gpu_count({"CUDA_VISIBLE_DEVICES": "1"}, tmp_path) == 1
    assert distributed.gpu_count({"CUDA_VISIBLE_DEVICES": ""}, tmp_path) == 0
    (tmp_path / "kfd").touch()
    assert distributed.gpu_count({}, tmp_path) is None


@pytest.mark.parametrize("count", [0, -1, "2", 2.0, True, 5000])
def test_a_count_of_processes_that_is_none_is_refused(workspace: Workspace, source: Path, count: object) -> None:
    (source / "train.py").touch()
    config = ScriptRunConfig(
        source,
        "train.py",
        distributed_job_config=PyTorchConfiguration(process_count=count),  # type: ignore[arg-type]
    )
    with pytest.raises(Exception, match=r"PyTorchConfiguration\.process_count is .*; give a number from 1 to 128"):
        submitted(workspace, config)
    assert list(runs.read_all(workspace.folder)) == []


def test_mpi_needs_mpirun_and_starts_it(
    workspace: Workspace, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source / "train.py").write_text("import os; print(os.environ['OMPI_ALLOW_RUN_AS_ROOT'])")
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    config = RunConfiguration(communicator="OpenMpi")
    config.mpi.process_count_per_node, config.node_count = 2, 2
    made = ScriptRunConfig(source, "train.py", run_config=config)
    with pytest.raises(UserErrorException, match="needs `mpirun`, which is not on PATH; install Open MPI"):
        submitted(workspace, made)
    (folder / "mpirun").write_text(
        f"#!{sys.executable}\nimport subprocess, sys\nprint(*sys.argv[1:3], flush=True)\n"
        "subprocess.run(sys.argv[3:], check=True)\n"
    )
    (folder / "mpirun").chmod(0o755)
    run = submitted(workspace, made)
    run.wait_for_completion()
    assert log_of(workspace, run) == "-n 4\n1\n"
    alone = ScriptRunConfig(source, "train.py", distributed_job_config=MpiConfiguration())
    assert alone.job(workspace.folder, "exp_1_a", "exp", {}).ranks is None


def test_a_script_edited_after_submit_changes_no_job(workspace: Workspace, source: Path) -> None:
    text = "import other, pathlib; print('old', other.x); pathlib.Path('made').touch()"
    (source / "train.py").write_text(text)
    (source / "other.py").write_text("x = 1")
    config = ScriptRunConfig(source, "train.py")
    spec = config.job(workspace.folder, "exp_1_a", "exp", {})
    (source / "train.py").write_text("raise SystemExit(9)")
    (source / "other.py").unlink()
    assert launched(workspace, spec) == 0
    assert runs.log_path(workspace.folder, "exp_1_a").read_text() == "old 1\n"
    assert not (source / "made").exists()


def launched(workspace: Workspace, spec: JobSpec) -> int:
    """The code of a job whose launcher is this process, which stays what it was: orphans of other tests are not its."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "harden", lambda: 0)
        patch.setattr(processes, "become_subreaper", lambda: None)
        return launcher.launch(workspace.folder, spec, passthrough=False)


@pytest.mark.parametrize(("trap", "killed_by"), [("", signal.SIGTERM), ("trap '' TERM;", signal.SIGKILL)])
def test_a_job_over_its_time_is_ended_as_by_cancel_and_says_so(
    workspace: Workspace, source: Path, trap: str, killed_by: signal.Signals
) -> None:
    command = ("/bin/sh", "-c", f"{trap} while :; do sleep 60; done")
    spec = JobSpec("exp_1_a", "exp", command, str(source), grace_s=0.2, max_duration_s=2.0)
    assert launched(workspace, spec) == 128 + signal.SIGTERM
    record = runs.read(workspace.folder, "exp_1_a")
    assert (record.status, record.child_exit_code) == ("Canceled", -killed_by)
    said = "the job ran longer than max_run_duration_seconds (2 s), and was ended"
    assert record.error == said
    assert said in runs.log_path(workspace.folder, "exp_1_a").read_text()
    assert not jobs.marked("exp_1_a")


def test_a_job_within_its_time_is_not_ended(workspace: Workspace, source: Path) -> None:
    (source / "train.py").write_text("print('done')")
    run = submitted(workspace, ScriptRunConfig(source, "train.py", max_run_duration_seconds=600))
    assert run.wait_for_completion()["status"] == "Completed"


def test_data_references_are_inputs_and_outputs(workspace: Workspace, source: Path) -> None:
    store = workspace.get_default_datastore()
    make_tree(workspace.folder.blobstore_path, {"in/a.txt": 3, "more/b.txt": 4})
    (source / "train.py").write_text(
        "import os, pathlib, sys; data, below, out = sys.argv[1:];"
        "print(*os.listdir(data), *os.listdir(below), os.environ['AZUREML_DATAREFERENCE_data'] == data);"
        "pathlib.Path('made/x').write_text('new')"
    )
    data = store.path("in", "data").as_download()
    result = store.path("out/{run-id}", "result").as_upload("made")
    config = RunConfiguration()
    config.data_references = {"more": store.path("more", "more").as_download().to_config()}
    arguments = [data, "$AZUREML_DATAREFERENCE_more", result]
    run = submitted(workspace, ScriptRunConfig(source, "train.py", arguments, run_config=config))
    run.wait_for_completion()
    assert log_of(workspace, run) == "a.txt b.txt True\n"
    assert (workspace.folder.blobstore_path / "out" / run.id / "x").read_text() == "new"


def test_output_that_is_no_utf8_is_kept_as_it_is_and_shown(
    workspace: Workspace, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (source / "train.py").write_text(r"import os; os.write(1, b'\xff\xfe caf\xe9 \xc3\xa9\n')")
    run = submitted(workspace, ScriptRunConfig(source, "train.py"))
    run.wait_for_completion(show_output=True)
    assert runs.log_path(workspace.folder, run.id).read_bytes() == b"\xff\xfe caf\xe9 \xc3\xa9\n"
    assert "é" in capsys.readouterr().out


def test_the_variables_that_v1s_client_looks_for(workspace: Workspace, source: Path) -> None:
    (source / "train.py").write_text(
        "import json, os; print(json.dumps({k: v for k, v in os.environ.items() if k.startswith('AZUREML_') or k == 'A'}))"
    )
    environment = Environment("e", environment_variables={"A": "given", "AZUREML_RUN_ID": "mine"})
    environment.python.user_managed_dependencies = True
    run = submitted(workspace, ScriptRunConfig(source, "train.py", environment=environment))
    run.wait_for_completion()
    told = json.loads(log_of(workspace, run))
    assert (told["A"], told["AZUREML_RUN_ID"], told["AZUREML_ARM_PROJECT_NAME"]) == ("given", run.id, "exp")
    assert told["AZUREML_ARM_WORKSPACE_NAME"] == workspace.name
    assert told["AZUREML_ARM_SUBSCRIPTION"] == workspace.subscription_id
    assert told["AZUREML_ARM_RESOURCEGROUP"] == workspace.resource_group
    assert (told["AZUREML_RUN_TOKEN"], told["AZUREML_SERVICE_ENDPOINT"]) == ("none", "https://moorage.invalid")


def test_submit_returns_while_the_job_runs(workspace: Workspace, source: Path) -> None:
    """A distributed job too is ended whole by cancel."""
    (source / "train.py").write_text("import os, signal; os.write(1, b'up\\n'); signal.pause()")
    config = ScriptRunConfig(source, "train.py", distributed_job_config=PyTorchConfiguration(process_count=2))
    run = submitted(workspace, config)
    until(lambda: log_of(workspace, run).count("up\n") == 2, what="the start of both ranks")
    run.cancel()
    assert run.wait_for_completion(raise_on_error=False)["status"] == "Canceled"
    assert not jobs.marked(run.id)
