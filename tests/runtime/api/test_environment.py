import sys
from pathlib import Path

import pytest

from runtime import CondaDependencies, Environment, Workspace
from runtime.api import telling
from runtime.errors import UserErrorException
from runtime.workspace import init


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.of(init(tmp_path / ".moorage"))


@pytest.fixture(autouse=True)
def _nothing_told_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "_told", set())
    monkeypatch.delenv("MOORAGE_STRICT", raising=False)


def test_a_specification_is_edited_as_v1_edits_it(tmp_path: Path) -> None:
    made = CondaDependencies.create(
        pip_packages=["azureml-sdk", "a_b==1"], conda_packages=["numpy"], python_version="3.9"
    )
    made.add_conda_package("numpy=1.2")
    made.add_pip_package("a-b[x]>=2")
    made.add_channel("pytorch")
    made.set_pip_option("--pre")
    made.set_pip_index_url("https://one/")
    made.set_pip_index_url("https://two/")
    assert list(made.conda_packages) == ["python=3.9", "numpy=1.2"]
    assert list(made.pip_packages) == ["azureml-sdk", "a-b[x]>=2"]
    assert list(made.pip_options) == ["--pre", "--index-url https://two/"]
    assert made.python_version == "3.9"
    assert made.save_to_file(tmp_path, "env.yml") == "env.yml"
    assert CondaDependencies(tmp_path / "env.yml").as_dict() == made.as_dict()
    assert "- numpy=1.2" in made.serialize_to_string()
    made.remove_pip_package("a.b")
    made.remove_pip_package("A_b")
    made.remove_conda_package("numpy")
    assert (list(made.pip_packages), list(made.conda_packages)) == (["azureml-sdk"], ["python=3.9"])


@pytest.mark.parametrize(("text", "said"), [("a: [", "not YAML"), ("- a", "no conda specification"), (None, "No such")])
def test_a_file_that_is_none_is_named(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "env.yml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserErrorException, match=rf"env\.yml: {said}"):
        Environment.from_conda_specification("e", path)


def test_registered_environments_have_versions(workspace: Workspace) -> None:
    made = Environment("e", environment_variables={"A": "1"})
    made.docker.base_image_registry.password = "hush-123"  # noqa: S105 # of the test
    assert "hush-123" not in repr(made.docker)
    assert (made.register(workspace).version, made.register(workspace).version) == ("1", "1")
    assert made.python.conda_dependencies
    made.python.conda_dependencies.add_pip_package("numpy")
    assert made.register(workspace).version == "2"
    latest, first = Environment.get(workspace, "e"), Environment.get(workspace, "e", version=1)
    assert (latest.version, first.version, latest.environment_variables) == ("2", "1", {"A": "1"})
    assert latest.python.conda_dependencies
    assert list(latest.python.conda_dependencies.pip_packages) == ["azureml-defaults", "numpy"]
    assert {name: each.version for name, each in workspace.environments.items()} == {"e": "2"}
    kept = workspace.folder.path / "environments.json"
    assert kept.stat().st_mode & 0o77 == 0
    assert "hush-123" not in kept.read_text()
    copied = latest.clone("other")
    assert (copied.name, copied.version, latest.name) == ("other", None, "e")


def test_what_is_not_registered_is_an_error_but_microsofts_own(workspace: Workspace) -> None:
    with pytest.raises(UserErrorException, match="no environment 'e' in"):
        Environment.get(workspace, "e")
    Environment("e").register(workspace)
    with pytest.raises(UserErrorException, match="no version 7; there are 1"):
        Environment.get(workspace, "e", 7)
    assert Environment.get(workspace, name="AzureML-acpt-pytorch-2.2-cuda12.1").name.startswith("AzureML")  # type: ignore[union-attr]
    (workspace.folder.path / "environments.json").write_text("[")
    with pytest.raises(UserErrorException, match=r"environments\.json: not JSON"):
        Environment.get(workspace, "e")


def test_a_missing_requirement_is_named_once_and_refused_when_strict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [
        "# ours",
        "",
        "azureml-sdk",
        "pytest>=1",
        "pytest<1",
        "no-such-thing==3",
        "never; python_version < '3'",
        "-r x",
    ]
    (tmp_path / "req.txt").write_text("\n".join(lines))
    made = Environment.from_pip_requirements("e", tmp_path / "req.txt")
    made.tell_difference()
    made.tell_difference()
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "environment 'e' is not built: the job runs in this Python" in said
    assert said.endswith(f"missing in it: pytest<1 (here: {pytest.__version__}), no-such-thing==3\n")
    monkeypatch.setenv("MOORAGE_STRICT", "1")
    with pytest.raises(UserErrorException, match="no-such-thing==3; MOORAGE_STRICT is set"):
        made.tell_difference()
    made.python.user_managed_dependencies = True
    made.tell_difference()
    assert capsys.readouterr().err == ""


def test_a_managed_python_is_the_one_that_is_named(tmp_path: Path) -> None:
    made = Environment("e")
    made.python.interpreter_path = str(tmp_path / "python")
    assert made.interpreter() == sys.executable
    made.python.user_managed_dependencies = True
    with pytest.raises(UserErrorException, match="no Python at interpreter_path"):
        made.interpreter()
    (tmp_path / "python").symlink_to(sys.executable)
    assert made.interpreter() == str(tmp_path / "python")


def test_images_and_saved_folders(tmp_path: Path) -> None:
    made = Environment.from_docker_image("i", "debian:12")
    made.tell_difference()
    made.save_to_directory(tmp_path / "d")
    with pytest.raises(UserErrorException, match="overwrite=True"):
        made.save_to_directory(tmp_path / "d")
    loaded = Environment.load_from_directory(tmp_path / "d")
    assert (loaded.docker.base_image, loaded.python.user_managed_dependencies) == ("debian:12", True)
    assert Environment.from_dockerfile("f", "FROM x\n").docker.base_dockerfile == "FROM x\n"
    with pytest.raises(UserErrorException, match="no 'colour'; it has"):
        Environment("e", colour=1)
    with pytest.raises(UserErrorException, match="cannot be read as an environment"):
        Environment.load_from_directory(tmp_path)


def test_without_conda_nothing_is_known_of_its_environments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserErrorException, match="conda is not on PATH"):
        Environment.from_existing_conda_environment("e", "base")
    conda = tmp_path / "conda"
    conda.write_text('#!/bin/sh\n[ "$6" = base ] && echo \'{"dependencies": ["python=3.9", {"pip": ["x"]}]}\'\n')
    conda.chmod(0o755)
    made = Environment.from_existing_conda_environment("e", "base")
    assert made.python.conda_dependencies
    assert list(made.python.conda_dependencies.pip_packages) == ["x"]
    with pytest.raises(UserErrorException, match="conda knows no environment 'other'"):
        Environment.from_existing_conda_environment("e", "other")
