"""A job sees no secret: not in its environment, and not by looking into the processes that hold them."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import users
from tests.support.azurite import KEY, Azurite

PROBE = """
import os, re, sys
from pathlib import Path
from mountd.client.helper import Helper

helper = Helper(os.environ["MOORAGE_HELPER"])
assert helper.status()["clients"] == 1  # so that there is one, to look into
assert Path(sys.argv[1], "file").read_bytes() == b"content"
needle, own, guarded = sys.argv[2].encode()[::-1], 0, 0
for folder in Path("/proc").glob("[0-9]*"):
    # Not the folder's owner: that of an undumpable process is root.
    owner = re.search(r"^Uid:\\s+(\\d+)", (folder / "status").read_text(), re.MULTILINE)
    if int(owner[1]) != os.getuid() or folder.name == str(os.getpid()):
        continue
    for name in ("environ", "cmdline"):
        try:
            data = (folder / name).read_bytes()
        except OSError:
            continue
        own += 1
        if needle in data:
            print("SEEN in", name, "of", (folder / "cmdline").read_bytes())
    command = (folder / "cmdline").read_bytes()
    if any(word in command for word in (b"mountd.daemon", b"mountd.helper", b"keeper.py", b"bin/moorage")):
        try:
            os.close(os.open(folder / "mem", os.O_RDONLY))
            print("SEEN into the memory of", command)
        except PermissionError:
            guarded += 1
if needle.decode() in str(dict(os.environ)):
    print("SEEN in the job's own environment")
for path in Path(os.environ["MOORAGE_WORKSPACE"]).rglob("*"):
    if path.is_file() and path.name != "datastores.toml" and needle in path.read_bytes():
        print("SEEN in", path)
print("looked at", own > 0, guarded)
"""
SESSION = """
set -eu
umask 077
cat >key
printf %s "$PROBE" >probe.py
moorage init
moorage datastore add store "$URL" --credential "file:$PWD/key"
export AZURE_STORAGE_KEY="$(cat key)"
moorage dataset register data store/
moorage run --input data=data:$MODE -- bash -c 'exec python probe.py "$@"' probe '{inputs.data}' "$NEEDLE"
"""


@pytest.mark.alone
@pytest.mark.azurite
@pytest.mark.parametrize("mode", [pytest.param("mount", marks=pytest.mark.fuse), "download"])
def test_a_job_of_another_user_finds_no_secret_anywhere(tmp_path: Path, azurite: Azurite, mode: str) -> None:
    url = azurite.make_container(f"secrets-{mode}")
    azurite.put(f"secrets-{mode}", "file", b"content")
    command, home = users.as_another_user(["bash", "-c", SESSION], tmp_path)
    environment = {
        "PATH": f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin",
        "NEEDLE": KEY[::-1],  # reversed, so that the probe's own arguments are no finding
        "PROBE": PROBE,
        "URL": url,
        "MODE": mode,
        **home,
    }
    # The secret comes by standard input: what a shell was started with, everybody of its user can read.
    done = subprocess.run(command, env=environment, input=KEY, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done
    assert "SEEN" not in done.stdout
    processes = 4 if mode == "mount" else 3  # launcher, keeper, helper and the worker, if there is one
    assert done.stdout.splitlines()[-1] == f"looked at True {processes}"
    assert KEY not in done.stdout + done.stderr
