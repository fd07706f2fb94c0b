"""Everything that can go wrong, as a user meets it.

    MountdError
    ├── BadInputError            3   EINVAL   a source, manifest, path, setting or credential that cannot be used
    │   ├── HostilePathError                  a path that no file system could hold
    │   ├── ManifestError             EIO     a manifest file that is not one, or is damaged
    │   └── DestinationExistsError    EEXIST  a target that is there already, and may not be overwritten
    ├── NotFoundError            4   ENOENT
    ├── AccessDeniedError        5   EACCES   the store refused the credential, or there is none
    ├── MountPointError          6   EBUSY    not empty, a file, mounted already, dead
    ├── FuseUnavailableError     7   ENODEV   no /dev/fuse, no right to mount, not Linux
    ├── StoreUnreachableError    8   EIO      refused, timed out, 5xx after retries
    ├── DataChangedError         9   ESTALE   the bytes behind an entry are not the frozen ones
    ├── CorruptDataError         9   EIO      a length or checksum that does not match
    ├── ReadOnlyError            -   EROFS
    └── DefectError             70   EIO      Moorage itself is wrong

Each class carries the errno that a reader of the mount gets and the exit code that a caller of a command gets; nothing
else in the project chooses either. A message is one line: what was wrong, where, and what to do. It never holds a secret.
"""

import errno
from typing import ClassVar


class MountdError(Exception):
    """Root of the tree; catch this to catch everything that Moorage raises on purpose."""

    errno: ClassVar[int] = errno.EIO
    exit_code: ClassVar[int] = 70


class BadInputError(MountdError):
    """A source, manifest, path, setting or credential that cannot be used."""

    errno = errno.EINVAL
    exit_code = 3


class HostilePathError(BadInputError):
    """A path from a listing that no file system could hold: `..`, absolute, empty segment, NUL, too long, in conflict."""


class ManifestError(BadInputError):
    """A manifest file that is not one, has another version, or is damaged."""

    errno = errno.EIO  # what a reader gets when the file is damaged, or its disk fails, under a mount


class DestinationExistsError(BadInputError):
    """A target that is there already and may not be overwritten."""

    errno = errno.EEXIST


class NotFoundError(MountdError):
    """Something named by the user does not exist."""

    errno = errno.ENOENT
    exit_code = 4


class AccessDeniedError(MountdError):
    """The store refused the credential, or none was given."""

    errno = errno.EACCES
    exit_code = 5


class MountPointError(MountdError):
    """A mount point that cannot be used: not empty, a file, mounted already, a dead mount."""

    errno = errno.EBUSY
    exit_code = 6


class FuseUnavailableError(MountdError):
    """This machine or this user cannot mount: no /dev/fuse, no right, not Linux. Downloading still works."""

    errno = errno.ENODEV
    exit_code = 7


class StoreUnreachableError(MountdError):
    """The store did not answer in time: refused, timed out, or server errors until the deadline."""

    errno = errno.EIO
    exit_code = 8


class DataChangedError(MountdError):
    """The bytes behind an entry are not the frozen ones any more; freeze again to read the new ones."""

    errno = errno.ESTALE
    exit_code = 9


class CorruptDataError(MountdError):
    """Bytes arrived whole in number but wrong in content or length."""

    errno = errno.EIO
    exit_code = 9


class ReadOnlyError(MountdError):
    """A write on an input."""

    errno = errno.EROFS
    exit_code = 2


class DefectError(MountdError):
    """Moorage itself is wrong; please report it with the log."""
