"""A fork may come in the middle of a step of another thread."""

from __future__ import annotations

from holdfast._core.actions import Close
from holdfast._core.idle_place import Slip
from holdfast._core.pool import PoolCore
from holdfast._core.pool_entry import PoolEntry, State, Stimulus
from holdfast._core.pool_sizes import PoolSizes
from holdfast._core.waiting import Ticket
from holdfast.policy import PoolLimits
from holdfast.vocabulary import CloseReason


def lent(core: PoolCore) -> PoolEntry:
    ticket = Ticket()
    core.request(ticket, 0)
    assert ticket.entry is not None
    core.opened(ticket.entry, 0, 0)
    return ticket.entry


def test_an_entry_that_was_just_being_closed_does_not_keep_the_others_from_it() -> None:
    core = PoolCore(PoolSizes(maxsize=3), PoolLimits())
    closing, idle = lent(core), lent(core)
    if core.give_back(Slip(idle), 0):
        core.settle(idle, 0)
    closing.move(Stimulus.RETIRE)  # and not yet taken out of everything
    core.forked()
    assert idle.state is State.CLOSED
    assert core.outbox == [Close(idle, CloseReason.FORKED)]
    assert not core.everything


def test_the_copy_of_one_that_is_lent_is_closed_as_well_and_once() -> None:
    core = PoolCore(PoolSizes(maxsize=1), PoolLimits())
    leased = lent(core)
    core.forked()
    assert leased.state is State.LOST
    assert core.outbox == [Close(leased, CloseReason.FORKED)]
    child = PoolCore(PoolSizes(maxsize=1), PoolLimits())
    child.retire(leased, CloseReason.CLOSED_LOCALLY, 1)
    assert not child.everything
    assert child.outbox == []
