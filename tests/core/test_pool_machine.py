"""A rule machine feeds the pool's rules stimuli in any order and holds the invariants."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from holdfast._core.actions import Action, Beat, Check, Close, Grant, Open, Refuse
from holdfast._core.idle_place import Slip
from holdfast._core.pool import PoolCore
from holdfast._core.pool_entry import OCCUPYING, TRANSITIONS, PoolEntry, State
from holdfast._core.pool_sizes import PoolSizes
from holdfast._core.waiting import Ticket
from holdfast.policy import Heartbeat, PoolLimits
from holdfast.vocabulary import CloseReason

STEPS = {(start, end) for moves in TRANSITIONS.values() for start, end in moves.items()}
BEATS = [
    None,
    Heartbeat(send=b"ping", expect=b"pong", interval=10, timeout=2, misses=1),
    Heartbeat(call=len, interval=10, timeout=2),
]

seconds = st.floats(min_value=0, max_value=40)
rarely = st.integers(0, 19).map(lambda n: n == 19)
"""Else most runs would end soon after they began."""


@st.composite
def sizes(draw: Any) -> PoolSizes:
    maxsize = draw(st.integers(1, 5))
    max_idle = draw(st.none() | st.integers(0, maxsize))
    most = maxsize if max_idle is None else max_idle
    return PoolSizes(
        maxsize=maxsize,
        max_idle=max_idle,
        min_idle=draw(st.integers(0, most)),
        max_waiting=draw(st.none() | st.integers(0, 3)),
    )


limits = st.builds(
    PoolLimits,
    idle_timeout=st.none() | st.floats(1, 60),
    max_age=st.none() | st.floats(1, 100),
    max_uses=st.none() | st.integers(1, 4),
)


class PoolMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.leased: list[PoolEntry] = []
        self.opening: list[PoolEntry] = []
        self.warming: list[PoolEntry] = []
        self.asked: list[PoolEntry] = []
        self.queue: list[Ticket] = []
        """Those who wait, in the order they came."""
        self.seen: dict[PoolEntry, State] = {}
        self.gone: set[PoolEntry] = set()
        self.closed = self.draining = False

    @initialize(sizes=sizes(), limits=limits, beat=st.sampled_from(BEATS))
    def make(self, sizes: PoolSizes, limits: PoolLimits, beat: Heartbeat | None) -> None:
        self.sizes = sizes
        self.core = PoolCore(sizes, limits, beat)
        self.core.timer(self.now)
        self.carry_out()

    # -- what drivers do

    def carry_out(self) -> None:
        actions, self.core.outbox = self.core.outbox, []
        for action in actions:
            self.do(action)

    def do(self, action: Action) -> None:
        if self.closed:
            assert isinstance(action, (Close, Refuse)), f"{action} after close"
        match action:
            case Grant(ticket, entry):
                assert self.queue[0] is ticket, "first come, first served"
                self.queue.pop(0)
                self.receive(entry)
                ticket.wake = "granted"
            case Refuse(ticket, _):
                self.queue.remove(ticket)
            case Open(entry):
                assert entry.state is State.OPENING
                self.warming.append(entry)
            case Close(entry, reason):
                assert isinstance(reason, CloseReason)
                assert entry not in self.gone, "closed twice"
                self.gone.add(entry)
                for place in (self.leased, self.opening, self.warming, self.asked):
                    if entry in place:
                        place.remove(entry)
            case Check(entry) | Beat(entry):
                assert entry.state is State.CHECKING
                self.asked.append(entry)

    def receive(self, entry: PoolEntry) -> None:
        assert entry not in self.leased, "lent twice"
        if entry in self.asked:
            self.asked.remove(entry)
            assert entry.asked_at == math.inf, "lent while it is being asked"
        assert entry not in self.gone, "lent after it was closed"
        if entry.state is State.OPENING:
            self.opening.append(entry)
        else:
            assert entry.state is State.LEASED
            self.leased.append(entry)

    def lend(self) -> PoolEntry | None:
        return self.core.lend(self.now)

    def give_back(self, entry: PoolEntry) -> None:
        if self.core.give_back(Slip(entry), self.now):
            self.core.settle(entry, self.now)

    # -- what can happen

    @rule()
    def acquire(self) -> None:
        entry = self.lend()
        if entry is not None:
            assert not self.queue, "a newcomer overtook those who wait"
            assert self.now - entry.idle_since < entry.idle_allowance
            assert self.now < entry.old_at
            self.receive(entry)
            return
        ticket = Ticket()
        self.core.request(ticket, self.now)
        if ticket.entry is not None:
            self.receive(ticket.entry)
        elif ticket.waits:
            self.queue.append(ticket)
        else:
            assert self.closed or self.draining or len(self.queue) == self.sizes.max_waiting
        self.carry_out()

    @precondition(lambda self: self.leased)
    @rule(which=st.integers(0, 9), dead=st.booleans())
    def release(self, which: int, *, dead: bool) -> None:
        entry = self.leased.pop(which % len(self.leased))
        if dead:
            self.core.retire(entry, CloseReason.FAILED, self.now)
        else:
            self.give_back(entry)
        self.carry_out()

    @precondition(lambda self: self.leased)
    @rule(which=st.integers(0, 9))
    def the_lent_one_is_dead(self, which: int) -> None:
        ticket = Ticket()
        ticket.entry = self.leased.pop(which % len(self.leased))
        self.core.replace(ticket, CloseReason.PEER_CLOSED, self.now)
        if ticket.entry is not None:
            self.receive(ticket.entry)
        self.core.recheck(self.now)
        self.carry_out()

    @precondition(lambda self: self.opening or self.warming)
    @rule(which=st.integers(0, 9), fails=st.booleans(), jitter=st.floats(0, 1))
    def connected(self, which: int, jitter: float, *, fails: bool) -> None:
        waiting = [*self.opening, *self.warming]
        entry = waiting[which % len(waiting)]
        warm = entry in self.warming
        (self.warming if warm else self.opening).remove(entry)
        if fails:
            self.core.open_failed(entry, self.now)
        elif self.core.opened(entry, self.now, jitter) and not warm:
            self.receive(entry)
        self.carry_out()

    @precondition(lambda self: self.queue)
    @rule(which=st.integers(0, 9))
    def a_waiter_gives_up(self, which: int) -> None:
        ticket = self.queue.pop(which % len(self.queue))
        self.core.gave_up(ticket, self.now)
        assert ticket.waits
        self.carry_out()

    @precondition(lambda self: self.queue)
    @rule(which=st.integers(0, 9))
    def a_waiter_is_interrupted(self, which: int) -> None:
        self.core.hand_on(self.queue.pop(which % len(self.queue)), self.now)
        self.carry_out()

    @precondition(lambda self: self.leased or self.opening)
    @rule(which=st.integers(0, 9))
    def one_is_interrupted_as_he_is_lent_it(self, which: int) -> None:
        lent = [*self.leased, *self.opening]
        ticket = Ticket()
        ticket.entry = entry = lent[which % len(lent)]
        (self.leased if entry in self.leased else self.opening).remove(entry)
        self.core.hand_on(ticket, self.now)
        self.carry_out()

    @precondition(lambda self: self.queue and self.leased and not (self.closed or self.draining))
    @rule(takes=st.booleans())
    def a_waiter_gives_up_as_he_is_served(self, *, takes: bool) -> None:
        ticket = self.queue[0]
        entry = self.leased.pop()
        self.give_back(entry)
        self.carry_out()
        served = ticket.entry
        assert served is not None
        if takes:
            self.core.gave_up(ticket, self.now)
            assert ticket.entry is served
            return
        (self.opening if served.state is State.OPENING else self.leased).remove(served)
        self.core.hand_on(ticket, self.now)
        self.carry_out()

    @precondition(lambda self: self.core._asking.queued)
    @rule(which=st.integers(0, 9))
    def a_thread_is_free_for_a_function(self, which: int) -> None:
        queued = list(self.core._asking.queued)
        assert self.core.began(queued[which % len(queued)], self.now)

    @precondition(lambda self: self.asked)
    @rule(which=st.integers(0, 9), dead=st.booleans(), answered=st.booleans())
    def checked(self, which: int, *, dead: bool, answered: bool) -> None:
        entry = self.asked[which % len(self.asked)]
        if entry in self.core._asking.queued:
            return
        self.asked.remove(entry)
        reason = CloseReason.PEER_CLOSED if dead else None
        self.core.checked(entry, reason, self.now, answered=answered)
        self.carry_out()

    @rule(which=st.integers(0, 9))
    def the_peer_ends_one(self, which: int) -> None:
        alive = list(self.core.everything)
        if not alive:
            return
        entry = alive[which % len(alive)]
        if entry.state is State.OPENING:
            return
        if self.core.startled(entry, CloseReason.PEER_CLOSED, self.now):
            self.asked.append(entry)
        self.carry_out()

    @rule(wait=seconds)
    def time_passes(self, wait: float) -> None:
        self.now += wait
        self.core.timer(self.now)
        deadline = self.core.next_deadline()
        assert deadline is None or deadline > self.now, "a deadline in the past"
        self.carry_out()

    @rule()
    def the_timer_is_called_on_its_deadline(self) -> None:
        deadline = self.core.next_deadline()
        if deadline is not None:
            self.time_passes(max(deadline - self.now, 0.0))

    @rule(now=rarely)
    def drain(self, *, now: bool) -> None:
        if not now:
            return
        self.draining = True
        self.core.drain(self.now)
        self.carry_out()

    @rule(now=rarely)
    def close(self, *, now: bool) -> None:
        if not now:
            return
        self.closed = True
        self.core.close(self.now)
        self.carry_out()
        assert not self.queue, "somebody waits for a closed pool"

    # -- what always holds

    @invariant()
    def never_more_than_maxsize(self) -> None:
        if hasattr(self, "core"):
            assert len(self.core.everything) <= self.sizes.maxsize
            assert all(entry.state in OCCUPYING for entry in self.core.everything)

    @invariant()
    def everything_is_in_one_place(self) -> None:
        if not hasattr(self, "core"):
            return
        core = self.core
        assert len(self.leased) == len(set(self.leased))
        idle = {e for e in core.everything if e.state is State.IDLE}
        assert idle == set(core._idle.all())
        assert len(idle) == core.idle
        assert {e for e in core.everything if e.state is State.LEASED} == set(self.leased)
        opening = {*self.opening, *self.warming}
        assert {e for e in core.everything if e.state is State.OPENING} == opening

    @invariant()
    def nobody_waits_beside_a_free_place(self) -> None:
        if not hasattr(self, "core"):
            return
        assert list(self.core.waiting) == self.queue
        if self.queue:
            assert self.core.idle == 0
            assert len(self.core.everything) == self.sizes.maxsize
            assert all(e.state is not State.DOUBTED for e in self.core.everything)
            assert not self.core._asking.queued

    @invariant()
    def no_more_idle_than_allowed_and_none_after_the_end(self) -> None:
        if not hasattr(self, "core"):
            return
        if self.sizes.max_idle is not None:
            assert self.core.idle <= self.sizes.max_idle
        if self.closed or self.draining:
            assert self.core.idle == 0

    @invariant()
    def every_step_is_in_the_table(self) -> None:
        if not hasattr(self, "core"):
            return
        for entry in {*self.seen, *self.core.everything}:
            before, after = self.seen.get(entry, State.OPENING), entry.state
            assert before is after or _can_come(before, after), (before, after)
            self.seen[entry] = after

    @invariant()
    def every_idle_one_has_its_note(self) -> None:
        if hasattr(self, "core"):
            assert all(e.alarm is not None for e in self.core.everything if e.state is State.IDLE)


def _can_come(before: State, after: State) -> bool:
    """One stimulus may make several steps."""
    reached, new = {before}, {before}
    while new:
        new = {end for start, end in STEPS if start in new} - reached
        reached |= new
    return after in reached


PoolMachine.TestCase.settings = settings(
    max_examples=500, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestPoolMachine = PoolMachine.TestCase
