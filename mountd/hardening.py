"""What every process that holds secrets does before it receives one."""

import os
import resource

_PR_SET_DUMPABLE = 4


def harden() -> None:
    """No core dump, no look into our memory or environment by this user's other processes; run in `/`, files 0600."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.chdir("/")
    os.umask(0o077)
