"""Real mounts in tests, and the proof that none is left."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mountd import client
from mountd.freeze import FreezeSource, freeze
from mountd.fuse import mounting
from mountd.stores.credentials import Credential
from mountd.stores.registry import file_url
from tests.support.waiting import until

# What a mount point, or a folder on the way to it, may be called: blanks, octal escapes, every kind of line break, bytes.
ODD_NAMES = [
    " a, b ",
    "back\\slash \\040 #",
    "new\nline\r\x0b\x0c",
    "\x85\u2028 \u00fc \U0001f6a2",
    "bytes \udcff",
    "-o",
    "?#%20",
]


@contextmanager
def mounted(
    folder: Path, source: Path | str, credential: Credential | None = None, **settings: str
) -> Iterator[client.Mount]:
    """Freeze `source` (a folder or URL) and mount it below `folder`; the mount is ended and nothing may be left."""
    url = source if isinstance(source, str) else file_url(source)
    manifest = folder / "manifest"
    freeze([FreezeSource(url, credential)], manifest)
    settings = {"cache_dir": str(folder / "cache"), **settings}
    credentials = {url: credential} if credential else {}
    mount = client.start(
        manifest, folder / "mnt", source=url, credentials=credentials, settings=settings, lifeline=True
    )
    with mount:
        yield mount
    assert mounting.find(folder / "mnt") is None
    until(lambda: not is_running(mount.pid), what="the end of the worker")


def mounts_below(folder: Path) -> set[Path]:
    """Every mount point of ours below `folder`, by this machine's table."""
    ours = (entry.mountpoint for entry in mounting.mounts() if entry.fs_type == mounting.FS_TYPE)
    return {mountpoint for mountpoint in ours if mountpoint.is_relative_to(folder)}


def is_running(pid: int) -> bool:
    """True if a process has this number and has not ended; one that nobody has waited for yet has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
