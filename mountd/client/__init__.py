"""For callers of a mount: may one be made, make it, ask it, end it, clean up after it.

`starting` executes a supervisor and returns when the mount answers; see `contract.starting` for how the two speak. `asking`
and `ending` work on the records of this user's mounts, whoever made them. Nothing here touches a mount point that may hang.

Works everywhere as an import; where there is no FUSE, `why_no_fuse` says so and `start` raises what it says.
"""

from mountd.clearing import detach, sweep
from mountd.client.asking import commit, credentials, mounts, plan, status, upgrade, warm
from mountd.client.ending import stop
from mountd.client.starting import Mount, become, start, start_order, start_output, why_no_fuse
from mountd.contract.starting import Output
from mountd.records import MountRecord

__all__ = [
    "Mount",
    "MountRecord",
    "Output",
    "become",
    "commit",
    "credentials",
    "detach",
    "mounts",
    "plan",
    "start",
    "start_order",
    "start_output",
    "status",
    "stop",
    "sweep",
    "upgrade",
    "warm",
    "why_no_fuse",
]
