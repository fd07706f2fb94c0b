"""A job whose input and output lie in one file share, by the commands a user types."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.datasets.paths import Place, locate, parse_text
from tests.support.azurite import KEY
from tests.support.fileshare_server import FileShares

SESSION = """
set -eu
moorage init
moorage datastore add share "$URL" --credential env:SHARE_KEY
moorage dataset register data share/in/
moorage run --input data=data --output 'model=share/out/{run-id}:upload:register=model' -- \
    sh -c 'mkdir "$1/deep"; cp "$0/words.txt" "$1/deep/model.txt"' '{inputs.data}' '{outputs.model}'
moorage dataset download model model
cat model/deep/model.txt
"""


@pytest.mark.fuse
def test_a_job_reads_and_writes_a_share(tmp_path: Path) -> None:
    with FileShares.start() as server:
        server.make_share("share")
        server.put("share", "in/words.txt", b"from a share")
        environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "URL": server.url("share"),
            "SHARE_KEY": KEY,
        }
        done = subprocess.run(
            ["bash", "-c", SESSION],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        files = server.files("share")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("from a share")
    assert sum(path.startswith("out/") and path.endswith("/deep/model.txt") for path in files) == 1
    assert [path for path in files if path.startswith(".moorage/outputs/")], files
    assert not [path for path in files if path.endswith(".partial")]
    assert KEY not in done.stdout + done.stderr


def test_a_share_is_named_in_a_dataset_by_its_url() -> None:
    for url in ("https://account1.file.core.windows.net/share/", "azfile://127.0.0.1:10004/account1/share/"):
        for path in ("a/b", "a/*/c d.png", ""):
            assert locate(parse_text(url + path.replace(" ", "%20"))) == Place(url, path)
