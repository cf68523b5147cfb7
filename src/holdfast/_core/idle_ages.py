"""When does the peer end an idle connection? Learned from the ages at which it did.

Servers end idle connections at their limit or up to two seconds later (Tomcat; gunicorn, waitress and
Redis look once a second), and never before. So the lowest age seen is the best guess, and it is too
high by about the spread divided by the number of ages. What does not fit the others is first suspected
to be a restart, and believed when it comes again.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from holdfast._core.outlived import Outlived

__all__ = ["IdleAges", "Limit"]

_HALF_LIFE = 3600.0
"""Seconds in which knowledge that nothing confirms loses half of its weight: its margin grows."""

_FORGET = 6 * 3600.0
"""Seconds after which it is forgotten."""

_LATE = 2.0
"""Seconds that a server may be late: twice the second that most look round in."""

_AT_ONCE = 0.5
"""Seconds within which ends have one cause: a restart, or one round of the server's timer."""

_SAME = 0.05
"""Seconds that two ages may differ although the limit is the same: our own scheduling."""

_RECENT = 10
_RUN = 6
"""So many ages in a row above all others are no chance (1 in 210 for the 6 highest of 10): the limit
was raised by less than anybody could outlive it."""

_CHANCE = 0.01
"""An age so far below the others that it would be that rare is no limit."""


@dataclass(frozen=True)
class Limit:
    """What was learned about a limit."""

    seconds: float
    """The lowest age that counts. The real limit is lower by about ``margin``, or less."""
    spread: float
    """Seconds between the lowest and the highest age."""
    samples: int
    """Ends it was learned from; several at once count as one."""
    margin: float
    """Seconds to stay below, for what the ages do not tell: much after one, little after many alike.
    The way to the peer and our own scheduling come on top of it."""


class IdleAges:
    """Ages in seconds, ``now`` in monotonic seconds; a clock that jumps costs knowledge at the most."""

    __slots__ = (
        "_born",
        "_highest",
        "_last",
        "_lowest",
        "_merged",
        "_mixed",
        "_outlived",
        "_own",
        "_recent",
        "_refuted",
        "_seen_at",
        "_streak",
        "_suspects",
    )

    def __init__(self) -> None:
        self._outlived = Outlived()
        self._suspects: deque[tuple[float, float]] = deque(maxlen=4)
        self._streak = False
        """Since the latest suspect nothing was seen that speaks for what was known before."""
        self._last = (-math.inf, 0.0)
        """When the latest end came, and at what age."""
        self._born = -math.inf
        """When the connection became idle that refuted last: it does so once."""
        self.forget()

    def forget(self) -> None:
        """Of the limit itself; not what others have lived through."""
        self._recent: deque[float] = deque()
        self._lowest = math.inf
        self._highest = -math.inf
        self._merged = 0
        """How many are no longer in ``_recent``, only in the two before; also what was imported."""
        self._seen_at = -math.inf
        self._own = False
        """This process saw some of it itself."""
        self._refuted = 0
        self._mixed = False
        """Some connections outlive it and others do not: several backends."""

    # -- told

    def ended(self, age: float, now: float, *, exact: bool) -> None:
        """At this age the peer had ended it; ``exact``: it was seen to end then, not found ended."""
        self._expire(now)
        if exact:
            self.lived(age, now)
        elif age >= self.lowest:
            return
        self._weigh(age, now)
        self._last = (now, age)

    def lived(self, idle: float, now: float) -> None:
        """A connection was still open after so long."""
        self._expire(now)
        self._outlived.add(idle, now)
        if self._suspects and idle > self._suspects[-1][0] + _slack(self._suspects[-1][0]):
            self._streak = False
        born = now - idle
        if idle <= self.lowest + _slack(self.lowest) or abs(born - self._born) < _AT_ONCE:
            return
        self._born = born
        self._refuted += 1
        if self._refuted >= self._patience():
            self.forget()

    # -- answers

    @property
    def lowest(self) -> float:
        """Infinite if nothing is known."""
        return min(self._lowest, min(self._recent, default=math.inf))

    def limit(self, now: float) -> Limit | None:
        self._expire(now)
        lowest, count = self.lowest, self._count()
        if not count:
            return None
        spread = max(self._highest, max(self._recent, default=-math.inf)) - lowest
        return Limit(lowest, spread, count, self._margin(lowest, spread, now))

    def imported(self, limit: Limit, seen_at: float) -> None:
        """What another process knew. One end that this process sees itself outweighs it."""
        self._lowest, self._highest = limit.seconds, limit.seconds + limit.spread
        self._merged, self._seen_at = limit.samples, seen_at

    @property
    def seen_at(self) -> float:
        return self._seen_at

    @property
    def own(self) -> bool:
        return self._own

    # -- how it is weighed

    def _weigh(self, age: float, now: float) -> None:
        known = self.limit(now)
        if self._outlived.by(2, now) > age + _slack(age) and not self._belongs(age, known):
            self._suspect(age, now)
        elif known is None:
            self._take(age, now)
        elif age > known.seconds + _slack(known.seconds):
            return
        elif self._belongs(age, known):
            self._streak = False
            self._take(age, now)
        elif known.samples > 1 and self._own:
            self._suspect(age, now)
        else:
            self._replace(age, now)

    def _belongs(self, age: float, known: Limit | None) -> bool:
        if known is None:
            return False
        return -known.margin - _SAME <= age - known.seconds <= _slack(known.seconds)

    def _replace(self, age: float, now: float) -> None:
        """One end against one end, or against hearsay: the smaller is the safer."""
        at_once = self._own and self._is_at_once(now)
        self.forget()
        # Two ends at once, at ages too far apart for one limit, are a restart.
        if not at_once:
            self._take(age, now)

    def _take(self, age: float, now: float) -> None:
        self._mixed = self._mixed or self._refuted > 0
        self._refuted = 0
        self._seen_at = now
        if self._own and self._is_at_once(now) and self._recent:
            self._widen(age)
            return
        self._own = True
        self._recent.append(age)
        if len(self._recent) > _RECENT:
            self._merge(self._recent.popleft())
        self._drop_outlier(now)
        self._drop_what_was_before()

    def _widen(self, age: float) -> None:
        """Of those that end at once the lowest counts, once."""
        self._highest = max(self._highest, age)
        self._recent[-1] = min(self._recent[-1], age)

    def _merge(self, age: float) -> None:
        self._lowest, self._highest = min(self._lowest, age), max(self._highest, age)
        self._merged = min(self._merged + 1, 1_000_000)

    def _drop_outlier(self, now: float) -> None:
        ages = sorted(self._recent)
        if self._merged or len(ages) < 3:  # noqa: PLR2004 - of two, neither is the odd one
            return
        reach = ages[-1] - ages[0]
        gap = ages[1] - ages[0]
        # Of ages spread evenly, the chance that the lowest lies so far from the next.
        if gap > _SAME and (1 - gap / reach) ** (len(ages) - 2) < _CHANCE:
            self._recent.remove(ages[0])
            self._suspects.append((ages[0], now))

    def _drop_what_was_before(self) -> None:
        latest = list(self._recent)[-_RUN:]
        before = list(self._recent)[:-_RUN]
        if len(before) < _RECENT - _RUN:
            return
        if min(latest) > max(*before, self._highest) + _SAME:
            self._recent = deque(latest)
            self._lowest, self._highest, self._merged = math.inf, -math.inf, 0

    def _suspect(self, age: float, now: float) -> None:
        """An end that does not fit. Believed if it comes again before anything speaks for the old limit,
        or if it comes at this very age again and again: one of several backends."""
        if self._is_at_once(now) and self._suspects:
            # At once and at another age: a restart. At the same age: one event.
            if abs(self._last[1] - age) > 2 * _SAME:
                self._suspects.pop()
            return
        before = self._suspects[-1] if self._suspects and self._streak else None
        self._suspects.append((age, now))
        self._streak = True
        alike = [one for one, _ in self._suspects if abs(one - age) <= _SAME + age / 100]
        if before is not None and abs(before[0] - age) <= _slack(min(before[0], age)):
            self._adopt([before[0], age], now)
        elif len(alike) > 2:  # noqa: PLR2004 - two restarts may agree by chance
            self._adopt(alike, now)
            self._mixed = True

    def _adopt(self, ages: list[float], now: float) -> None:
        self.forget()
        self._suspects.clear()
        self._outlived.forget_from(min(ages) + _slack(min(ages)))
        self._recent.extend(ages)
        self._own, self._seen_at = True, now

    def _is_at_once(self, now: float) -> bool:
        return abs(now - self._last[0]) < _AT_ONCE

    def _count(self) -> int:
        return self._merged + len(self._recent)

    def _patience(self) -> int:
        """How many connections have to outlive it before it is given up."""
        if self._mixed:
            # With two backends in equal shares that many in a row are of the other one 1 time in 256.
            return 8
        return 2 if self._own and self._count() > 1 else 1

    def _margin(self, lowest: float, spread: float, now: float) -> float:
        weight = self._count() * math.pow(0.5, max(0.0, now - self._seen_at) / _HALF_LIFE)
        unsure = min(_LATE, lowest / 4) / 4 ** (max(weight, 1.0) - 1)
        return min(unsure + 1.5 * spread / max(weight - 1, 1.0), 0.4 * lowest)

    def _expire(self, now: float) -> None:
        if self._count() and now - self._seen_at > _FORGET:
            self.forget()
        while self._suspects and now - self._suspects[0][1] > _HALF_LIFE:
            self._suspects.popleft()


def _slack(age: float) -> float:
    """Seconds that a connection may live beyond an age at which another one ended, under one limit.
    A quarter: waitress looks every 30 seconds for what is older than 120."""
    return max(_LATE, age / 4)
