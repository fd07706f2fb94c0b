"""What the processes of a mount do first: hide what they will hold, and take what they may have."""

import os
import resource

_PR_SET_DUMPABLE = 4
_DESCRIPTORS = 4096  # more than the budgets of a worker add up to
_LEAST_DESCRIPTORS = 256  # with fewer, connections that are idle leave none for those that are due


def harden() -> None:
    """No core dump, no look into our memory or environment by this user's other processes; run in `/`, files 0600."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.chdir("/")
    os.umask(0o077)


def take_descriptors() -> None:
    """As many as the hard limit allows, up to some thousand: the soft one protects programs that call select(2)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def why_too_few_descriptors() -> str | None:
    """Why a mount that is started here would starve; None if it would not."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard == resource.RLIM_INFINITY or hard >= _LEAST_DESCRIPTORS:
        return None
    return (
        f"a process may have {hard} files open, a mount needs {_LEAST_DESCRIPTORS}; raise the hard limit (ulimit -Hn)"
    )
