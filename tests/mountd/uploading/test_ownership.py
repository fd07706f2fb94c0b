import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mountd.errors import BadInputError, MountdError, StoreUnreachableError
from mountd.uploading.destination import Destination
from mountd.uploading.ownership import Ownership
from tests.support import outputs

FOR_EVER_S = 1e9


@pytest.fixture
def place(tmp_path: Path) -> Destination:
    return outputs.destination(outputs.local_url(tmp_path / "store"))


def left(place: Destination) -> list[str]:
    return sorted(info.key for info in place.controls("owner-"))


def leave(place: Destination, owner: str, until_s: float, number: int = 1) -> None:
    """What an owner leaves that was killed."""
    told = {"owner": owner, "host": "far", "pid": 7, "until": time.time() + until_s}
    place.write_control(f"owner-{number}.json", json.dumps(told).encode().ljust(512), overwrite=True)


def test_a_place_is_owned_by_one_and_free_afterwards(place: Destination) -> None:
    mine = Ownership(place, "me")
    mine.take()
    mine.check()
    with pytest.raises(BadInputError, match="writes there; wait for its end"):
        Ownership(place, "you").take()
    mine.release()
    assert left(place) == []
    with pytest.raises(StoreUnreachableError, match="ran out"):
        mine.check()


def test_a_place_whose_owner_has_died_is_taken_over_in_time_by_one_of_two(place: Destination) -> None:
    leave(place, "dead", until_s=-1)
    with pytest.raises(BadInputError, match="process 7 on far writes there"):
        Ownership(place, "me").take()  # its clock may be another
    leave(place, "dead", until_s=-60)
    both = [Ownership(place, name) for name in ("a", "b")]

    def take(one: Ownership) -> bool:
        try:
            one.take()
        except BadInputError:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(take, both)) == [False, True]
    assert left(place) == ["owner-2.json"]
    for each in both:
        each.release()
    assert left(place) == []


def test_the_same_owner_goes_on_at_once(place: Destination) -> None:
    leave(place, "me", until_s=FOR_EVER_S)
    mine = Ownership(place, "me")
    mine.take()
    assert left(place) == ["owner-1.json"]
    mine.release()


def test_what_is_no_owner_is_named(place: Destination) -> None:
    place.write_control("owner-1.json", b"x" * 512, overwrite=True)
    with pytest.raises(MountdError, match=r"owner-1\.json: damaged; remove it"):
        Ownership(place, "me").take()
