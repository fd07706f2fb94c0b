"""A mount inside a script: what `FileDataset.mount()` returns.

Where no mount can be made, the same files are downloaded to the same place instead, said in one line; they are removed when
the context ends, as a mount would be gone.
"""

import shutil
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from mountd.errors import MountPointError
from runtime.datasets import tuning
from runtime.errors import UserErrorException

if TYPE_CHECKING:
    from mountd.client import Mount
    from runtime.api.mount_options import MountOptions
    from runtime.datasets.file import FrozenDataset


class MountContext:
    """A dataset at a path from `start` to `stop`, or inside a `with`; it ends with this process at the latest."""

    def __init__(
        self, frozen: "FrozenDataset", mount_point: Path | None, label: str, options: "MountOptions | None" = None
    ) -> None:
        self._frozen = frozen
        self._options = options
        self._made_here = mount_point is None
        self._path = mount_point or Path(tempfile.gettempdir()) / f"moorage-{label}"
        self._label = label
        self._mount: Mount | None = None
        self._started = False

    @property
    def mount_point(self) -> str:
        """Where the files are; with mount_point None the path is settled by `start`."""
        return str(self._path)

    @property
    def is_single_file(self) -> bool:
        """Whether the dataset was defined as exactly one file."""
        return self._frozen.single_file is not None

    @property
    def single_file(self) -> str | None:
        """That file's path below the mount point."""
        return self._frozen.single_file

    @property
    def data_path(self) -> str:
        """Where the data is: the file if it is a single one, else the mount point."""
        return str(self._path / self._frozen.single_file) if self._frozen.single_file else str(self._path)

    def start(self) -> None:
        """Make the mount.

        Raises:
            UserErrorException: the folder is not empty, is a file, or is mounted already.
            MountdError: as the stores raise it.
        """
        from mountd import client

        if self._started:
            raise UserErrorException(f"{self._path}: this mount is started already")
        if self._made_here:
            self._path = Path(tempfile.mkdtemp(prefix=f"moorage-{self._label}-"))
        try:
            reason = client.why_no_fuse()
            self._make_folder()
            if reason is None:
                self._mount = client.start(
                    self._frozen.manifest,
                    self._path,
                    source=self._label,
                    credentials=self._frozen.credentials,
                    withheld=self._frozen.withheld,
                    settings=tuning.settings() | (self._options.settings() if self._options else {}),
                    lifeline=True,
                )
            else:
                self._download(reason)
        except BaseException as error:
            if self._made_here:
                shutil.rmtree(self._path, ignore_errors=True)
            if isinstance(error, MountPointError | OSError):
                raise UserErrorException(str(error)) from None
            raise
        self._started = True

    def stop(self) -> None:
        """End the mount; does nothing if there is none."""
        if not self._started:
            return
        self._started = False
        if self._mount is not None:
            self._mount.stop(tuning.unmount_timeout_s())
            self._mount = None
        else:
            for each in self._path.iterdir():
                shutil.rmtree(each) if each.is_dir() else each.unlink()
        if self._made_here:
            self._path.rmdir()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _make_folder(self) -> None:
        try:
            self._path.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise UserErrorException(
                f"{self._path}: there is a file; name an empty folder, or one to be made"
            ) from None
        except OSError as error:
            raise UserErrorException(f"{self._path}: cannot be made ({error.strerror}); name another folder") from None

    def _download(self, reason: str) -> None:
        from mountd.download import download

        if any(self._path.iterdir()):
            raise UserErrorException(f"{self._path}: the mount point is not empty; name an empty folder")
        print(f"moorage: downloading to {self._path} instead of mounting: {reason}", file=sys.stderr)  # noqa: T201 # for the user
        download(self._frozen.manifest, self._path, credentials=self._frozen.credentials)
