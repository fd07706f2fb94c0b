"""The loop of libfuse: pyfuse3 in a trio loop on a thread of its own, whatever it answers from.

`mounting` makes the mount, as for the native driver, and libfuse takes over the open device (a mount point called
/dev/fd/N), so that options, rights and the end of a mount are one code for all drivers. What is asked goes to an
`Answers`: that of an input (`libfuse`), or that of an output (`libfuse_output`).

Invariant: whatever a handler meets becomes an errno in `answering`; anything else that left it would end the mount.
"""

import errno
import functools
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, Final, ParamSpec, TypeVar

import pyfuse3
import trio
from pyfuse3 import FUSEError

from mountd.errors import FuseUnavailableError, MountdError

_LOG = logging.getLogger(__name__)
THREADS: Final = 64  # that wait for the network or a disk
_TASKS = 4 * THREADS  # requests taken at once; more of them stay in the kernel
_INIT_TIMEOUT_S = 20.0

_Given = ParamSpec("_Given")
_Answer = TypeVar("_Answer")


class Answers(pyfuse3.Operations):
    """What pyfuse3 asks; what is not here it answers ENOSYS."""

    supports_dot_lookup = False

    def __init__(self) -> None:
        self.agreed = threading.Event()

    def init(self) -> None:
        """The kernel has been asked what it can; the answer to it goes out before the loop does anything else."""
        trio.lowlevel.current_trio_token().run_sync_soon(self.agreed.set)


class Loop:
    """Serves one mounted device until the mount ends; `closed` is called once, when the loop has ended."""

    def __init__(self, device: int, answers: Answers, closed: Callable[[], None]) -> None:
        self._device, self._answers, self._closed = device, answers, closed
        self._token: trio.lowlevel.TrioToken | None = None
        self._scope = trio.CancelScope()
        self._thread = threading.Thread(target=self._serve, name="fuse-loop", daemon=True)

    def start(self) -> None:
        """Agree with the kernel and begin to serve.

        Raises:
            FuseUnavailableError: libfuse is too old, or does not agree with this kernel.
        """
        _keep_its_log()
        try:
            pyfuse3.init(self._answers, f"/dev/fd/{self._device}", set())
        except RuntimeError as error:
            raise FuseUnavailableError(f"{error}; libfuse 3.3 or newer is needed") from None
        self._thread.start()
        if not self._answers.agreed.wait(_INIT_TIMEOUT_S):
            raise FuseUnavailableError("libfuse and the kernel did not agree; the lines above say why")

    def stop(self) -> None:
        """Take no further request and drop what waits."""
        if (token := self._token) is not None:
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(self._scope.cancel)

    def _serve(self) -> None:
        try:
            trio.run(self._until_ended)
        except Exception:  # noqa: BLE001  # the mount must be ended, whatever ended its loop
            _LOG.exception("the loop of libfuse ended")
        finally:
            self._closed()

    async def _until_ended(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        with self._scope:
            await pyfuse3.main(max_tasks=_TASKS)


def answering(
    handler: Callable[_Given, Awaitable[_Answer]],
) -> Callable[_Given, Coroutine[Any, Any, _Answer]]:
    """`handler` whose every failure is an errno; pyfuse3 takes no other exception."""

    @functools.wraps(handler)
    async def answer(*args: _Given.args, **named: _Given.kwargs) -> _Answer:
        try:
            return await handler(*args, **named)
        except FUSEError:
            raise
        except MountdError as error:
            raise FUSEError(error.errno) from None
        except Exception:  # noqa: BLE001  # the mount must go on
            _LOG.exception("defect: %s of %s", handler.__name__, args[1:2])
            raise FUSEError(errno.EIO) from None

    return answer


def _keep_its_log() -> None:
    """What pyfuse3 logs goes where ours goes; that a reader went away before its answer is no news."""
    theirs = logging.getLogger("pyfuse3")
    theirs.parent = _LOG
    theirs.addFilter(lambda record: os.strerror(errno.ENOENT) not in record.getMessage())
