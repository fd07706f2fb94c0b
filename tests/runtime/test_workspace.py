"""The workspace folder: where it is looked for, and how it is made."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.errors import UnknownNameError, UserErrorException
from runtime.workspace import Identity, WorkspaceFolder, default_for_run, find, init, named
from runtime.workspace.files import locked, read_toml, toml_text, write_whole


def environ(home: Path, **more: str) -> dict[str, str]:
    return {"HOME": str(home), **more}


def test_init_makes_a_whole_workspace_that_only_the_owner_can_enter(tmp_path: Path) -> None:
    workspace = init(tmp_path / "my project" / ".moorage")
    assert workspace.identity().name == "my-project"
    assert workspace.path.stat().st_mode & 0o777 == 0o700
    folders = (workspace.runs_path, workspace.spool_path, workspace.manifests_path, workspace.blobstore_path)
    assert all(folder.is_dir() for folder in folders)
    assert (workspace.path / ".gitignore").read_text() == "*\n"


def test_init_again_changes_nothing_and_another_catalog_is_an_error(tmp_path: Path) -> None:
    workspace = init(tmp_path / ".moorage", "sqlite:////srv/catalog.db")
    before = (workspace.path / "workspace.toml").read_bytes()
    assert init(tmp_path / ".moorage") == init(tmp_path / ".moorage", "sqlite:////srv/catalog.db") == workspace
    with pytest.raises(UserErrorException, match="another catalog"):
        init(tmp_path / ".moorage", "sqlite:////srv/other.db")
    assert (workspace.path / "workspace.toml").read_bytes() == before


def test_init_refuses_a_folder_with_other_things_in_it(tmp_path: Path) -> None:
    (tmp_path / "train.py").touch()
    with pytest.raises(UserErrorException, match="holds something else") as caught:
        init(tmp_path)
    assert str(tmp_path / ".moorage") in str(caught.value)
    assert [each.name for each in tmp_path.iterdir()] == ["train.py"]


def test_an_init_cut_short_is_no_workspace_and_can_be_done_again(tmp_path: Path) -> None:
    folder = tmp_path / ".moorage"
    (folder / "runs").mkdir(parents=True)
    assert not WorkspaceFolder(folder).exists()
    assert init(folder).exists()


def test_a_password_in_the_catalog_url_is_refused_and_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(UserErrorException, match="password") as caught:
        init(tmp_path / ".moorage", "postgresql://me:hunter2@host/db")
    assert "hunter2" not in str(caught.value)
    assert not (tmp_path / ".moorage").exists()


def test_the_search_order_is_option_variable_nearest_default(tmp_path: Path) -> None:
    option, variable, nearest = (init(tmp_path / name / ".moorage") for name in ("option", "variable", "nearest"))
    default = init(tmp_path / "home" / ".moorage" / "default")
    start = tmp_path / "nearest" / "a" / "b"
    start.mkdir(parents=True)
    env = environ(tmp_path / "home", MOORAGE_WORKSPACE=str(variable.path))
    assert find(start, option.path, env) == option
    assert find(start, tmp_path / "option", env) == option  # the project's folder means its .moorage
    assert find(start, None, env) == variable
    assert find(start, None, environ(tmp_path / "home")) == nearest
    assert find(tmp_path, None, environ(tmp_path / "home")) == default


def test_a_moorage_folder_without_the_mark_is_passed_over(tmp_path: Path) -> None:
    outer = init(tmp_path / ".moorage")
    (tmp_path / "data" / ".moorage" / "outputs").mkdir(parents=True)  # mountd's own, beside an output
    assert find(tmp_path / "data", None, environ(tmp_path)) == outer


@pytest.mark.parametrize(("explicit", "variable"), [("gone", None), (None, "gone")])
def test_a_named_workspace_that_is_not_there_is_an_error_also_for_run(
    tmp_path: Path, explicit: str | None, variable: str | None
) -> None:
    init(tmp_path / ".moorage")  # would be found, but was not named
    env = environ(tmp_path, **({"MOORAGE_WORKSPACE": str(tmp_path / variable)} if variable else {}))
    for search in (find, default_for_run):
        with pytest.raises(UnknownNameError, match=r"moorage --workspace .* init") as caught:
            search(tmp_path, tmp_path / explicit if explicit else None, env)
        assert caught.value.exit_code == 4


def test_none_found_says_the_remedy_and_run_makes_the_default_saying_so_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    env = environ(tmp_path)
    with pytest.raises(UnknownNameError, match="moorage init"):
        find(tmp_path, None, env)
    made = default_for_run(tmp_path, None, env)
    assert made.path == tmp_path / ".moorage" / "default"
    assert str(made.path) in capsys.readouterr().err
    assert default_for_run(tmp_path, None, env) == made
    assert capsys.readouterr().err == ""


def test_a_v1_identity_selects_a_workspace_by_name(tmp_path: Path) -> None:
    identity = Identity("teamspace", "11111111-2222-3333-4444-555555555555", "group", "westeurope")
    workspace = named(identity, environ(tmp_path))
    assert workspace.path == tmp_path / ".moorage" / "workspaces" / "teamspace"
    assert workspace.identity() == identity
    assert named(identity, environ(tmp_path)) == workspace
    with pytest.raises(UserErrorException, match="no name for a workspace"):
        named(Identity("../../etc"), environ(tmp_path))


def test_an_edited_mark_is_named_with_its_key(tmp_path: Path) -> None:
    workspace = init(tmp_path / ".moorage")
    mark = workspace.path / "workspace.toml"
    mark.write_text('name = "x"\nsubscripton_id = "y"\n')
    with pytest.raises(UserErrorException, match="unknown key 'subscripton_id'; did you mean 'subscription_id'"):
        workspace.identity()
    mark.write_text("name = 3\n")
    with pytest.raises(UserErrorException, match=r"workspace\.toml: 'name'"):
        workspace.identity()
    mark.write_text("name = \n")
    with pytest.raises(UserErrorException, match="not TOML"):
        workspace.identity()


@pytest.mark.parametrize("text", ["", 'a "b" \\ c', "ä\n\t\x00\x1f\x7f", "\U0001f6a2"])
def test_toml_text_reads_back(tmp_path: Path, text: str) -> None:
    path = tmp_path / "file.toml"
    write_whole(path, f"name = {toml_text(text)}\n")
    assert read_toml(path, Identity, ("name",)).name == text
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "new \ud800")
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as write and fsync raise it: without a name

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_whole(tmp_path / "record", "new")
    assert caught.value.filename == str(tmp_path / "record")
    assert not list(tmp_path.iterdir())


def test_the_lock_keeps_other_processes_out_until_it_is_released(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    code = (
        "import sys; from pathlib import Path; from runtime.workspace.files import locked\n"
        f"with locked(Path({str(path)!r})):\n print('held', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(UserErrorException, match="locked by another process"), locked(path, deadline_s=0.05):
            pass
        assert other.stdin is not None
        other.stdin.close()
        with locked(path, deadline_s=20):
            pass
    assert other.returncode == 0
