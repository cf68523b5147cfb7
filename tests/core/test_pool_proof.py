"""An idle connection that nobody has heard of for long is lent, but not without a question."""

from __future__ import annotations

import pytest

from holdfast._core.actions import Beat, Check, Close
from holdfast._core.idle_place import Slip
from holdfast._core.pool import PoolCore
from holdfast._core.pool_entry import PoolEntry
from holdfast._core.pool_sizes import PoolSizes
from holdfast._core.waiting import Ticket
from holdfast.policy import Heartbeat, PoolLimits
from holdfast.vocabulary import CloseReason

PROBE_AFTER = 10.0
"""Seconds; the default of PoolLimits."""

LONG = 3 * PROBE_AFTER
LIMITS = PoolLimits(idle_timeout=LONG, max_age=None)
HEARTBEAT = Heartbeat(send=b"PING", expect=b"PONG", interval=PROBE_AFTER / 2, timeout=1, jitter=0)


def pool(limits: PoolLimits = LIMITS, heartbeat: Heartbeat | None = None, maxsize: int = 1) -> PoolCore:
    return PoolCore(PoolSizes(maxsize=maxsize), limits, heartbeat)


def asked(core: PoolCore, now: float) -> PoolEntry | None:
    ticket = Ticket()
    core.request(ticket, now)
    return ticket.entry


def idle_one(core: PoolCore, now: float = 0.0) -> PoolEntry:
    entry = asked(core, now)
    assert entry is not None
    assert core.opened(entry, now, 0.0)
    if core.give_back(Slip(entry), now):
        core.settle(entry, now)
    return entry


@pytest.mark.parametrize(("now", "doubtful"), [(PROBE_AFTER - 0.1, False), (PROBE_AFTER, True)])
def test_after_a_while_it_is_doubtful(now: float, doubtful: bool) -> None:
    core = pool()
    entry = idle_one(core)
    assert entry.is_doubtful(now) is doubtful


def test_a_doubtful_one_is_lent_only_by_the_way_that_asks() -> None:
    core = pool()
    entry = idle_one(core)
    assert core.lend(PROBE_AFTER) is None
    assert asked(core, PROBE_AFTER) is entry
    assert core.outbox == []


def test_one_that_is_not_is_lent_at_once() -> None:
    core = pool()
    entry = idle_one(core)
    assert core.lend(PROBE_AFTER - 0.1) is entry


def test_its_limit_ends_it_as_ever() -> None:
    core = pool()
    entry = idle_one(core)
    assert core.lend(LONG) is None
    assert asked(core, LONG) is not entry
    assert core.outbox == [Close(entry, CloseReason.IDLE_TIMEOUT)]


def test_nobody_thinks_about_it_before_its_limit() -> None:
    core = pool()
    idle_one(core)
    assert core.next_deadline() == LONG


def test_a_shorter_limit_than_the_doubt() -> None:
    core = pool(PoolLimits(idle_timeout=PROBE_AFTER / 2, max_age=None))
    entry = idle_one(core)
    assert core.lend(PROBE_AFTER / 2 - 0.1) is entry


def test_without_a_limit_it_is_asked_all_the_same() -> None:
    core = pool(PoolLimits(idle_timeout=None, max_age=None))
    entry = idle_one(core)
    assert core.lend(PROBE_AFTER) is None
    assert asked(core, PROBE_AFTER) is entry


def test_a_use_makes_it_trusted_again() -> None:
    core = pool()
    entry = idle_one(core)
    assert asked(core, LONG - 1) is entry
    core.give_back(Slip(entry), LONG)
    assert not entry.is_doubtful(LONG + 1)
    assert core.lend(LONG + 1) is entry


def test_so_does_a_heartbeat_that_was_answered() -> None:
    core = pool(heartbeat=HEARTBEAT)
    entry = idle_one(core)
    core.timer(PROBE_AFTER / 2)
    assert core.outbox == [Beat(entry)]
    core.outbox.clear()
    core.checked(entry, None, PROBE_AFTER / 2, answered=True)
    assert not entry.is_doubtful(PROBE_AFTER)
    assert asked(core, PROBE_AFTER) is entry


# -- siblings


def suspected(core: PoolCore, now: float) -> PoolEntry:
    """One whose sibling was found dead, and that showed nothing itself."""
    entry = idle_one(core)
    core.recheck(now)
    assert core.outbox == [Check(entry)]
    core.outbox.clear()
    core.checked(entry, None, now)
    return entry


def test_when_one_was_found_dead_the_others_are_doubtful() -> None:
    core = pool()
    entry = suspected(core, 1.0)
    assert entry.is_doubtful(1.0)
    assert core.lend(2.0) is None
    assert asked(core, 2.0) is entry


def test_a_use_clears_it_of_suspicion() -> None:
    core = pool()
    entry = suspected(core, 1.0)
    asked(core, 2.0)
    core.give_back(Slip(entry), 3.0)
    assert not entry.is_doubtful(3.0)
    assert core.lend(3.0) is entry


def test_an_answered_heartbeat_clears_it_of_suspicion() -> None:
    core = pool(heartbeat=HEARTBEAT)
    entry = idle_one(core)
    core.recheck(1.0)
    assert core.outbox == [Beat(entry)]
    core.checked(entry, None, 1.1, answered=True)
    assert not entry.is_doubtful(2.0)
