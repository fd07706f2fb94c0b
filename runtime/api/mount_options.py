"""MountOptions: v1's wishes for a mount, as settings of ours."""

import os
from typing import Any, Final

from runtime.errors import UserErrorException

# Of v1's further keywords: what a frozen, read-only mount has anyway, or has no use for.
_WITHOUT_EFFECT: Final = frozenset({"read_only", "create_destination", "disable_metadata_cache"})


class MountOptions:
    """What a mount should be like; None is whatever it is without.

    `data_dir` is the folder of the cache, `max_size` the most bytes in it, `free_space_required` the bytes that it leaves
    free where `max_size` is not said. `default_permission` has no effect: files are 0444.
    """

    def __init__(
        self,
        data_dir: str | os.PathLike[str] | None = None,
        max_size: int | None = None,
        free_space_required: int | None = None,
        default_permission: int = 0o777,
        allow_other: bool = False,  # noqa: FBT001, FBT002 # v1's signature
        **kwargs: Any,
    ) -> None:
        if unknown := sorted(kwargs.keys() - _WITHOUT_EFFECT):
            raise UserErrorException(
                f"MountOptions has no {unknown[0]!r}; it has data_dir, max_size, free_space_required"
            )
        if kwargs.get("read_only", True) and kwargs.get("create_destination"):
            raise UserErrorException(
                "MountOptions: read_only and create_destination contradict each other; leave one out"
            )
        if not kwargs.get("read_only", True):
            raise UserErrorException(
                "MountOptions: a dataset is mounted read-only; to write, use OutputFileDatasetConfig"
            )
        sizes: dict[str, object] = {"max_size": max_size, "free_space_required": free_space_required}
        for name, size in sizes.items():
            if size is not None and (isinstance(size, bool) or not isinstance(size, int | float) or size < 0):
                raise UserErrorException(f"MountOptions: {name} {size!r} is no number of bytes")
        self.data_dir = data_dir
        self.max_size = max_size
        self.free_space_required = free_space_required
        self.default_permission = default_permission
        self.allow_other = allow_other

    def settings(self) -> dict[str, str]:
        """As mountd takes them."""
        found: dict[str, str] = {}
        if self.data_dir is not None:
            found["cache_dir"] = os.fspath(self.data_dir)
        if self.max_size is not None:
            found["cache_size"] = str(int(self.max_size))
        elif self.free_space_required is not None:
            found["cache_size"] = f"-{int(self.free_space_required)}"
        if self.allow_other:
            found["allow_other"] = "true"
        return found
