"""The ways in which the lock-free steps can meet the others, forced by making the steps by hand."""

from __future__ import annotations

import pytest

from holdfast._core.actions import Action, Close, Grant, WhyRefused
from holdfast._core.idle_place import Slip
from holdfast._core.pool import PoolCore
from holdfast._core.pool_entry import PoolEntry, State
from holdfast._core.pool_sizes import PoolSizes
from holdfast._core.waiting import Ticket
from holdfast.policy import PoolLimits
from holdfast.vocabulary import CloseReason

LIMITS = PoolLimits(idle_timeout=10, max_age=None)


@pytest.fixture
def core() -> PoolCore:
    return PoolCore(PoolSizes(maxsize=1, max_waiting=1), LIMITS)


def asked(core: PoolCore, now: float) -> Ticket:
    ticket = Ticket()
    core.request(ticket, now)
    return ticket


def actions(core: PoolCore) -> list[Action]:
    done, core.outbox = core.outbox, []
    return done


def idle_one(core: PoolCore, now: float = 0.0) -> PoolEntry:
    entry = asked(core, now).entry
    assert entry is not None
    assert core.opened(entry, now, 0.0)
    if core.give_back(Slip(entry), now):
        core.settle(entry, now)
    assert actions(core) == []
    return entry


def taken_as_lend_does(core: PoolCore) -> PoolEntry:
    entry = core._idle.take_newest()
    assert entry is not None
    return entry


def test_an_expired_one_that_is_put_back_into_a_closed_pool_is_closed(core: PoolCore) -> None:
    entry = idle_one(core)
    assert taken_as_lend_does(core) is entry
    core.close(20.0)
    assert actions(core) == []
    core._idle.fresh[entry] = True
    assert asked(core, 20.0).why_refused is WhyRefused.CLOSED
    assert actions(core) == [Close(entry, CloseReason.IDLE_TIMEOUT)] or core.idle == 0
    assert entry.state is State.CLOSED


def test_an_expired_one_that_is_put_back_serves_one_who_came_meanwhile(core: PoolCore) -> None:
    entry = idle_one(core)
    assert taken_as_lend_does(core) is entry
    first = asked(core, 20.0)
    assert first.waits
    core._idle.fresh[entry] = True
    second = asked(core, 20.0)
    assert first.entry is not None
    assert [type(action) for action in actions(core)] == [Close, Grant]
    assert second.waits


def test_it_does_so_even_if_no_more_may_wait(core: PoolCore) -> None:
    entry = idle_one(core)
    assert taken_as_lend_does(core) is entry
    first = asked(core, 20.0)
    assert first.waits
    core._idle.fresh[entry] = True
    asked(core, 20.0)
    assert first.entry is not None


def test_one_that_is_doomed_while_it_is_laid_down_is_found_by_one_of_the_two(core: PoolCore) -> None:
    entry = idle_one(core)
    assert core.lend(1.0) is entry
    # The watcher finds it neither idle ...
    assert not core.reserve(entry, 1.0)
    # ... and it is laid down, by one who sees no reason yet ...
    assert not core.give_back(Slip(entry), 1.0)
    # ... before the watcher notes the reason, and tries again.
    entry.doom(CloseReason.PEER_CLOSED)
    assert core._idle.claim(entry)
    core._idle.put(entry)
    core.startled(entry, CloseReason.PEER_CLOSED, 1.0)
    assert core.idle == 0


def test_a_doomed_one_is_never_lent(core: PoolCore) -> None:
    entry = idle_one(core)
    entry.doom(CloseReason.PEER_CLOSED)
    assert core.lend(1.0) is None
    other = asked(core, 1.0).entry
    assert other is not None
    assert other is not entry
    assert actions(core) == [Close(entry, CloseReason.PEER_CLOSED)]


def test_one_that_comes_back_as_another_begins_to_wait_goes_to_him(core: PoolCore) -> None:
    entry = idle_one(core)
    assert core.lend(1.0) is entry
    ticket = asked(core, 1.0)
    assert ticket.waits
    assert core.give_back(Slip(entry), 2.0), "the flag is up"
    core.settle(entry, 2.0)
    assert ticket.entry is entry
    assert entry.state is State.LEASED


def test_a_pool_that_is_closed_as_one_comes_back_closes_it(core: PoolCore) -> None:
    entry = idle_one(core)
    assert core.lend(1.0) is entry
    core.close(1.0)
    assert core.give_back(Slip(entry), 2.0)
    core.settle(entry, 2.0)
    assert actions(core) == [Close(entry, CloseReason.CLOSED_LOCALLY)]


@pytest.fixture
def larger() -> PoolCore:
    return PoolCore(PoolSizes(maxsize=3), LIMITS)


def three_idle(core: PoolCore) -> list[PoolEntry]:
    """The one that came back last is the last."""
    entries = [entry for _ in range(3) if (entry := asked(core, 0.0).entry) is not None]
    for entry in entries:
        core.opened(entry, 0.0, 0.0)
        entry.alarm = 10.0
    for entry in entries:
        assert not core.give_back(Slip(entry), 0.0)
    return entries


def test_one_is_found_wherever_it_lies(larger: PoolCore) -> None:
    for entry in three_idle(larger):
        assert larger.reserve(entry, 1.0)
        assert not larger.reserve(entry, 1.0)


def test_the_newest_is_lent_first_even_after_a_search_for_another(larger: PoolCore) -> None:
    oldest, middle, newest = three_idle(larger)
    assert larger.reserve(middle, 1.0)
    assert larger.lend(1.0) is newest
    assert not larger.give_back(Slip(newest), 2.0)
    assert larger.lend(2.0) is newest
    assert larger.lend(2.0) is oldest
    assert larger.lend(2.0) is None


def test_one_that_is_taken_from_the_top_during_a_search_is_not_found(larger: PoolCore) -> None:
    oldest, _, newest = three_idle(larger)
    assert larger.top.pop().entry is newest
    assert not larger.reserve(newest, 1.0)
    assert larger.reserve(oldest, 1.0)
    assert larger.idle == 1
