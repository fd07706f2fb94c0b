"""The owner's side of a helper: a seat where none comes, addresses of the dead, places granted later."""

import os
import socket
from pathlib import Path

import pytest

from mountd import records
from mountd.client.helper import Grant, Helper
from mountd.client.helper_processes import HelperSeat, listen, new_address, order_of
from mountd.errors import AccessDeniedError, NotFoundError
from mountd.stores.registry import file_url
from tests.support.content import make_tree
from tests.support.helping import own_helper


def test_a_seat_where_every_helper_dies_is_closed_after_three(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    seat = HelperSeat(order_of([]))
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        client.connect(seat.address)
        lines = [seat.attend() for _ in range(6)]  # started and found dead, three times
        assert lines == [None] * 5 + ["no helper for the job's own reads of the workspace: it died"]
        assert seat.is_closed
        with pytest.raises(ConnectionResetError):  # whoever waited hears of it
            client.recv(1)
    assert not Path(seat.address).exists()


def test_an_address_whose_owner_is_dead_is_removed_and_others_stay() -> None:
    folder = Path(new_address()).parent
    dead, living = folder / "fffffff-1-dead", Path(new_address())
    listen(str(dead)).close()
    with listen(str(living)):
        new_address()
        assert not dead.exists()
        assert living.exists()
        assert living.stat().st_mode & 0o777 == 0o600
    living.unlink()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert folder.parent == records.runtime_folder()


def test_places_are_granted_later_and_survive_a_restart(tmp_path: Path) -> None:
    url = file_url(make_tree(tmp_path / "tree", {"a": 5}))
    with own_helper() as (owner, helper):
        with pytest.raises(NotFoundError, match="only: none"):
            list(helper.list("place"))
        owner.grant([Grant("place", url), Grant("shut", "memory://x/", refusal="datastore 'shut': no key for it")])
        assert [each.key for each in helper.list("place")] == ["a"]
        with pytest.raises(AccessDeniedError, match="no key for it"):
            list(helper.list("shut"))
        os.kill(owner.pid, 9)
        assert [each.key for each in helper.list("PLACE")] == ["a"]


def test_an_address_without_a_helper_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mountd.client.helper._COME_BACK_S", 0.2)
    with pytest.raises(Exception, match="no helper answers"):
        Helper("/nowhere/at/all").status()
