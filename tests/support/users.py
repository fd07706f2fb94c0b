"""Being a user who is not root, in a test that root may run.

Root becomes such a user: in a mount namespace of its own with a device that everybody may open, and under another uid. That
uid keeps CAP_DAC_READ_SEARCH, because the interpreter may lie below /root; it gives no right to mount or to trace.
"""

import os
import tempfile
from pathlib import Path

import pytest

from mountd.fuse import mounting

#: For tests whose means only root has: namespaces, bounding sets, other roots. Others skip them, which is no failure.
root_only = pytest.mark.skipif(
    os.geteuid() != 0 or mounting.why_not() is not None, reason="needs root, and /dev/fuse with the right to mount"
)
NOBODY = 65534
_BECOME = """
set -eu
if [ -e /dev/fuse ]; then
    mknod -m 666 "$FOLDER/device" c 10 229
    mount --bind "$FOLDER/device" /dev/fuse
fi
cd "$HOME"
exec setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps +dac_read_search --ambient-caps +dac_read_search "$@"
"""


def uid() -> int:
    """The uid that `as_another_user` runs as."""
    return NOBODY if os.geteuid() == 0 else os.geteuid()


def as_another_user(command: list[str], folder: Path) -> tuple[list[str], dict[str, str]]:
    """(`command` as a user who is not root, the variables it needs): its home, and where it starts, is `folder`/home."""
    home = folder / "home"
    home.mkdir()
    variables = {"FOLDER": str(folder), "HOME": str(home), "TMPDIR": str(home)}
    if os.geteuid() != 0:
        return ["bash", "-c", 'cd "$HOME"; exec "$@"', "as", *command], variables
    root = Path(tempfile.gettempdir())
    for each in (folder, *folder.parents):
        if each.is_relative_to(root) and each != root:
            each.chmod(0o755)
    os.chown(home, NOBODY, NOBODY)
    return ["unshare", "-m", "--propagation", "private", "bash", "-c", _BECOME, "become", *command], variables
