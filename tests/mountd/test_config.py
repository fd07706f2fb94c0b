"""Settings: who wins, what is refused and with which words, and the defaults on small machines."""

import os
import shutil
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from mountd import config, defaults
from mountd.cgroup import cgroup_limit
from mountd.config import FIELDS, Settings, click_options, describe, load, texts
from mountd.errors import BadInputError, MountdError, NotFoundError

GIB = 2**30
MIB = 2**20


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose /etc file is in the test's own folder; a user without any setting."""
    for field in FIELDS:
        monkeypatch.delenv(field.variable, raising=False)
    monkeypatch.setattr(config, "_MACHINE_FILE", tmp_path / "etc.toml")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    (tmp_path / "xdg" / "moorage").mkdir(parents=True)
    return tmp_path


def user_file(machine: Path, text: str) -> Path:
    path = machine / "xdg" / "moorage" / "config.toml"
    path.write_text(text)
    return path


def test_the_table_and_the_settings_tell_one_story() -> None:
    assert [field.attribute for field in FIELDS] == [field.name for field in fields(Settings)]
    assert all(field.help.endswith(".") for field in FIELDS)


def test_each_place_beats_the_one_below_it(machine: Path) -> None:
    places: list[tuple[str, int]] = []
    (machine / "etc.toml").write_text('memory = "11MiB"')
    loaded = load(environ=os.environ)
    places.append((loaded.origins["memory"], loaded.settings.memory_bytes))
    path = user_file(machine, 'memory = "12MiB"')
    loaded = load(environ=os.environ)
    places.append((loaded.origins["memory"], loaded.settings.memory_bytes))
    environ = {**os.environ, "MOORAGE_MEMORY": "13MiB"}
    loaded = load(environ=environ)
    places.append((loaded.origins["memory"], loaded.settings.memory_bytes))
    loaded = load({"memory": "14MiB"}, environ)
    places.append((loaded.origins["memory"], loaded.settings.memory_bytes))
    assert places == [
        (str(machine / "etc.toml"), 11 * MIB),
        (str(path), 12 * MIB),
        ("MOORAGE_MEMORY", 13 * MIB),
        ("--memory", 14 * MIB),
    ]


def test_unset_is_none_and_an_empty_variable_is_unset() -> None:
    loaded = load({"memory": None, "cache": None}, {**os.environ, "MOORAGE_CACHE": ""})
    assert loaded.settings.cache == "auto"
    assert set(loaded.origins.values()) == {"default"}


def test_a_value_asked_for_that_equals_the_default_is_still_told_as_asked_for() -> None:
    assert load({"cache": "auto"}).origins["cache"] == "--cache"


def test_toml_values_may_be_numbers_and_booleans(machine: Path) -> None:
    user_file(machine, "memory = 33554432\nread_deadline = 2.5\nallow_other = true\n")
    found = load(environ=os.environ).settings
    assert (found.memory_bytes, found.read_deadline_s, found.allow_other) == (32 * MIB, 2.5, True)


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ('cache_sise = "1GiB"', "no setting is called 'cache_sise'; did you mean 'cache_size'?"),
        ('cache-size = "1GiB"', "no setting is called 'cache-size'; did you mean 'cache_size'?"),
        ("zzz = 1", "no setting is called 'zzz'; known: cache_dir, cache_size"),
        ('memory = "lots"', "memory: 'lots' is not a size"),
        ('memory = ["1GiB"]', "memory: a list stands where one value is due"),
        ("memory = true", "memory: 'true' is not a size"),
        ("memory = 1", "memory: '1' is 1 B, and must be between 4 MiB"),
        ("memory = ", "not valid TOML"),
        ("[mount]\nmemory = 1", "no setting is called 'mount'"),
    ],
)
def test_a_wrong_file_is_one_line_that_names_it(machine: Path, written: str, told: str) -> None:
    path = user_file(machine, written)
    with pytest.raises(BadInputError) as caught:
        load(environ=os.environ)
    assert str(caught.value).startswith(f"{path}: ")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text_is_said(machine: Path) -> None:
    user_file(machine, "").write_bytes(b"memory = '\xff'")
    with pytest.raises(BadInputError, match="not valid TOML"):
        load(environ=os.environ)


def test_a_file_named_but_missing_is_an_error_and_one_named_replaces_the_usual_ones(machine: Path) -> None:
    user_file(machine, "nonsense = 1")
    with pytest.raises(NotFoundError, match="no such configuration file"):
        load(environ=os.environ, toml=machine / "mine.toml")
    (machine / "mine.toml").write_text('cache = "off"')
    assert load(environ=os.environ, toml=machine / "mine.toml").settings.cache == "off"


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("cache_size", "10 gigs", "'10 gigs' is not a size"),
        ("cache", "sometimes", "'sometimes' is none of auto, always, off"),
        ("read_deadline", "0", "'0' is 0s, and must be between 1s and 24h"),
        ("read_ahead", "1TiB", "'1TiB' is 1 TiB, and must be between 4 KiB and 64 MiB"),
        ("driver", "libfuse", "'libfuse' is none of native, pyfuse3"),
        ("allow_other", "maybe", "'maybe' is neither true nor false"),
        ("cache_dir", " ", "' ' is not a folder"),
        ("metrics_port", "65536", "'65536' is no port; write a number between 1 and 65535"),
        ("metrics_port", "\u0663", "is no port"),
        ("metrics_file", " ", "' ' is not a file"),
        ("log_format", "xml", "'xml' is none of auto, text, json, journal"),
        ("cache_dir", "~nobody-here/x", "is not a folder that can be found"),
    ],
)
def test_a_wrong_value_names_its_flag_or_variable(name: str, text: str, told: str) -> None:
    with pytest.raises(BadInputError, match=told) as flag:
        load({name: text})
    with pytest.raises(BadInputError, match=told) as variable:
        load(environ={**os.environ, f"MOORAGE_{name.upper()}": text})
    assert str(flag.value).startswith(f"--{name.replace('_', '-')}: ")
    assert str(variable.value).startswith(f"MOORAGE_{name.upper()}: ")


@settings(deadline=None)  # it asks the file system
@given(st.dictionaries(st.sampled_from([field.name for field in FIELDS]), st.text(max_size=20)))
def test_whatever_is_typed_gives_settings_or_one_of_our_errors(flags: dict[str, str]) -> None:
    caught = None
    try:
        loaded = load({"cache_size": "0", **flags}, {"HOME": "/nowhere"})
    except MountdError as error:
        caught = error
    else:
        assert isinstance(loaded.settings, Settings)
    assert caught is None or str(caught).startswith("--")


def test_settings_cross_to_another_process_unchanged(machine: Path) -> None:
    flags = {
        "cache_dir": str(machine / "c"),
        "read_deadline": "1.3333333m",
        "cache_size": "123456789",
        "allow_other": "yes",
        "metrics_port": "9400",
        "metrics_file": str(machine / "m.prom"),
        "log_format": "json",
    }
    sent = load(flags).settings
    assert load(texts(sent), {"MOORAGE_MEMORY": "5MiB", "MOORAGE_CACHE": "off"}).settings == sent


def test_a_relative_folder_is_settled_where_it_was_typed(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(machine)
    assert load({"cache_dir": "mine"}).settings.cache_dir == machine / "mine"


def test_described_are_value_origin_and_help() -> None:
    rows = {row[0]: row[1:] for row in describe(load({"memory": "64MiB"}))}
    assert rows["memory"][:2] == ("64 MiB", "--memory")
    assert rows["read_deadline"][:2] == ("60s", "default")
    assert all(help_text for _, _, help_text in rows.values())


def test_the_flags_of_a_command_come_from_the_table() -> None:
    @click.command()
    @click_options
    def command(**flags: str | None) -> None:
        click.echo(repr({name: value for name, value in flags.items() if value is not None}))
        assert set(flags) == {field.name for field in FIELDS}

    runner = CliRunner()
    assert runner.invoke(command, []).output == "{}\n"
    given = runner.invoke(command, ["--cache-size", "1GiB", "--allow-other"]).output
    assert given == "{'cache_size': '1GiB', 'allow_other': 'true'}\n"
    shown = runner.invoke(command, ["--help"]).output
    for field in FIELDS:
        assert field.flag in shown
        assert field.variable in shown


class TestDefaults:
    def test_a_plain_user_caches_below_the_home_and_root_in_var(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 0, raising=False)
        assert load(environ={}).settings.cache_dir == Path("/var/cache/moorage")
        monkeypatch.setattr(os, "geteuid", lambda: 1000, raising=False)
        assert load(environ={"HOME": "/h"}).settings.cache_dir == Path("/h/.cache/moorage")
        assert load(environ={"HOME": "/h", "XDG_CACHE_HOME": "/c"}).settings.cache_dir == Path("/c/moorage")
        assert load(environ={"HOME": "/h", "XDG_CACHE_HOME": "c"}).settings.cache_dir == Path("/h/.cache/moorage")

    def test_a_machine_without_user_ids_has_defaults_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(os, "geteuid", raising=False)
        assert load(environ={"HOME": "/h"}).settings.cache_dir == Path("/h/.cache/moorage")

    @pytest.mark.parametrize(
        ("total", "free", "expected"),
        [
            (100 * GIB, 80 * GIB, 40 * GIB),
            (4000 * GIB, 3000 * GIB, 200 * GIB),
            (100 * GIB, 6 * GIB, 1 * GIB),  # 5 GiB must stay
            (10 * GIB, GIB, 0),
        ],
    )
    def test_half_of_what_is_free_but_never_the_last_of_it(
        self, machine: Path, monkeypatch: pytest.MonkeyPatch, total: int, free: int, expected: int
    ) -> None:
        disk = shutil.disk_usage(machine)._replace(total=total, free=free)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: disk)
        assert load({"cache_dir": str(machine / "c")}).settings.cache_size_bytes == expected

    def test_what_the_cache_holds_already_counts_as_free(self, machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (machine / "c" / "deep").mkdir(parents=True)
        (machine / "c" / "deep" / "extent").write_bytes(bytes(MIB))
        disk = shutil.disk_usage(machine)._replace(total=100 * GIB, free=50 * GIB)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: disk)
        assert load({"cache_dir": str(machine / "c")}).settings.cache_size_bytes == (50 * GIB + MIB) // 2

    def test_memory_is_a_quarter_of_the_containers_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        memory = []
        for limit in (None, 64 * GIB, 400 * MIB, MIB):
            monkeypatch.setattr(defaults, "cgroup_limit", lambda limit=limit: limit)
            memory.append(load().settings.memory_bytes)
        assert memory == [256 * MIB, 256 * MIB, 100 * MIB, 4 * MIB]


class TestCgroups:
    """The files of /proc and the hierarchies, made by hand."""

    def test_v2_the_smallest_of_the_group_and_its_ancestors(self, tmp_path: Path) -> None:
        root = tmp_path / "cgroup with space"
        (root / "a" / "b").mkdir(parents=True)
        (root / "a" / "memory.max").write_text("1000\n")
        (root / "a" / "b" / "memory.max").write_text("max\n")
        proc = self.proc(tmp_path, "0::/a/b", f"30 1 0:1 / {self.escaped(root)} rw - cgroup2 cgroup rw")
        assert cgroup_limit(proc) == 1000

    def test_v1_by_the_memory_controller_only(self, tmp_path: Path) -> None:
        for name, limit in (("memory", "2000"), ("cpu", "1")):
            (tmp_path / name / "job").mkdir(parents=True)
            (tmp_path / name / "job" / "memory.limit_in_bytes").write_text(limit)
            (tmp_path / name / "memory.limit_in_bytes").write_text("9223372036854771712")
        mounts = "\n".join(f"3 1 0:1 / {tmp_path / name} rw - cgroup cgroup rw,{name}" for name in ("cpu", "memory"))
        assert cgroup_limit(self.proc(tmp_path, "5:memory:/job\n4:cpu:/job\n0::/", mounts)) == 2000

    def test_in_a_container_the_host_part_of_the_path_is_not_to_be_seen(self, tmp_path: Path) -> None:
        root = tmp_path / "cg"
        (root / "inner").mkdir(parents=True)
        (root / "memory.max").write_text("3000")
        mount = f"30 1 0:1 /docker/abc {root} rw - cgroup2 cgroup rw"
        assert cgroup_limit(self.proc(tmp_path, "0::/docker/abc/inner", mount)) == 3000
        assert cgroup_limit(self.proc(tmp_path, "0::/../elsewhere", mount)) == 3000

    def test_no_limit_and_no_proc_are_none(self, tmp_path: Path) -> None:
        (tmp_path / "cg").mkdir()
        proc = self.proc(tmp_path, "0::/", f"30 1 0:1 / {tmp_path / 'cg'} rw - cgroup2 cgroup rw")
        assert cgroup_limit(proc) is None
        assert cgroup_limit(tmp_path / "nothing") is None

    @staticmethod
    def proc(folder: Path, groups: str, mounts: str) -> Path:
        (folder / "proc").mkdir(exist_ok=True)
        (folder / "proc" / "cgroup").write_text(groups + "\n")
        odd = "2 1 0:9 / /line\u2028breaks\x85of\rothers\udcff rw - tmpfs none rw"
        table = f"1 0 8:1 / / rw shared:1 - ext4 /dev/sda rw\n{odd}\n{mounts}\n"
        (folder / "proc" / "mountinfo").write_bytes(os.fsencode(table))
        return folder / "proc"

    @staticmethod
    def escaped(path: Path) -> str:
        return str(path).replace(" ", "\\040")


def test_a_negative_cache_size_leaves_so_much_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=100 * GIB, used=70 * GIB, free=30 * GIB))
    told = {"cache_dir": str(tmp_path / "made/later"), "cache_size": "-20GiB"}
    assert load(told).settings.cache_size_bytes == 10 * GIB
    assert load(texts(load(told).settings)).settings.cache_size_bytes == 10 * GIB
    assert load(told | {"cache_size": "-31GiB"}).settings.cache_size_bytes == 0
    with pytest.raises(BadInputError, match="not a size"):
        load({"cache_size": "--1"})


@pytest.mark.warns
def test_a_variable_that_is_almost_ours_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        load(environ={"HOME": "/nowhere", "MOORAGE_CACHE_DIRS": "/x", "MOORAGE_WORKSPACE": "/x", "MOORAGE_RUN_ID": "x"})
    told = "MOORAGE_CACHE_DIRS is set, and no setting is called so; did you mean MOORAGE_CACHE_DIR?"
    assert [record.getMessage() for record in caplog.records] == [told]
