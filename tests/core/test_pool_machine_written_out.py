"""What ``acquire`` and ``release`` have written out of the rules, held to the same rule machine."""

from __future__ import annotations

from threading import get_ident
from types import SimpleNamespace

import pytest
from test_pool_machine import PoolMachine

from holdfast._core.pool import PoolCore
from holdfast._core.pool_entry import PoolEntry, State
from holdfast._core.pool_sizes import PoolSizes
from holdfast._core.waiting import Ticket
from holdfast._threads.lease import Lease, Tether
from holdfast._threads.lending import Lender
from holdfast.policy import PoolLimits
from holdfast.vocabulary import CloseReason

QUIET = SimpleNamespace(
    poll=lambda _milliseconds: [],
    timeout=1.0,
    sock=SimpleNamespace(gettimeout=lambda: 1.0, _closed=False),
)
"""A connection on which nothing happens."""


class NotSoSimpleError(Exception):
    pass


class Counter(Lender[None]):
    """A pool's fast way, without all that is behind it."""

    name = "a counter"

    def __init__(self, machine: PoolMachine | Bench) -> None:
        self.told: object = None
        self._core: PoolCore = machine.core
        self._clock = lambda: machine.now

    def _acquire_slowly(
        self, timeout: float | None, dead: Tether | None = None, why: CloseReason | None = None
    ) -> Tether:
        self.told = (timeout, dead and dead.entry, why)
        if dead is not None:
            dead.pool = None
        raise NotSoSimpleError

    def _settle(self, entry: PoolEntry) -> None:
        self._core.settle(entry, self._clock())

    def _take_back(self, tether: Tether) -> None:
        raise AssertionError("nothing is to be tidied")

    def _discard(self, tether: Tether, error: BaseException | None) -> None:
        raise AssertionError("nothing failed")

    def _leaked(self, entry: PoolEntry) -> None:
        raise AssertionError("nothing is dropped")


class WrittenOutMachine(PoolMachine):
    def lend(self) -> PoolEntry | None:
        on_top = list(self.core.top)
        try:
            lease = Counter(self).acquire()
        except NotSoSimpleError:
            return None
        assert lease._tether is on_top[-1], "newest first"
        tether = lease._untied()
        assert tether.pool is lease._pool, "dropped, it is missed"
        tether.pool = None
        assert list(self.core.top) == on_top[:-1]
        return tether.entry

    def give_back(self, entry: PoolEntry) -> None:
        entry.link = QUIET
        lease = lease_of(Counter(self), entry)
        before = entry.uses
        lease.release()
        assert entry.uses == before + 1
        assert all(slip.pool is None for slip in self.core.top), "missed, and it lies there"


def lease_of(pool: Counter, entry: PoolEntry) -> Lease[None]:
    """One that was not taken from the top."""
    lease: Lease[None] = Lease()
    lease._pool, lease._owner = pool, get_ident()
    lease._code, lease._instruction = lease_of.__code__, 0
    tether = Tether(entry)
    tether.pool = pool
    lease._tie(tether)
    return lease


WrittenOutMachine.TestCase.settings = PoolMachine.TestCase.settings
TestWrittenOutMachine = WrittenOutMachine.TestCase


# -- what the machine cannot see, as it makes whole steps and calls the timer in time


class Bench:
    """A pool of one, idle since 0, that is lent for 10 seconds after each use and until it is 100 old."""

    def __init__(self) -> None:
        self.now = 0.0
        self.core = PoolCore(PoolSizes(maxsize=1), PoolLimits(idle_timeout=10, max_age=100, max_age_jitter=0))
        self.counter = Counter(self)
        ticket = Ticket()
        self.core.request(ticket, 0.0)
        entry = ticket.entry
        assert entry is not None
        assert self.core.opened(entry, 0.0, 0.0)
        entry.link = QUIET
        self.entry = entry
        lease_of(self.counter, entry).release()
        # Lies on top from the second time on.
        assert self.core.lend(0.0) is entry
        lease_of(self.counter, entry).release()
        assert len(self.core.top) == 1


def test_one_idle_too_long_is_not_lent() -> None:
    bench = Bench()
    bench.now = 10.0
    with pytest.raises(NotSoSimpleError):
        bench.counter.acquire()
    assert bench.entry.state is State.IDLE
    assert bench.core.idle == 1


def test_one_too_old_is_not_lent() -> None:
    bench = Bench()
    for second in range(0, 100, 5):
        bench.now = float(second)
        bench.counter.acquire().release()
    bench.now = 100.0
    with pytest.raises(NotSoSimpleError):
        bench.counter.acquire()
    assert bench.core.idle == 1


def test_its_rest_begins_when_it_comes_back() -> None:
    bench = Bench()
    bench.now = 5.0
    lease = bench.counter.acquire()
    assert (bench.entry.state, bench.core.idle) == (State.LEASED, 0)
    bench.now = 50.0
    lease.release()
    assert (bench.entry.state, bench.core.idle) == (State.IDLE, 1)
    bench.now = 59.0
    bench.counter.acquire().release()


def test_nobody_takes_what_comes_back_before_one_who_waits() -> None:
    bench = Bench()
    assert bench.core.lend(0.0) is bench.entry
    ticket = Ticket()
    bench.core.request(ticket, 0.0)
    assert ticket.waits
    assert bench.core.give_back(Tether(bench.entry), 0.0), "laid down, and not settled yet"
    with pytest.raises(NotSoSimpleError):
        bench.counter.acquire()
    assert bench.core.idle == 1


def test_what_happened_on_the_connection_is_told_to_the_slow_way() -> None:
    bench = Bench()
    bench.core.top[0].poll = lambda _milliseconds: [(3, 1)]
    bench.entry.link = SimpleNamespace(look=lambda: CloseReason.PEER_CLOSED)
    with pytest.raises(NotSoSimpleError):
        bench.counter.acquire(3.0)
    assert bench.counter.told == (3.0, bench.entry, CloseReason.PEER_CLOSED)
