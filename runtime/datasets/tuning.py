"""v1's environment variables for mounts and downloads, as settings of ours: one table.

A variable has a setting, or it has no meaning here and the table says why; both are in docs/azureml-v1.md. Our own
MOORAGE_* variable of a setting wins over v1's. A name that looks like one of v1's, and is none, is told once.

Pure but for that line: a mount is made by whoever asks for the settings.
"""

import difflib
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypedDict

from runtime.errors import UserErrorException

_LOG = logging.getLogger(__name__)
_FAMILIES: Final = ("DATASET_MOUNT_", "DATASET_FUSE_", "DATASET_UNMOUNT_", "RSLEX_")
_RETIRED: Final = "RSLEX_ADLSGEN1_"  # of a service that is no more
_OWN: Final = "MOORAGE_"
_LEAST_MEMORY: Final = 4 << 20
_READ_AHEAD: Final = (4 << 10, 64 << 20)
_BATCH_EXTRA: Final = 100 << 20  # v1 keeps so much free beside what Batch reserves
_UNMOUNT_S: Final = 30.0
_said: set[str] = set()


class DownloadOptions(TypedDict, total=False):
    """What `mountd.download.download` takes of this."""

    threads: int


@dataclass(frozen=True, slots=True)
class Variable:
    """One of v1's variables: `setting` is mountd's, '' where there is none; `read` gives its text, None for no effect."""

    name: str
    meaning: str
    setting: str = ""
    read: Callable[[str], str | None] = str


def settings(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The settings of a mount that v1's variables ask for; the first in the table counts.

    Raises:
        UserErrorException: a value that cannot be used; names the variable.
    """
    _tell_unknown(environ)
    found: dict[str, str] = {}
    for variable in VARIABLES:
        text = environ.get(variable.name, "").strip()
        if text and variable.setting and not environ.get(_OWN + variable.setting.upper()):
            value = _read(variable, text)
            if value is not None:
                found.setdefault(variable.setting, value)
    return found


def unmount_timeout_s(environ: Mapping[str, str] = os.environ) -> float:
    """How long the end of a mount waits for it to be idle."""
    text = environ.get(UNMOUNT, "").strip()
    return _number(UNMOUNT, text) if text else _UNMOUNT_S


def download(environ: Mapping[str, str] = os.environ) -> DownloadOptions:
    """What a download takes."""
    text = environ.get(THREADS, "").strip()
    return {"threads": max(1, min(_MOST_THREADS, int(_number(THREADS, text))))} if text else {}


def _read(variable: Variable, text: str) -> str | None:
    try:
        return variable.read(text)
    except UserErrorException as error:
        raise UserErrorException(f"{variable.name}: {error}") from None


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise UserErrorException(f"{name}: {text!r} is no number of 0 or more")
    return value


def _cache_size(text: str) -> str | None:
    return None if text.lower() == "unlimited" else str(_sized(text))


def _sized(text: str) -> int:
    from mountd.errors import BadInputError
    from mountd.units import parse_size

    try:
        return -parse_size(text[1:]) if text.startswith("-") else parse_size(text)
    except BadInputError as error:
        raise UserErrorException(str(error)) from None


def _kept_free(text: str) -> str:
    return f"-{abs(_sized(text))}"


def _kept_by_batch(text: str) -> str:
    return f"-{abs(_sized(text)) + _BATCH_EXTRA}"


def _memory(text: str) -> str | None:
    size = _sized(text)
    return str(max(size, _LEAST_MEMORY)) if size > 0 else None


def _read_ahead(text: str) -> str:
    return str(min(max(_sized(text), _READ_AHEAD[0]), _READ_AHEAD[1]))


def _disk_cache(text: str) -> str | None:
    return "off" if text.lower() in {"false", "0", "no", "off"} else None


def _tell_unknown(environ: Mapping[str, str]) -> None:
    known = {variable.name for variable in VARIABLES}
    for name in sorted(environ.keys() - known - _said):
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.85) if name.startswith("DATASET_") else []
        if near or (name.startswith(_FAMILIES) and not name.startswith(_RETIRED)):
            _said.add(name)
            hint = f"did you mean {near[0]}?" if near else "docs/azureml-v1.md lists what is known"
            _LOG.warning("%s is set, and no variable of v1 is called so; %s", name, hint)


UNMOUNT: Final = "DATASET_UNMOUNT_TIMEOUT_SECONDS"
THREADS: Final = "RSLEX_DOWNLOADER_THREADS"
_MOST_THREADS: Final = 128
_FROZEN = "what is frozen does not change, so it is never asked again"
_OWN_PACE = "how much is asked for at once is found out from the reads"
_TRIMMED = "the cache is trimmed between watermarks of its own"
_LOGS = "see `mountd --help` for logs and metrics"
_BY_TIME = "a read is bounded by its time (MOORAGE_READ_DEADLINE), not by a number of attempts"
_V1_ONLY = "a switch for the inside of v1's own program"

VARIABLES: Final = (
    Variable(
        "DATASET_MOUNT_CACHE_SIZE", "most bytes of the cache; negative: leave so much free", "cache_size", _cache_size
    ),
    Variable(
        "DATASET_RESERVED_FREE_DISK_SPACE", "leave so much free, if no cache size is said", "cache_size", _kept_free
    ),
    Variable("AZ_BATCH_RESERVED_DISK_SPACE_BYTES", "the same, and 100 MiB more", "cache_size", _kept_by_batch),
    Variable("DATASET_MOUNT_MEMORY_CACHE_SIZE", "memory for data on its way; 0 has no effect", "memory", _memory),
    Variable("DATASET_MOUNT_BLOCK_FILE_CACHE_ENABLED", "false: nothing is kept on disk", "cache", _disk_cache),
    Variable("DATASET_FUSE_MAX_READAHEAD", "the kernel's read-ahead (set by root only)", "read_ahead", _read_ahead),
    Variable(UNMOUNT, "how long the end of a mount waits for its readers"),
    Variable(THREADS, f"threads of a download, at most {_MOST_THREADS}"),
    *(Variable(name, _FROZEN) for name in ("DATASET_MOUNT_ATTRIBUTE_CACHE_TTL", "DATASET_FUSE_CACHE_TIMEOUT")),
    *(
        Variable(name, _TRIMMED)
        for name in (
            "DATASET_MOUNT_FILE_CACHE_PRUNE_THRESHOLD",
            "DATASET_MOUNT_FILE_CACHE_PRUNE_TARGET",
            "DATASET_MOUNT_CACHE_PRUNE_FILE_GROWTH_THRESHOLD",
        )
    ),
    *(
        Variable(name, _OWN_PACE)
        for name in (
            "DATASET_MOUNT_READ_BLOCK_SIZE",
            "DATASET_MOUNT_READ_BUFFER_BLOCK_COUNT",
            "DATASET_MOUNT_READ_THREADS",
            "DATASET_MOUNT_BLOCK_BASED_CACHE_ENABLED",
            "DATASET_MOUNT_BLOCK_FILE_CACHE_MAX_QUEUE_SIZE",
            "DATASET_MOUNT_BLOCK_FILE_CACHE_WRITE_THREADS",
            "DATASET_USE_MAX_BACKGROUND_THREADS",
            "RSLEX_DIRECT_VOLUME_MOUNT_DOWNLOADER_BLOCK_SIZE",
            "RSLEX_STREAM_COPIER_BLOCK_SIZE",
            "RSLEX_THREAD_COUNT",
            "RSLEX_DNS_RESOLUTION_CONCURRENCY",
        )
    ),
    *(
        Variable(name, _BY_TIME)
        for name in (
            "AZUREML_DATASET_HTTP_RETRY_COUNT",
            "AZUREML_DATASET_DNS_ERROR_RETRY_COUNT",
            "DATASET_REQUEST_TIMEOUT_OVERRIDE",
            "DATASET_SLOW_REQUEST_BOUNDARY",
            "RSLEX_RETRY_ON_COPY_ERROR",
        )
    ),
    *(
        Variable(name, _LOGS)
        for name in ("RSLEX_LOG_STDOUT", "RSLEX_LOG_SENSITIVE_INFO", "DATASET_METRICS_PUSH_INTERVAL")
    ),
    *(
        Variable(name, _V1_ONLY)
        for name in (
            "DATASET_RSLEX_UPLOAD",
            "DATASET_USE_SINGULARITY_CACHE",
            "DATASET_BASE_PATH_LEGACY",
            "DATASET_CHECK_FOR_DNS_REBOUND_ATTACK",
            "RSLEX_BLOCK_BLOB_CREATE_WITH_OVERWRITE",
            "RSLEX_SKIP_PATH_VALIDATION",
            "RSLEX_ENABLE_CLEANUP_AFTER_UNMOUNT",
            "RSLEX_ENABLE_RESOURCE_TRACKER",
            "RSLEX_ENABLE_RESOURCE_TRACKER_INTERVAL",
            "RSLEX_ENABLE_RESOURCE_TRACKER_FOR_ALL",
        )
    ),
)
