"""The in-flight table: what outlives a worker."""

import os
import struct

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mountd.errors import DefectError
from mountd.fuse.protocol import Opcode, parse
from mountd.fuse.table import RESENT, SLOTS, InFlightTable


def request(unique: int) -> bytes:
    return struct.pack("<IIQQIIIHH", 40, Opcode.GETATTR, unique, 1, 0, 0, 0, 0, 0)


def take(table: InFlightTable, unique: int) -> int:
    """What a service thread and the kernel do together."""
    slot = table.take()
    table.room(slot)[:40] = request(unique)
    table.hold(slot, unique)
    return slot


class Workers(RuleBasedStateMachine):
    """Workers take, answer and die; the plain model is the set of what was taken and not answered, with its deaths."""

    @initialize()
    def begin(self) -> None:
        self.first = InFlightTable.create()
        self.taken: dict[int, int] = {}
        self.next = 2
        self.worker = self.successor()

    def successor(self) -> InFlightTable:
        table = InFlightTable(os.dup(self.first.descriptor))
        left = {parse(each.request).unique: (each.slot, each.deaths) for each in table.adopt()}
        assert {unique: deaths for unique, (_, deaths) in left.items()} == self.taken
        for unique, (slot, deaths) in left.items():
            table.hold(slot, unique, deaths=deaths)
        return table

    @rule()
    def take(self) -> None:
        take(self.worker, self.next)
        self.taken[self.next] = 0
        self.next += 2

    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        if self.taken:
            unique = data.draw(st.sampled_from(sorted(self.taken)))
            self.worker.clear(unique)
            self.worker.clear(unique)  # an answer that fails and a second one: the slot is freed once
            del self.taken[unique]

    @rule(itself=st.booleans())
    def die(self, *, itself: bool) -> None:
        if itself:
            assert self.first.blame() == len(self.taken)
            self.taken = {unique: deaths + 1 for unique, deaths in self.taken.items()}
        self.worker.close()
        self.worker = self.successor()

    @invariant()
    def the_supervisor_sees_what_is_in_flight(self) -> None:
        assert len(self.first.taken_ns()) == len(self.taken)

    def teardown(self) -> None:
        self.worker.close()
        self.first.close()


TestWorkers = Workers.TestCase
TestWorkers.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)


def test_no_more_requests_are_taken_than_there_are_slots() -> None:
    table = InFlightTable.create()
    assert table.adopt() == []
    slots = {take(table, 2 * number) for number in range(1, SLOTS + 1)}
    assert slots == set(range(SLOTS))
    assert table._free.empty()
    table.clear(2)
    assert table.take() in slots
    table.close()


def test_deaths_follow_a_request_that_the_kernel_sends_again() -> None:
    table = InFlightTable.create()
    table.adopt()
    take(table, 8)
    table.blame()
    successor = InFlightTable(os.dup(table.descriptor))
    [left] = successor.adopt()
    successor.expect_again(left)
    successor.free(left.slot)
    take(successor, 8 | RESENT)
    third = InFlightTable(os.dup(table.descriptor))
    assert [each.deaths for each in third.adopt()] == [1]
    for each in (table, successor, third):
        each.close()


def test_beats_and_position_are_seen_by_others() -> None:
    table = InFlightTable.create()
    other = InFlightTable(os.dup(table.descriptor))
    assert (other.beats, other.plan_position) == (0, 0)
    table.beat(7)
    table.beat(9)
    assert (other.beats, other.plan_position) == (2, 9)
    for each in (table, other):
        each.close()


@pytest.mark.parametrize("content", [b"", bytes(4096 + SLOTS * 512), b"moorage\0" + bytes(4088 + SLOTS * 512)])
def test_a_table_of_another_layout_is_refused(content: bytes) -> None:
    descriptor = os.memfd_create("other")
    os.write(descriptor, content)
    with pytest.raises(DefectError, match="in-flight table"):
        InFlightTable(descriptor)
    os.close(descriptor)
