from pathlib import Path

import pytest

from runtime import AmlCompute, ComputeInstance, ComputeTarget, ComputeTargetException, Workspace
from runtime.api.compute import RemoteCompute, name_of
from runtime.errors import UserErrorException
from runtime.workspace import init


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.of(init(tmp_path / ".moorage"))


def test_the_cell_that_every_notebook_has(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    for expected in ("created", "found"):
        try:
            target = ComputeTarget(workspace=workspace, name="cpu-cluster")
            met = "found"
        except ComputeTargetException:
            met = "created"
            config = AmlCompute.provisioning_configuration(
                vm_size="STANDARD_D2_V2",
                max_nodes=4,
                admin_user_password="hush",  # noqa: S106 # of the test
            )
            target = ComputeTarget.create(workspace, "cpu-cluster", config)
            target.wait_for_completion(show_output=True, min_node_count=None, timeout_in_minutes=20)
        assert met == expected
    assert capsys.readouterr().out == "Succeeded: 'cpu-cluster' stands for this machine\n"
    assert target.get_status().serialize()["scaleSettings"] == {"minNodeCount": 0, "maxNodeCount": 4}
    assert target.status.serialize()["provisioningState"] == target.provisioning_state == "Succeeded"
    assert isinstance(target, AmlCompute)
    assert (target.type, target.vm_size, target.provisioning_errors) == ("AmlCompute", "STANDARD_D2_V2", None)
    assert "hush" not in (workspace.folder.path / "compute.json").read_text()


def test_the_workspace_lists_them_and_delete_forgets_one(workspace: Workspace) -> None:
    ComputeTarget.create(workspace, "gpu", AmlCompute.provisioning_configuration("NC6", min_nodes=1, max_nodes=2))
    ComputeTarget.create(workspace, "desk", ComputeInstance.provisioning_configuration("D2"))
    ComputeTarget.attach(workspace, "vm", RemoteCompute.attach_configuration("me", address="host", password="hush"))  # noqa: S106 # as above
    assert {name: each.type for name, each in workspace.compute_targets.items()} == {
        "gpu": "AmlCompute",
        "desk": "ComputeInstance",
        "vm": "VirtualMachine",
    }
    workspace.compute_targets["gpu"].update(max_nodes=8)
    assert AmlCompute(workspace, "gpu").serialize()["properties"]["max_nodes"] == 8
    with pytest.raises(ComputeTargetException, match="of type ComputeInstance"):
        AmlCompute(workspace, "desk")
    workspace.compute_targets["gpu"].delete()
    assert "gpu" not in workspace.compute_targets
    assert AmlCompute.supported_vmsizes(workspace)


@pytest.mark.parametrize("name", ["", "a", "1a", "a b", "a_b", "a" * 64])
def test_a_name_that_v1_refuses_is_refused(workspace: Workspace, name: str) -> None:
    with pytest.raises(ComputeTargetException, match="is no name for a compute target"):
        ComputeTarget.create(workspace, name, AmlCompute.provisioning_configuration())
    assert workspace.compute_targets == {}


def test_what_is_no_configuration_or_no_target_is_said(workspace: Workspace) -> None:
    with pytest.raises(ComputeTargetException, match="dict is no configuration"):
        ComputeTarget.create(workspace, "abc", {})  # type: ignore[arg-type] # that is the test
    assert (name_of(None), name_of("x")) == ("local", "x")
    with pytest.raises(UserErrorException, match="int is none"):
        name_of(3)
