"""The first exchange on a new mount: the kernel says what it can, and is told what we take of it.

Whoever mounts answers it, before anybody serves: a worker that comes later, or in the place of a dead one, is told what was
agreed on. Knows nothing of files.

MOORAGE_RESEND=off in the environment does without the kernel's own second belt (see `kernel`), should one misbehave.
"""

import os

from mountd.errors import FuseUnavailableError
from mountd.fuse import protocol
from mountd.fuse.protocol import InitFlag, Limits, MalformedRequestError, Opcode


def negotiate(device: int, limits: Limits) -> int:
    """Answer the kernel's INIT, the first request on a new mount; return the flags agreed on.

    Raises:
        FuseUnavailableError: the kernel is too old, or somebody else reads this device.
    """
    request = protocol.parse(os.read(device, protocol.MAX_READ_BYTES + protocol.BODY_LIMIT_BYTES))
    if request.opcode != Opcode.INIT:
        raise FuseUnavailableError(f"the kernel's first request is {request.opcode}, not INIT; is the device in use?")
    try:
        body, agreed = protocol.negotiate(request, limits)
    except MalformedRequestError as error:
        raise FuseUnavailableError(f"{error}; a kernel from 5.4 on is needed") from None
    os.writev(device, [protocol.header(request.unique, len(body)), body])
    if os.environ.get("MOORAGE_RESEND") == "off":
        agreed &= ~InitFlag.HAS_RESEND
    return agreed
