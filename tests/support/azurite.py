"""A real Blob server for tests and for the demo: Azurite, started from the checkout's own venv.

`Azurite.start()` runs `.venv/azurite/node_modules/.bin/azurite-blob` on a free port (the server picks it and says so on its
output, so two never collide) with its data in memory, and waits until it listens. The context manager ends it by its
process id. It knows nothing of pytest. Without the executable it fails with the command that installs it; it never skips.
"""

import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

EXECUTABLE = Path(__file__).parents[2] / ".venv/azurite/node_modules/.bin/azurite-blob"
ACCOUNT = "devstoreaccount1"
# The emulator's key is public: it stands in Microsoft's documentation and opens nothing but emulators.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_FLAGS = ["--disableTelemetry", "--skipApiVersionCheck", "--silent", "--inMemoryPersistence"]
_LISTENS = re.compile(r"listens on (https?://127\.0\.0\.1:\d+)")


@dataclass(frozen=True, slots=True)
class Azurite:
    """A running server. `endpoint` is its address without the account, `account_url` with it; neither ends in `/`."""

    endpoint: str
    process_id: int

    @property
    def account_url(self) -> str:
        """The path-style address of the emulator's one account."""
        return f"{self.endpoint}/{ACCOUNT}"

    @property
    def connection_string(self) -> str:
        """What a user would put in AZURE_STORAGE_CONNECTION_STRING."""
        scheme = "DefaultEndpointsProtocol=http"
        return f"{scheme};AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={self.account_url};"

    def url(self, container: str, prefix: str = "") -> str:
        """The base URL of a container, or of a folder in it (`prefix` ends in `/`)."""
        return f"{self.account_url}/{container}/{prefix}"

    def sas(self, container: str, rights: str = "rl", *, lasts: timedelta = timedelta(hours=8)) -> str:
        """A SAS token of a container: its rights in the letters of `sp`; `lasts` may be in the past."""
        from azure.storage.blob import generate_container_sas  # heavy: not at import

        end = datetime.now(UTC) + lasts
        return generate_container_sas(ACCOUNT, container, KEY, permission=rights, expiry=end)

    def make_container(self, name: str, *, public: bool = False) -> str:
        """Create a container and return its base URL; `public` lets anyone read and list it."""
        from azure.storage.blob import ContainerClient, PublicAccess  # heavy: not at import

        with ContainerClient.from_connection_string(self.connection_string, name) as client:
            client.create_container(public_access=PublicAccess.CONTAINER if public else None)
        return self.url(name)

    def put(self, container: str, key: str, data: bytes, metadata: dict[str, str] | None = None) -> None:
        """Store `data` under `key`, replacing what is there."""
        from azure.storage.blob import BlobClient  # heavy: not at import

        with BlobClient.from_connection_string(self.connection_string, container, key) as client:
            client.upload_blob(data, overwrite=True, metadata=metadata)

    def remove(self, container: str, key: str) -> None:
        """Delete the object `key`."""
        from azure.storage.blob import BlobClient  # heavy: not at import

        with BlobClient.from_connection_string(self.connection_string, container, key) as client:
            client.delete_blob()

    @staticmethod
    @contextmanager
    def start(*flags: str) -> Iterator["Azurite"]:
        """Run a server of one's own for the length of a `with` block; `flags` are Azurite's, such as a certificate."""
        if not EXECUTABLE.exists():
            message = f"Azurite is not installed at {EXECUTABLE}: run `make setup`"
            raise RuntimeError(message)
        command = [str(EXECUTABLE), "--blobPort", "0", *_FLAGS, *flags]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd="/", text=True) as process:
            try:
                yield Azurite(_wait_until_it_listens(process), process.pid)
            finally:
                process.terminate()
                try:
                    process.wait(timeout=10)
                except subprocess.TimeoutExpired:
                    process.kill()


def _wait_until_it_listens(process: "subprocess.Popen[str]", deadline_s: float = 60) -> str:
    """Return the address the server prints; end it when it says nothing in time, so that the read below returns."""
    assert process.stdout is not None
    watchdog = threading.Timer(deadline_s, process.kill)
    watchdog.start()
    said: list[str] = []
    try:
        for line in process.stdout:
            said.append(line)
            if found := _LISTENS.search(line):
                threading.Thread(target=_drain, args=(process.stdout,), daemon=True).start()
                return found[1]
    finally:
        watchdog.cancel()
    message = f"Azurite did not start within {deadline_s} s; it said: {''.join(said).strip() or 'nothing'}"
    raise RuntimeError(message)


def _drain(output: Iterator[str]) -> None:
    """Keep the pipe empty, so that the server never blocks on a full one."""
    for _ in output:
        pass
