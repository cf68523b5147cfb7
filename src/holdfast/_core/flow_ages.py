"""How long does the way to the peer keep an idle flow? Learned from unacknowledged silence.

A firewall or NAT that forgets a flow tells nobody. So there are upper bounds only: ages after which
what was sent met silence. A connection that still works at a higher age refutes them.
"""

from __future__ import annotations

import math

from holdfast._core.idle_ages import Limit
from holdfast._core.outlived import Outlived

__all__ = ["FlowAges"]

_SHORTEST = 0.5
"""Seconds. Nothing forgets a flow sooner; silence after less is an outage of the network."""

_AT_ONCE = 2.0
"""Seconds within which silences have one cause. A cable that was pulled silences connections of
every age, and only the longest of these might be a limit."""

_FORGET_ONE = 1800.0
"""Seconds after which a silence that nothing confirmed is forgotten: it may have been an outage."""

_FORGET = 6 * 3600.0

_UNTRIED = 0.75
"""Of the way from the longest age that was answered on to the shortest that met silence, this part is left
alone by those who cannot probe: each step beyond it costs a request that waits for nothing."""


class FlowAges:
    """Ages in seconds, ``now`` in monotonic seconds."""

    __slots__ = ("_answered", "_count", "_refuted", "_seen_at", "_shortest")

    def __init__(self) -> None:
        self._answered = Outlived()
        self._forget()

    def _forget(self) -> None:
        self._shortest = math.inf
        self._count = 0
        self._seen_at = -math.inf
        self._refuted = 0

    def fell_silent(self, idle: float, now: float) -> None:
        self._expire(now)
        if idle < _SHORTEST:
            return
        if self._count and abs(now - self._seen_at) < _AT_ONCE:
            if self._count == 1:
                self._shortest = max(self._shortest, idle)
            return
        self._answered.forget_from(idle)
        self._shortest = min(self._shortest, idle)
        self._count = min(self._count + 1, 1_000_000)
        self._seen_at = now
        self._refuted = 0

    def answered(self, idle: float, now: float) -> None:
        """A byte or a FIN came through after so long: the way was open."""
        self._expire(now)
        self._answered.add(idle, now)
        if idle <= self._shortest:
            return
        self._refuted += 1
        if self._refuted >= min(self._count, 2):
            self._forget()

    def limit(self, now: float) -> Limit | None:
        self._expire(now)
        if not self._count:
            return None
        spread = self._shortest - min(self._answered.by(1, now), self._shortest)
        return Limit(self._shortest, spread, self._count, _UNTRIED * spread)

    def proven(self, now: float) -> float:
        """Seconds idle after which three connections were answered on lately; 0 if there were not three."""
        return self._answered.by(3, now)

    def imported(self, seconds: float, count: int, seen_at: float) -> None:
        """What another process knew."""
        self._shortest, self._count, self._seen_at = seconds, count, seen_at

    @property
    def seen_at(self) -> float:
        return self._seen_at

    def _expire(self, now: float) -> None:
        if self._count and now - self._seen_at > (_FORGET if self._count > 1 else _FORGET_ONE):
            self._forget()
