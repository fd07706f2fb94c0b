"""The parts of a listing, asked for by several threads, and told page by page to one who takes them.

One stack holds the parts that nobody asks for yet. Whoever takes pages also gives out parts, so there is no lock: each part
has a thread of its own for as long as its one request takes, and a queue brings its page back. While a page is worked on,
`THREADS` more may come and wait; then nothing more is asked for, and that bounds the memory.

Invariants: the page of a part is told before the pages of the parts that are its rest, so a journal of what was told is
complete at any moment; parts are taken depth first, so the stack does not grow with the listing.
"""

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Final

from mountd.stores.base import Page, Part, PartLister

THREADS: Final = 8  # requests in flight: some tens of MiB of pages, and more than one process can read


@dataclass(frozen=True, slots=True)
class _Told:
    part: Part
    page: Page | None
    error: BaseException | None


def gather(lister: PartLister, parts: Iterable[Part], threads: int = THREADS) -> Iterator[tuple[Part, Page]]:
    """Yield each part that was asked for with its page, until nothing is left of `parts`.

    Raises:
        MountdError: the first that a part ended with; the others are left to themselves, and end with their deadline.
    """
    waiting, told, flying = [*reversed([*parts])], SimpleQueue[_Told](), 0
    while waiting or flying:
        flying += _give_out(lister, waiting, threads - flying, told)
        found = told.get()
        flying -= 1
        if found.page is None:
            assert found.error is not None  # noqa: S101  # one of the two
            raise found.error
        waiting.extend(reversed(found.page.rest))
        flying += _give_out(lister, waiting, threads - flying, told)  # before the page is worked on, not after
        yield found.part, found.page


def _give_out(lister: PartLister, waiting: list[Part], room: int, told: "SimpleQueue[_Told]") -> int:
    """Have up to `room` parts asked for; how many it were. The threads that are left over are idle."""
    count = min(room, len(waiting))
    idle = room - count
    for _ in range(count):
        part = waiting.pop()
        # A daemon: whoever has had enough of the listing does not wait for what hangs.
        threading.Thread(target=_ask, args=(lister, part, idle, told), name="listing", daemon=True).start()
    return count


def _ask(lister: PartLister, part: Part, idle: int, told: "SimpleQueue[_Told]") -> None:
    try:
        told.put(_Told(part, lister.list_part(part, idle), None))
    except BaseException as error:  # noqa: BLE001  # it is raised where the pages are taken
        told.put(_Told(part, None, error))
