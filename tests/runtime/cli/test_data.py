"""`moorage init`, `datastore` and `dataset`, as a shell sees them: output, one-line errors, exit codes."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from mountd import client
from runtime import Dataset, Datastore, Workspace, cli
from runtime.cli import Invocation, call
from tests.support.content import content, make_tree

SECRET = "c2VjcmV0LXNlY3JldA=="  # noqa: S105 # nobody's


_MAIN = [sys.executable, "-c", "from runtime.cli import main; main()"]


class Shell:
    """Runs `moorage` in a folder, with a home of its own; `call` is what the installed command calls."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys

    def run(self, *arguments: str) -> tuple[int, str, str]:
        self._capsys.readouterr()
        code = call(arguments)
        return code, *self._capsys.readouterr()

    def ok(self, *arguments: str) -> str:
        code, out, err = self.run(*arguments)
        assert (code, err) == (0, "")
        return out

    def fails(self, exit_code: int, *arguments: str) -> str:
        code, out, err = self.run(*arguments)
        assert (code, out) == (exit_code, "")
        assert err.startswith("moorage: ")
        assert err.count("\n") == 1
        return err


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MOORAGE_WORKSPACE", raising=False)
    return Shell(folder, capsys)


@pytest.fixture
def ready(shell: Shell) -> Shell:
    """A workspace with a datastore `data` of three files."""
    make_tree(shell.folder / "files", {"wd/a.bin": 100, "wd/sub/b.bin": 5000, "one.bin": 7})
    shell.ok("init")
    shell.ok("datastore", "add", "data", "files")
    return shell


def test_init_twice_says_so_and_names_the_folder(shell: Shell) -> None:
    assert shell.ok("init") == f"{shell.folder}/.moorage is a workspace now\n"
    assert shell.ok("init") == f"{shell.folder}/.moorage is a workspace already\n"
    assert shell.ok("--workspace", "else/where", "init") == f"{shell.folder}/else/where is a workspace now\n"
    assert "another catalog" in shell.fails(3, "init", "--catalog", "sqlite:////x.db")


def test_the_main_path_from_folder_to_download(ready: Shell) -> None:
    assert ready.ok("dataset", "register", "wd", "data/wd").startswith("wd version 1: 2 files, ")
    assert ready.ok("dataset", "register", "wd", "data/wd").startswith("wd version 1 is that already: 2 files, ")
    make_tree(ready.folder, {"files/wd/c.bin": 9})
    assert "--new-version" in ready.fails(3, "dataset", "register", "wd", "data/wd")
    made = json.loads(ready.ok("dataset", "register", "wd", "data/wd", "--new-version", "--tag", "k=v=w", "--json"))
    assert (made["version"], made["files"], made["tags"], made["state"]) == (2, 3, {"k": "v=w"}, "registered")
    assert "2 files" in ready.ok("dataset", "download", "wd@1", "got")
    assert (ready.folder / "got/sub/b.bin").read_bytes() == content("wd/sub/b.bin", 0, 5000)
    assert not (ready.folder / "got/c.bin").exists()
    again = json.loads(ready.ok("dataset", "download", "wd@1", "got", "--json"))
    assert (again["files"], again["fetched_bytes"]) == (2, 0)


def test_paths_may_be_folders_files_urls_and_patterns(ready: Shell) -> None:
    def paths(name: str) -> list[dict[str, str]]:
        found: list[dict[str, str]] = json.loads(ready.ok("dataset", "show", name, "--json"))["definition"]["paths"]
        return found

    base = f"file://{ready.folder}/files"
    ready.ok("dataset", "register", "one", "./files", "--description", "all of it")
    ready.ok("dataset", "register", "two", "files/wd/*.bin")
    ready.ok("dataset", "register", "three", f"{base}/one.bin")
    ready.ok("dataset", "register", "four", "DATA/wd/", "data/one.bin")
    assert paths("one") == [{"url": f"{base}/"}]
    assert paths("two") == [{"url": f"{base}/wd/*.bin"}]
    assert paths("three") == [{"url": f"{base}/one.bin"}]
    assert paths("four") == [{"datastore": "data", "path": "wd/"}, {"datastore": "data", "path": "one.bin"}]
    listed = json.loads(ready.ok("dataset", "list", "--json"))
    assert {row["name"]: row["files"] for row in listed} == {"one": 3, "two": 1, "three": 1, "four": 3}
    table = ready.ok("dataset", "list").splitlines()
    assert table[0].split() == ["name", "version", "kind", "files", "bytes", "created", "description"]
    assert any(line.startswith("one ") and line.rstrip().endswith("all of it") for line in table)


def test_names_and_tags_change_and_the_list_goes_by_them(ready: Shell) -> None:
    def listed(*filters: str) -> list[str]:
        return [
            f"{row['name']}@{row['version']}" for row in json.loads(ready.ok("dataset", "list", "--json", *filters))
        ]

    ready.ok("dataset", "register", "wd", "data/wd", "--tag", "kind=train")
    ready.ok("dataset", "register", "one", "data/one.bin")
    make_tree(ready.folder, {"files/wd/c.bin": 9})
    ready.ok("dataset", "register", "wd", "data/wd", "--new-version")
    said = ready.ok("dataset", "tag", "wd", "kind=test", "by=me", "--description", "three files")
    assert json.loads(ready.ok("dataset", "tag", "wd", "--remove", "by", "--json"))["tags"] == {"kind": "test"}
    assert said.splitlines()[2:] == ["description  three files", 'tags         {"kind": "test", "by": "me"}']
    assert listed() == ["one@1", "wd@2"]
    assert listed("--all-versions") == ["one@1", "wd@1", "wd@2"]
    assert listed("--name", "w*", "--tag", "kind") == ["wd@2"]
    assert listed("--tag", "kind=train") == []
    assert listed("--tag", "kind=train", "--all-versions") == ["wd@1"]
    assert ready.ok("dataset", "rename", "wd", "both") == "wd is both now: 2 versions\n"
    assert "dataset 'wd' version 1 is 'both@1' now" in ready.fails(4, "dataset", "show", "wd@1")
    assert "formerly     wd@2\n" in ready.ok("dataset", "show", "both")
    unnamed = json.loads(ready.ok("dataset", "show", "both@1", "--json"))["id"]
    assert ready.ok("dataset", "unregister", "both@1") == ("both@1 is unregistered: 1 version; the data is untouched\n")
    assert listed("--all-versions") == ["both@2", "one@1"]
    assert "2 files" in ready.ok("dataset", "download", unnamed, "got")  # its id is for ever
    ready.ok("dataset", "unregister", "both")
    assert "unregistered; its id" in ready.fails(4, "dataset", "show", "both")


def test_show_tells_the_steps_and_partition_keys_of_a_definition(ready: Shell) -> None:
    workspace = Workspace.from_config()
    made = Dataset.File.from_files(
        (Datastore.get(workspace, "data"), "**"), partition_format="{name}.csv", validate=False
    )
    made.take(2).filter(made.file_metadata("Size") > 0).register(workspace, "part")
    told = ready.ok("dataset", "show", "part")
    assert "steps        take 2, filter (file('Size') > 0)\n" in told
    assert "partition_keys name\n" in told
    document = json.loads(ready.ok("dataset", "show", "part", "--json"))
    assert (document["steps"], document["partition_keys"]) == (["take 2", "filter (file('Size') > 0)"], ["name"])


def test_names_and_texts_are_shown_as_they_are_and_a_terminal_obeys_none(ready: Shell) -> None:
    ready.ok("dataset", "register", "[red]x", "data/wd", "--description", "[/red] of \x1b[31mothers\x1b[0m\x07")
    row = ready.ok("dataset", "list").splitlines()[1]
    assert row.startswith("[red]x ")
    assert r"[/red] of \x1b[31mothers\x1b[0m\x07" in row
    assert r"[/red] of \x1b[31mothers\x1b[0m\x07" in ready.ok("dataset", "show", "[red]x")


@pytest.mark.parametrize("url", ["mysql://me@host/db", "nonsense", "sqlite://", "postgresql://me:pw@host/db"])
def test_a_catalog_that_could_never_be_is_refused_before_the_workspace_is_made(shell: Shell, url: str) -> None:
    assert "the catalog's URL" in shell.fails(3, "init", "--catalog", url)
    assert list(shell.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("exit_code", "arguments", "said"),
    [
        (4, ["dataset", "show", "nothing"], "no dataset 'nothing'"),
        (4, ["dataset", "download", "wd@7", "got"], "'wd' has no version 7; its latest is 1"),
        (3, ["dataset", "show", "wd@x"], "'x' is no version"),
        (4, ["dataset", "register", "x", "nowhere/wd"], "neither a datastore 'nowhere' nor a local path"),
        (4, ["dataset", "register", "x", "./nowhere"], "no such file or folder"),
        (4, ["dataset", "register", "x", "data/nowhere"], "nowhere"),
        (3, ["dataset", "register", "x", "data/w?"], "only '*'"),
        (3, ["dataset", "register", "a:b", "data/wd"], "no name for a dataset"),
        (3, ["dataset", "register", "x", "data/wd", "--tag", "k"], "write KEY=VALUE"),
        (3, ["dataset", "register", "x", "data/nowhere", "--description", "\udcff"], "the description holds bytes"),
        (4, ["dataset", "show", "\udcff"], "no name for a dataset"),
        (3, ["dataset", "tag", "wd"], "nothing to change; write KEY=VALUE"),
        (3, ["dataset", "tag", "wd", "k"], "write KEY=VALUE"),
        (3, ["dataset", "tag", "wd", "k=v", "--remove", "x"], "wd has no tag 'x'; it has: none"),
        (4, ["dataset", "tag", "nothing", "k=v"], "no dataset 'nothing'"),
        (4, ["dataset", "rename", "nothing", "x"], "no dataset 'nothing'"),
        (3, ["dataset", "rename", "wd", "a@1"], "no name for a dataset"),
        (4, ["dataset", "unregister", "nothing"], "no dataset 'nothing'"),
        (4, ["dataset", "unregister", "wd@7"], "'wd' has no version 7; its latest is 1"),
        (3, ["dataset", "unregister", "wd@"], "'' is no version"),
        (4, ["datastore", "show", "nowhere"], "no datastore 'nowhere'"),
        (4, ["datastore", "remove", "nowhere"], "only: data, workspaceblobstore"),
        (3, ["datastore", "add", "data", "files"], "--overwrite"),
        (4, ["datastore", "add", "x", "elsewhere"], "elsewhere: no such folder"),
        (3, ["datastore", "add", "bad-name", "files"], "no name for a datastore"),
        (3, ["datastore", "add", "x", "ftp://host/a"], "no scheme that Moorage knows"),
        (4, ["datastore", "add", "x", "files", "--credential", "env:NOT_SET"], "NOT_SET"),
        (4, ["--workspace", "nowhere", "dataset", "list"], "no workspace at nowhere (from --workspace)"),
    ],
)
def test_bad_input_is_one_line_with_its_exit_code(
    ready: Shell, exit_code: int, arguments: list[str], said: str
) -> None:
    ready.ok("dataset", "register", "wd", "data/wd")
    before = sorted(ready.folder.rglob("*"))
    assert said in ready.fails(exit_code, *arguments)
    assert sorted(ready.folder.rglob("*")) == before  # nothing half-written


def test_no_workspace_is_one_line_with_the_remedy_and_makes_none(shell: Shell) -> None:
    assert "`moorage init`" in shell.fails(4, "dataset", "list")
    assert list(shell.folder.iterdir()) == []


@pytest.mark.parametrize("arguments", [["nothing"], ["dataset", "nothing"], ["dataset", "show"], ["--nothing"]])
def test_a_command_that_does_not_exist_is_a_usage_error(shell: Shell, arguments: list[str]) -> None:
    code, _, said = shell.run(*arguments)
    assert code == 2
    assert "Usage: moorage" in said


def test_a_secret_is_nowhere_but_in_its_place(ready: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_KEY", SECRET)
    (ready.folder / "key.txt").write_text(SECRET)
    url = "https://account1.blob.core.windows.net/container/"
    said = ready.ok("datastore", "add", "byenv", url, "--credential", "env:THE_KEY")
    said += ready.ok("datastore", "add", "byfile", url, "--credential", "file:key.txt")
    assert SECRET not in ready.fails(3, "datastore", "add", "x", url, "--credential", SECRET)
    for command in (["list"], ["list", "--json"], ["show", "byenv"], ["show", "byfile", "--json"]):
        said += ready.ok("datastore", *command)
    assert SECRET not in said
    assert json.loads(ready.ok("datastore", "show", "byenv", "--json"))["credential"] == "env:THE_KEY"
    assert f"file:{ready.folder}/key.txt" in said
    assert SECRET not in (ready.folder / ".moorage/datastores.toml").read_text()
    toml = '[datastores.kept]\nurl = "{}"\n[datastores.kept.credential]\nkind = "key"\nsecret = "{}"\n'
    (ready.folder / ".moorage/datastores.toml").write_text(toml.format(url, SECRET))
    for command in (["list"], ["list", "--json"], ["show", "kept"], ["show", "kept", "--json"]):
        shown = ready.ok("datastore", *command)
        assert "key (kept)" in shown
        assert SECRET not in shown


def test_a_download_never_replaces_a_file_that_differs_unless_told(ready: Shell) -> None:
    ready.ok("dataset", "register", "wd", "data/wd")
    make_tree(ready.folder / "got", {"a.bin": 3})
    assert "a.bin" in ready.fails(3, "dataset", "download", "wd", "got")
    assert [each.name for each in (ready.folder / "got").iterdir()] == ["a.bin"]
    ready.ok("dataset", "download", "wd", "got", "--overwrite")
    assert (ready.folder / "got/a.bin").stat().st_size == 100


@pytest.mark.fuse
def test_a_mounted_dataset_stays_until_it_is_unmounted(ready: Shell) -> None:
    reason = client.why_no_fuse()
    if reason is not None:
        pytest.skip(reason)
    ready.ok("dataset", "register", "wd", "data/wd")
    place = ready.folder / "mnt"
    said = ready.ok("dataset", "mount", "wd", "mnt")
    try:
        assert "wd is mounted on mnt; end it with: mountd unmount mnt" in said
        assert (place / "sub/b.bin").read_bytes() == content("wd/sub/b.bin", 0, 5000)
        assert "mnt" in ready.fails(6, "dataset", "mount", "wd", "mnt")
    finally:
        client.stop(place)
    assert list(place.iterdir()) == []


def test_a_mount_becomes_a_download_where_no_mount_can_be_made(ready: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    ready.ok("dataset", "register", "wd", "data/wd")
    monkeypatch.setattr(client, "why_no_fuse", lambda: "no /dev/fuse here")
    code, _, said = ready.run("dataset", "mount", "wd", "mnt")
    assert (code, said) == (0, "moorage: downloading to mnt instead of mounting: no /dev/fuse here\n")
    assert (ready.folder / "mnt/a.bin").read_bytes() == content("wd/a.bin", 0, 100)


class TestErrorsInOnePlace:
    @pytest.fixture
    def broken(self, monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
        """A command `broken` that raises what the test puts in the list."""
        raises: list[BaseException] = []

        @click.command()
        def broken() -> None:
            raise raises[0]

        monkeypatch.setattr(cli, "broken", broken, raising=False)
        monkeypatch.setitem(cli.moorage._lazy, "broken", ("runtime.cli:broken", "For the test."))
        return raises

    def test_a_defect_is_one_line_and_70_and_its_trace_needs_debug(
        self, broken: list[BaseException], capsys: pytest.CaptureFixture[str]
    ) -> None:
        broken.append(ZeroDivisionError("one\ntwo"))
        assert call(["broken"]) == 70
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert "a defect in Moorage (ZeroDivisionError: one two)" in said
        assert call(["--debug", "broken"]) == 70
        assert "Traceback" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("error", "exit_code", "said"),
        [
            (KeyboardInterrupt(), 130, "\nmoorage: interrupted\n"),
            (PermissionError(13, "Permission denied", "/x"), 5, "moorage: /x: Permission denied\n"),
            (FileNotFoundError(2, "No such file or directory", "/x"), 4, "moorage: /x: No such file or directory\n"),
            (OSError(28, "No space left on device", "/x"), 3, "moorage: /x: No space left on device\n"),
            (OSError(28, "No space left on device"), 3, "moorage: the machine refuses: No space left on device\n"),
        ],
    )
    def test_what_the_system_refuses_is_one_line(
        self,
        broken: list[BaseException],
        capsys: pytest.CaptureFixture[str],
        error: BaseException,
        exit_code: int,
        said: str,
    ) -> None:
        broken.append(error)
        assert call(["broken"]) == exit_code
        assert capsys.readouterr().err == said


def test_help_lists_every_command_without_importing_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.import_module", lambda name: pytest.fail(f"imported {name}"))
    shown = CliRunner().invoke(cli.moorage, ["--help"], obj=Invocation()).output
    assert all(f"  {name} " in shown for name in ("init", "datastore", "dataset", "run", "runs"))


def test_the_version_is_said(shell: Shell) -> None:
    assert shell.ok("--version").startswith("moorage, version ")


def test_the_command_leaves_with_the_code_and_the_line(ready: Shell) -> None:
    done = subprocess.run([*_MAIN, "dataset", "show", "nothing"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.startswith(f"moorage: no dataset 'nothing' in {ready.folder}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&- >&- 2>&-"])
def test_commands_work_with_their_standard_streams_closed(ready: Shell, closed: str) -> None:
    ready.ok("dataset", "register", "wd", "data/wd")
    main = shlex.join(_MAIN)
    for words, code in (("dataset list", 0), ("run -- sh -c 'echo told; exit 3'", 3)):
        assert subprocess.run(["sh", "-c", f"{main} {words} {closed}"], check=False).returncode == code
    logs = [path.read_text() for path in (ready.folder / ".moorage/runs").glob("*/user_logs/std_log.txt")]
    assert logs == ["told\n"]


@pytest.mark.usefixtures("ready")
def test_a_reader_that_goes_away_is_no_traceback() -> None:
    other = subprocess.Popen([*_MAIN, "datastore", "list", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with other:
        assert other.stdout is not None
        assert other.stderr is not None
        other.stdout.close()
        assert other.stderr.read() == b""
    assert other.returncode == 1  # as click has it
