"""The checksums of an extent: a CRC32C for each granule of its bytes.

They are made when the bytes arrive, and go with them from memory through the queue to the disk. So what is damaged on the
way does not become right by a checksum that was made too late, and a read verifies no more than the granules it needs.
"""

from typing import Final

import google_crc32c

from mountd.stores.base import Buffer

GRANULE_BYTES: Final = 64 << 10


def checksums(data: Buffer) -> tuple[int, ...]:
    """One for each granule of `data`; the last granule may be a short one."""
    view = memoryview(data)
    places = range(0, len(view), GRANULE_BYTES)
    return tuple(google_crc32c.value(bytes(view[at : at + GRANULE_BYTES])) for at in places)


def are_whole(block: Buffer, at: int, crcs: tuple[int, ...]) -> bool:
    """Whether the granules of `block` from `at` on have these checksums."""
    view = memoryview(block)
    places = range(at, at + len(crcs) * GRANULE_BYTES, GRANULE_BYTES)
    return all(
        google_crc32c.value(bytes(view[place : place + GRANULE_BYTES])) == crc
        for place, crc in zip(places, crcs, strict=True)
    )
