"""The settings: one table of fields that becomes flags, environment variables, TOML keys, help and `mountd config`.

A value comes from the first place that has one: flag, environment variable MOORAGE_<NAME>, the user's file
($XDG_CONFIG_HOME/moorage/config.toml), the machine's file (/etc/moorage/config.toml), the default. Everywhere it is the
same text with the same meaning. Unset is None (an empty variable is unset), so a default never hides what was asked for.

Invariants: a wrong value names the flag, variable or file it came from; a key that no field has is an error with the
nearest name; nothing here opens, makes or locks anything.
"""

import difflib
import logging
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from mountd import defaults, parsing
from mountd.errors import BadInputError, NotFoundError
from mountd.log import LogFormat
from mountd.units import format_duration, format_size

CacheMode = Literal["auto", "always", "off"]
DriverName = Literal["native", "pyfuse3"]
FsyncMode = Literal["local", "remote"]
_Function = TypeVar("_Function", bound=Callable[..., Any])

_KIB: Final = 1024
_MIB: Final = 1024 * _KIB
_GIB: Final = 1024 * _MIB
_MACHINE_FILE: Final = Path("/etc/moorage/config.toml")
DEFAULT: Final = "default"
_LOG = logging.getLogger(__name__)
_told: set[str] = set()


@dataclass(frozen=True, slots=True)
class Settings:
    """How a mount behaves; every field has a value."""

    cache_dir: Path
    cache_size_bytes: int
    memory_bytes: int
    cache: CacheMode
    read_deadline_s: float
    read_ahead_bytes: int
    allow_other: bool
    driver: DriverName
    metrics_port: int | None
    metrics_file: Path | None
    log_format: LogFormat
    verify_wire: bool
    spool_dir: Path
    spool_size_bytes: int
    settle_s: float
    fsync: FsyncMode


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings and, for each name, where its value came from: a flag, a variable, a file, or 'default'."""

    settings: Settings
    origins: dict[str, str]


@dataclass(frozen=True, slots=True)
class Field:
    """One setting: its name as users know it, the attribute of `Settings`, and how to read, show and default it."""

    name: str
    attribute: str
    help: str
    parse: Callable[[str], Any]
    show: Callable[[Any], str]
    default: Callable[[Mapping[str, str], Mapping[str, Any]], Any]
    metavar: str | None = None

    @property
    def flag(self) -> str:
        """The option on a command line; without a metavar it takes no value."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """The environment variable."""
        return "MOORAGE_" + self.name.upper()


def load(
    flags: Mapping[str, str | None] | None = None,
    environ: Mapping[str, str] = os.environ,
    toml: Path | None = None,
) -> Loaded:
    """Settle every setting; `flags` maps names of fields to what was typed, `toml` replaces the two usual files.

    Raises:
        BadInputError: a value that cannot be used, or an unknown name; says where it stands.
        NotFoundError: the file `toml` is not there.
    """
    given = dict(_given(flags or {}, environ, toml))
    values: dict[str, Any] = {}
    for field in FIELDS:
        if field.name in given:
            origin, text = given[field.name]
            values[field.attribute] = _parsed(field, text, origin)
        else:
            values[field.attribute] = field.default(environ, values)
    if values["cache_size_bytes"] < 0:
        values["cache_size_bytes"] = defaults.room(values["cache_dir"], -values["cache_size_bytes"])
    origins = {field.name: given[field.name][0] if field.name in given else DEFAULT for field in FIELDS}
    return Loaded(Settings(**values), origins)


def texts(settings: Settings) -> dict[str, str]:
    """`settings` as `flags` for `load` in another process; exact, whatever that process's environment says."""
    exact = {field.attribute: getattr(settings, field.attribute) for field in FIELDS}
    return {field.name: _exact(exact[field.attribute]) for field in FIELDS}


def describe(loaded: Loaded) -> list[tuple[str, str, str, str]]:
    """Rows for `mountd config`: name, value, where it came from, help."""
    shown = [(field, getattr(loaded.settings, field.attribute)) for field in FIELDS]
    return [(field.name, field.show(value), loaded.origins[field.name], field.help) for field, value in shown]


def click_options(function: _Function) -> _Function:
    """Give a click command one option for each field; the command gets `str | None` under each field's name."""
    import click

    for field in reversed(FIELDS):
        shape: dict[str, Any] = {"metavar": field.metavar} if field.metavar else {"is_flag": True, "flag_value": "true"}
        text = f"{field.help} [environment: {field.variable}]"
        function = click.option(field.flag, field.name, type=str, default=None, help=text, **shape)(function)
    return function


def _given(
    flags: Mapping[str, str | None], environ: Mapping[str, str], toml: Path | None
) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield (name, (origin, text)) from the weakest place to the strongest."""
    for path in [toml] if toml else reversed(_files(environ)):
        for name, text in _read_toml(path, required=toml is not None).items():
            yield name, (str(path), text)
    _tell_unknown(environ)
    for field in FIELDS:
        if text := environ.get(field.variable, ""):
            yield field.name, (field.variable, text)
    for name, typed in flags.items():
        if typed is not None:
            yield name, (_field(name, "settings").flag, typed)


def _tell_unknown(environ: Mapping[str, str]) -> None:
    """Name, once, each variable that is almost one of ours: those of others that begin alike are their business."""
    known = [field.variable for field in FIELDS]
    for name in sorted(environ.keys() - set(known) - _told):
        if name.startswith("MOORAGE_") and (near := difflib.get_close_matches(name, known, n=1, cutoff=0.85)):
            _told.add(name)
            _LOG.warning("%s is set, and no setting is called so; did you mean %s?", name, near[0])


def _files(environ: Mapping[str, str]) -> list[Path]:
    folder = defaults.home(environ, "XDG_CONFIG_HOME", ".config")
    return [*([folder / "moorage" / "config.toml"] if folder else []), _MACHINE_FILE]


def _read_toml(path: Path, *, required: bool) -> dict[str, str]:
    try:
        with path.open("rb") as stream:
            table = tomllib.load(stream)
    except FileNotFoundError:
        if required:
            raise NotFoundError(f"{path}: no such configuration file") from None
        return {}
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read ({error.strerror}); make it readable or remove it") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path}: not valid TOML: {error}") from None
    return {_field(name, str(path)).name: _toml_text(name, value, path) for name, value in table.items()}


def _toml_text(name: str, value: object, path: Path) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise BadInputError(f"{path}: {name}: a {type(value).__name__} stands where one value is due")


def _field(name: str, origin: str) -> Field:
    by_name = {field.name: field for field in FIELDS}
    if name in by_name:
        return by_name[name]
    near = difflib.get_close_matches(name.lower().replace("-", "_"), by_name, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(by_name)}"
    raise BadInputError(f"{origin}: no setting is called {name!r}; {hint}")


def _parsed(field: Field, text: str, origin: str) -> Any:
    where = origin if origin in {field.flag, field.variable} else f"{origin}: {field.name}"
    try:
        return field.parse(text)
    except BadInputError as error:
        raise BadInputError(f"{where}: {error}") from None


def _exact(value: object) -> str:
    if value is None:
        return parsing.OFF
    return str(value).lower() if isinstance(value, bool) else str(value)


FIELDS: Final = (
    Field("cache_dir", "cache_dir", "Folder of the cache.", parsing.folder, str, defaults.cache_dir, "DIR"),
    Field(
        "cache_size",
        "cache_size_bytes",
        "Most that the cache may hold on disk; -SIZE leaves so much free. Without it half of what is free, at most 200 GiB.",
        parsing.size_or_rest,
        format_size,
        defaults.half_of_the_disk("cache_dir"),
        "SIZE",
    ),
    Field(
        "memory",
        "memory_bytes",
        "Most memory for data on its way; without it 256 MiB or a quarter of the container's limit.",
        parsing.size(defaults.LEAST_MEMORY),
        format_size,
        defaults.memory,
        "SIZE",
    ),
    Field(
        "cache",
        "cache",
        "What is cached: auto (all but local folders), always, off.",
        parsing.choice(CacheMode),
        str,
        lambda _, __: "auto",
        "auto|always|off",
    ),
    Field(
        "read_deadline",
        "read_deadline_s",
        "Longest that one read may take, all attempts together; then the reader gets an error. Without it 60s.",
        parsing.deadline,
        format_duration,
        lambda _, __: 60.0,
        "TIME",
    ),
    Field(
        "read_ahead",
        "read_ahead_bytes",
        "The kernel's read-ahead on the mount (set by root only). Without it 128KiB.",
        parsing.size(4 * _KIB, 64 * _MIB),
        format_size,
        lambda _, __: 128 * _KIB,
        "SIZE",
    ),
    Field("allow_other", "allow_other", "Let other users read the mount.", parsing.truth, _exact, lambda _, __: False),
    Field(
        "driver",
        "driver",
        "What speaks FUSE: native, or pyfuse3, the slower fallback on libfuse (pip install 'moorage[fuse]').",
        parsing.choice(DriverName),
        str,
        lambda _, __: "native",
        "native|pyfuse3",
    ),
    Field(
        "metrics_port",
        "metrics_port",
        "Tell metrics to Prometheus at http://127.0.0.1:PORT/metrics; without it off.",
        parsing.port,
        _exact,
        lambda _, __: None,
        "PORT",
    ),
    Field(
        "metrics_file",
        "metrics_file",
        "Write metrics every 15 s to this file (NAME.prom), for the textfile collector of node_exporter; without it off.",
        parsing.file,
        _exact,
        lambda _, __: None,
        "FILE",
    ),
    Field(
        "log_format",
        "log_format",
        "Form of the log; auto is the journal's where stderr is the journal, else text.",
        parsing.choice(LogFormat),
        str,
        lambda _, __: "auto",
        "auto|text|json|journal",
    ),
    Field(
        "verify_wire",
        "verify_wire",
        "Compare every range of an Azure blob with its MD5 as it comes; slower, at most 4MiB a request.",
        parsing.truth,
        _exact,
        lambda _, __: False,
    ),
    Field(
        "spool_dir",
        "spool_dir",
        "Outputs: folder in which files wait for their upload.",
        parsing.folder,
        str,
        defaults.spool_dir,
        "DIR",
    ),
    Field(
        "spool_size",
        "spool_size_bytes",
        "Outputs: most that may wait there; without it half of what is free, at most 200 GiB.",
        parsing.size(0),
        format_size,
        defaults.half_of_the_disk("spool_dir"),
        "SIZE",
    ),
    Field(
        "settle",
        "settle_s",
        "Outputs: how long a file must have been closed before it is uploaded. Without it 2s.",
        parsing.pause,
        format_duration,
        lambda _, __: 2.0,
        "TIME",
    ),
    Field(
        "fsync",
        "fsync",
        "Outputs: fsync returns when the file is safe on this machine (local) or in the store (remote).",
        parsing.choice(FsyncMode),
        str,
        lambda _, __: "local",
        "local|remote",
    ),
)
