"""A client in front of a simulated server, and what its connections meet. Time is a number.

Some users share what was learned, and one parked connection. Each keeps a connection of its own, thinks,
and sends a request: so the age of a connection when it is wanted is the time its user thought, which lies
around the limit. A request meets the end of its connection if it arrives after the server ended it, and
left before that was seen.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from _idle_servers import Backend, Server, Thinking
from holdfast._core.entry import Entry
from holdfast._core.learning import Learner
from holdfast._core.peer import PeerTerms
from holdfast._core.reuse import heard
from holdfast._core.standing import Allowance, Standing, allowance, standing
from holdfast.policy import PoolLimits
from holdfast.vocabulary import CloseReason

__all__ = ["ONE_WAY", "Counts", "Mind", "run"]

ONE_WAY = 0.015
"""Seconds."""

USERS = 4
_RTT = 2 * ONE_WAY
_SERVING = 0.002
_BY_US = 0.02
"""Seconds that our own scheduling may add, at the worst; 1 ms on average."""

_WORTH_TELLING = 0.5
"""Seconds. Shorter ages teach nothing."""

_SILENT_FOR = 1.0
"""Seconds after which a request that nobody acknowledges is sent again elsewhere."""

_PATIENCE = 4
"""Times the age at which it was parked: so long a connection stays so, if nothing else ends it."""

_LIMITS = PoolLimits(idle_timeout=None)
"""The defaults, but for an ``idle_timeout`` of 55 s that would hide the limits."""


class Mind(Enum):
    """How a client decides."""

    BLIND = "without learning"
    LEARNING = "with learning"
    ORACLE = "an oracle that knows the limit, and keeps to what the server says if that is less"
    HEEDLESS = "an oracle that knows the limit, and does not care what the server says"


@dataclass
class Counts:
    """What came after the first requests, in which it learned."""

    requests: int = 0
    stale: int = 0
    opened: int = 0
    at_first: int = 0
    """Stale uses among the first requests."""
    ends: list[tuple[float, float]] = field(default_factory=list)
    """When an idle connection was seen to end, and at what age; of one that learns."""
    allowed: list[tuple[float, float]] = field(default_factory=list)
    """What it would let a connection lie idle, by the time of its requests."""


class _Connection:
    def __init__(self, backend: Backend, now: float) -> None:
        self.backend = backend
        self.entry = Entry(now)
        """As far as what the server said about it is concerned."""
        self.uses = 0
        self.idle_since = now
        self.ends_at = math.inf
        """By the server's clock, which is ours."""
        self.turn = 0
        """Which idle period this is; events of an earlier one are void."""
        self.gone = False

    def meets_end(self, server: Server, sent_at: float) -> bool:
        refused = self.uses >= server.most_uses and not server.closes_behind
        return refused or self.ends_at <= sent_at + ONE_WAY

    def is_forgotten(self, server: Server, now: float) -> bool:
        return now - self.idle_since + _RTT >= server.forgets


class _World:
    """The events, in the order of time."""

    def __init__(self, server: Server, mind: Mind, seed: int, *, unsafe: bool) -> None:
        self.server, self.mind, self.unsafe, self.seed = server, mind, unsafe, seed
        self.learner = Learner() if mind is Mind.LEARNING else None
        self.chance = random.Random(seed)
        self.counts = Counts()
        self.events: list[tuple[float, int, Callable[[float], None]]] = []
        self.order = itertools.count()
        self.held: dict[int, _Connection] = {}
        self.parked: _Connection | None = None
        self.open: list[_Connection] = []

    def at(self, when: float, what: Callable[[float], None]) -> None:
        heapq.heappush(self.events, (when, next(self.order), what))

    def step(self) -> None:
        when, _, what = heapq.heappop(self.events)
        what(when)

    def start(self, now: float) -> None:
        for user in range(USERS):
            thoughts = random.Random(f"{self.seed} {user}")
            self.at(now + thoughts.random(), self._wish(user, thoughts))
        if math.isfinite(self.server.restarts[0]):
            for backend in self.server.backends:
                self._restart_later(backend, now)

    # -- the server's side

    def _restart_later(self, backend: Backend, now: float) -> None:
        def restart(then: float) -> None:
            self.open = [one for one in self.open if not one.gone]
            for one in self.open:
                if one.backend is backend and one.ends_at > then:
                    one.ends_at = then
                    self._end_is_seen(one, then + ONE_WAY)
            self._restart_later(backend, then)

        self.at(now + self.chance.uniform(*self.server.restarts), restart)

    def _serve(self, one: _Connection, sent_at: float) -> None:
        answered_at = sent_at + ONE_WAY + _SERVING
        one.uses += 1
        one.turn += 1
        counted_out = one.uses >= self.server.most_uses and self.server.closes_behind
        one.ends_at = answered_at if counted_out else one.backend.end(answered_at, self.chance)
        one.idle_since = answered_at + ONE_WAY

    def _end_is_seen(self, one: _Connection, when: float) -> None:
        """The watcher sees it, unless it is in use again by then."""
        turn = one.turn

        def seen(now: float) -> None:
            if one.gone or one.turn != turn:
                return
            self._leave(one)
            if self.learner is not None:
                self.counts.ends.append((now, now - one.idle_since))
                self.learner.peer_closed(now - one.idle_since, one.uses, now)

        self.at(when, seen)

    # -- the client's side: idle connections

    def _lay_down(self, user: int, one: _Connection, now: float) -> None:
        self.held[user] = one
        known = None if self.learner is None else self.learner.idle_limit(now)
        kept = 0.0 if known is None else known.seconds - known.margin
        heard(one.entry, PeerTerms(persistent=True, idle_timeout=self.server.hint), _LIMITS, kept)
        comes_through = one.ends_at + ONE_WAY - now < self.server.forgets
        if math.isfinite(one.ends_at) and comes_through:
            self._end_is_seen(one, max(now, one.ends_at + ONE_WAY + self._delay()))
        self._expire_later(user, one)

    def _expire_later(self, user: int, one: _Connection) -> None:
        turn = one.turn
        due = one.idle_since + self._allowed(one, one.idle_since).seconds

        def expire(now: float) -> None:
            if one.gone or one.turn != turn or self.held.get(user) is not one:
                return
            limits = self._allowed(one, now)
            if one.idle_since + limits.seconds > now:
                self._expire_later(user, one)
                return
            if limits.reason is None and one.entry.is_hint_proved:
                return  # it lies until it is wanted, or its server ends it
            del self.held[user]
            if self.parked is None and limits.reason is not CloseReason.FLOW_LIMIT:
                self._park(one, now)
            else:
                self._leave(one)

        if self.learner is not None and math.isfinite(due):
            self.at(due, expire)

    def _park(self, one: _Connection, now: float) -> None:
        """One that reached its limit stays open to show the real one."""
        self.parked = one
        self._watch_parked(one, now, given_up_at=one.idle_since + _PATIENCE * (now - one.idle_since))

    def _watch_parked(self, one: _Connection, now: float, *, given_up_at: float) -> None:
        def look(then: float) -> None:
            if self.parked is not one or self.learner is None:
                return
            idle = then - one.idle_since
            self.learner.still_open(idle, then)
            told_all = self.learner.parked_until(then)
            if then >= given_up_at or 0 < told_all <= idle:
                self._leave(one)
            else:
                self._watch_parked(one, then, given_up_at=given_up_at)

        self.at(now + 1, look)

    def _leave(self, one: _Connection) -> None:
        one.gone = True
        if self.parked is one:
            self.parked = None

    # -- the client's side: requests

    def _wish(self, user: int, thoughts: random.Random) -> Callable[[float], None]:
        def want(now: float) -> None:
            one, sent_at = self._send(self.held.pop(user, None), now)
            self._serve(one, sent_at)
            self.counts.requests += 1
            if self.learner is not None:
                self.counts.allowed.append((now, self._allowed(one, now).seconds))
            self.at(one.idle_since, lambda then: self._lay_down(user, one, then))
            thought = self.thinking(self.server.around(one.idle_since), thoughts)
            self.at(one.idle_since + thought, want)

        return want

    thinking: Thinking

    def _send(self, one: _Connection | None, now: float) -> tuple[_Connection, float]:
        """The connection that carries it, and when it left."""
        sent_at = now + self._delay()
        if one is not None and not one.gone:
            if self._may_ride(one, now, sent_at):
                lost = self._lost(one, sent_at)
                if not lost:
                    return one, sent_at
                self.counts.stale += 1
                sent_at += lost
            self._leave(one)
        self.counts.opened += 1
        one = _Connection(self.chance.choice(self.server.backends), sent_at)
        self.open.append(one)
        return one, sent_at + _RTT

    def _lost(self, one: _Connection, sent_at: float) -> float:
        """Seconds until it is known that the request met no one; 0 if it was answered."""
        idle, learner = sent_at - one.idle_since, self.learner
        if one.is_forgotten(self.server, sent_at):
            if learner is not None:
                learner.fell_silent(idle, sent_at + _SILENT_FOR)
            return _SILENT_FOR
        if one.meets_end(self.server, sent_at):
            if learner is not None:
                learner.found_dead(idle, one.uses, sent_at + _RTT)
            return _RTT
        if learner is not None and idle >= _WORTH_TELLING:
            learner.answered(idle, one.uses + 1, sent_at + _RTT)
        return 0.0

    def _may_ride(self, one: _Connection, now: float, sent_at: float) -> bool:
        if self.mind in (Mind.ORACLE, Mind.HEEDLESS):
            # By the server's count: its timer started one way before the answer was here.
            idle = sent_at - one.idle_since + ONE_WAY
            known = self.server.known(one.idle_since)
            if self.mind is Mind.ORACLE and self.server.hint is not None:
                known = min(known, self.server.hint)
            return idle < known - ONE_WAY and one.uses < self.server.most_uses
        idle = now - one.idle_since
        if self.learner is None:
            return idle < one.entry.idle_allowance
        return self._judge(one, idle, now, self.learner)

    def _judge(self, one: _Connection, idle: float, now: float, learner: Learner) -> bool:
        stands = standing(
            idle,
            allowed=one.entry.idle_allowance,
            allowed_unsafe=one.entry.unsafe_allowance,
            learner=learner,
            rtt=_RTT,
            unsafe=self.unsafe,
            now=now,
            can_probe=self.server.probed,
            uses=one.uses,
        )
        if stands is Standing.DOUBTFUL and self.server.probed:
            return self._probe(one, idle, now, learner)
        return stands is Standing.GOOD or (stands is Standing.DOUBTFUL and not self.unsafe)

    def _probe(self, one: _Connection, idle: float, now: float, learner: Learner) -> bool:
        if one.is_forgotten(self.server, now):
            learner.fell_silent(idle, now)
            return False
        learner.answered(idle, one.uses, now)
        return True

    def _allowed(self, one: _Connection, now: float) -> Allowance:
        return allowance(one.entry.idle_allowance, self.learner, _RTT, now, can_probe=self.server.probed)

    def _delay(self) -> float:
        return min(self.chance.expovariate(1000), _BY_US)


def run(
    server: Server,
    mind: Mind,
    thinking: Thinking,
    *,
    requests: int,
    seed: int = 1,
    unsafe: bool = False,
) -> Counts:
    """So many requests, after those in which it learns."""
    world = _World(server, mind, seed, unsafe=unsafe)
    world.thinking = thinking
    world.start(1000.0)
    counts = world.counts
    while counts.requests < server.learned_after:
        world.step()
    counts.at_first, counts.requests, counts.stale, counts.opened = counts.stale, 0, 0, 0
    while counts.requests < requests:
        world.step()
    return counts
