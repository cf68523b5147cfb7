"""What this process knows about each origin, shared by all its pools."""

from __future__ import annotations

import math
import time
import weakref
from collections.abc import Callable, Collection
from typing import Any, NamedTuple, TypeVar

from holdfast._core.knowledge import Knowledge, read_document
from holdfast._core.learning import Learner
from holdfast._core.standing import Standing, allowance, standing
from holdfast._threads.fork_safe import ForkSafeLock
from holdfast.policy import SYSTEM_CLOCK, PoolLimits
from holdfast.vocabulary import CloseReason

__all__ = ["Origin", "Origins", "Rest", "origins_by", "the_origins"]

CAREFREE = 1.0
"""Seconds a connection may lie idle before anybody thinks about what was learned. A kernel cannot be
asked sooner (man 7 tcp, TCP_KEEPIDLE), and few peers hang up sooner."""
CAREFREE_SHARE = 0.25
"""Of a limit that was learned."""
SUSPENDED = 0.05
"""Seconds by which the two clocks may part while the machine is awake: they are not read at once."""

Clock = Callable[[], float]
ToldT = TypeVar("ToldT")


class Rest(NamedTuple):
    """How a connection has lain, in seconds."""

    idle: float
    """Since its last response ended."""
    silent: float
    """Since anything was heard of its peer; TCP keepalive breaks the silence."""

    @property
    def spared(self) -> float:
        return max(0.0, self.idle - self.silent)


class Origin:
    """One server as a client reaches it: scheme, host, port, proxy and address. For any thread."""

    __slots__ = (
        "__weakref__",
        "_fork_safe",
        "_kept",
        "_kept_until",
        "carefree",
        "flow_limit",
        "learner",
        "name",
        "outpost",
        "suspect",
        "use_limit",
    )

    def __init__(self, name: str, learner: Learner, fork_safe: ForkSafeLock, now: float) -> None:
        self.name = name
        self.learner = learner
        self._fork_safe = fork_safe
        self.carefree = CAREFREE
        """Seconds: who lay idle for less is not asked about."""
        self.suspect = -math.inf
        """Who has been idle since then, or for longer, must prove that it is alive."""
        self.outpost: Callable[[], object] | None = None
        """Refers to the connection that is kept open to see when the peer hangs up, if there is one."""
        self.use_limit: float = math.inf
        """Requests after which the peer hangs up without a word."""
        self.flow_limit: float = math.inf
        """Seconds of silence after which something on the way forgets the connection."""
        self.reckon(now)

    def peer_closed(self, rest: Rest, uses: int, now: float) -> None:
        """The peer ended an idle connection, and it was seen at once."""
        with self._fork_safe.lock:
            self.learner.peer_closed(rest.idle, uses, now, silent=rest.silent)
            self.reckon(now)

    def found_dead(self, idle: float, uses: int, now: float) -> None:
        """One that was wanted was dead. Whoever lay idle as long may be so as well."""
        with self._fork_safe.lock:
            self.learner.found_dead(idle, uses, now)
            self.reckon(now)
            self.suspect = max(self.suspect, now - idle)

    def fell_silent(self, rest: Rest, now: float) -> None:
        """What was sent on it met no sign of life."""
        with self._fork_safe.lock:
            self.learner.fell_silent(rest.silent, now)
            self.reckon(now)
            self.suspect = max(self.suspect, now - rest.idle)

    def still_open(self, idle: float, now: float) -> None:
        """As far as can be seen without asking."""
        with self._fork_safe.lock:
            self.learner.still_open(idle, now)
            self.reckon(now)

    def answered(self, rest: Rest, uses: int, now: float) -> None:
        """One that lay idle so long carried a request, or its peer's kernel answered."""
        with self._fork_safe.lock:
            self.learner.answered(rest.idle, uses, now, silent=rest.silent)
            self.reckon(now)

    def stands(
        self,
        rest: Rest,
        *,
        uses: int,
        allowed: float,
        allowed_unsafe: float,
        rtt: float | None,
        unsafe: bool,
        now: float,
        limits: PoolLimits,
    ) -> tuple[Standing, CloseReason | None]:
        """And what it is to be closed for, if it is spent."""
        learner = self.learner if limits.learn else None
        with self._fork_safe.lock:
            stands = standing(
                rest.idle,
                allowed=allowed,
                allowed_unsafe=allowed_unsafe,
                learner=learner,
                rtt=rtt,
                unsafe=unsafe,
                now=now,
                probe_after=limits.probe_after,
                probe_unsafe_after=limits.probe_unsafe_after,
                can_probe=rtt is not None,
                spared=rest.spared,
                uses=uses,
            )
            if learner is not None and uses >= self.use_limit:
                return stands, CloseReason.LEARNED_USES
            can_probe = rtt is not None and limits.probe_after is not None
            return stands, allowance(
                allowed, learner, rtt, now, can_probe=can_probe, spared=rest.spared
            ).reason

    def keeps(self, at: float) -> float:
        """Seconds that the peer was seen to keep an idle connection; 0 if it was not, or too long ago."""
        return self._kept if at < self._kept_until else 0.0

    def reckon(self, now: float) -> None:
        self.use_limit = self.learner.use_limit(now) or math.inf
        idle, flow = self.learner.idle_limit(now), self.learner.flow_limit(now)
        self._kept, self._kept_until = self.learner.proved(now)
        self.flow_limit = math.inf if flow is None else flow.seconds
        shortest = min(self.flow_limit, math.inf if idle is None else idle.seconds)
        self.carefree = min(CAREFREE, CAREFREE_SHARE * shortest)


class Origins:
    """See :func:`the_origins`."""

    clock: Clock

    def __init__(self, clock: Clock) -> None:
        self.knowledge = Knowledge()
        self.clock = clock
        self._fork_safe = ForkSafeLock()
        self._in_use: weakref.WeakValueDictionary[str, Origin] = weakref.WeakValueDictionary()
        self._asleep = _asleep()

    def of(self, name: str) -> Origin:
        with self._fork_safe.lock:
            origin = self._in_use.get(name)
            if origin is None:
                learner = self.knowledge.of(name)
                origin = self._in_use[name] = Origin(name, learner, self._fork_safe, self.clock())
            return origin

    def tell(
        self, what: Callable[[Learner, float], ToldT | None], about: Collection[str] | None = None
    ) -> dict[str, ToldT]:
        """By name, what there is to tell. ``about``: of these only (scheme, host and port)."""
        now = self.clock()
        with self._fork_safe.lock:
            told = {
                name: what(learner, now)
                for name, learner in self.knowledge.items()
                if about is None or name.partition(" ")[0] in about
            }
        return {name: one for name, one in told.items() if one is not None}

    def export(self) -> dict[str, Any]:
        with self._fork_safe.lock:
            return self.knowledge.export(self.clock())

    def load(self, document: str | bytes) -> None:
        data, now = read_document(document), self.clock()
        with self._fork_safe.lock:
            self.knowledge.load(data, now)
            for origin in list(self._in_use.values()):
                origin.learner = self.knowledge.of(origin.name)
                origin.reckon(now)

    def forget(self) -> None:
        with self._fork_safe.lock:
            self.knowledge = Knowledge()
            for origin in list(self._in_use.values()):
                origin.learner = self.knowledge.of(origin.name)
                origin.suspect = -math.inf
                origin.reckon(self.clock())

    def suspect_all(self) -> None:
        """Whatever is idle must prove that it is alive."""
        now = self.clock()
        with self._fork_safe.lock:
            for origin in list(self._in_use.values()):
                origin.suspect = now

    def _network_changed(self) -> None:
        self.suspect_all()

    def look_for_suspension(self) -> None:
        """The machine may have slept, and its peers and everything in between did not."""
        asleep = _asleep()
        if asleep - self._asleep > SUSPENDED:
            self._asleep = asleep
            self.suspect_all()


def _asleep() -> float:
    """Seconds this machine has been suspended for since it was booted; 0 where that cannot be told."""
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return 0.0
    awake = time.clock_gettime(time.CLOCK_MONOTONIC)
    return time.clock_gettime(time.CLOCK_BOOTTIME) - awake


_origins = Origins(SYSTEM_CLOCK)


def the_origins() -> Origins:
    """Those of this process."""
    return _origins


def origins_by(clock: Clock) -> Origins:
    """Who goes by a clock of his own has nothing to say to the others, nor they to him."""
    return _origins if clock is SYSTEM_CLOCK else Origins(clock)
