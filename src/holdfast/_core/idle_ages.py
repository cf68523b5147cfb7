"""When does the peer end an idle connection? Learned from the ages at which it did.

Servers end idle connections at their limit or up to two seconds later (Tomcat; gunicorn, waitress and
Redis look once a second), and never before. So the lowest age seen is the best guess, and it is too
high by about the spread divided by the number of ages. What does not fit the others is first suspected
to be a restart, and believed when it comes again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from holdfast._core.lateness import AT_ONCE, LATE, SAME, slack
from holdfast._core.outlived import Outlived
from holdfast._core.suspects import Suspects

__all__ = ["IdleAges", "Limit"]

_HALF_LIFE = 3600.0
"""Seconds in which knowledge that nothing confirms loses half of its weight: its margin grows."""

_FORGET = 6 * 3600.0
"""Seconds after which it is forgotten."""

_CROSSING = 0.2
"""Seconds that a request may take to the peer, and the news of its end back; of a short limit a tenth."""

_RECENT = 10
_MOST_MERGED = 1_000_000 - _RECENT
"""All together no more than an exported document may say."""

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
        "_first_at",
        "_found",
        "_highest",
        "_lowest",
        "_merged",
        "_mixed",
        "_outlived",
        "_own",
        "_recent",
        "_refuted",
        "_seen_at",
        "_suspects",
    )

    def __init__(self) -> None:
        self._outlived = Outlived()
        self._suspects = Suspects()
        self._first_at = -math.inf
        """When the first came of the ends that have one cause, if there are several."""
        self._born = -math.inf
        """When the connection became idle that refuted last: it does so once."""
        self.forget()

    def forget(self) -> None:
        """Of the limit itself; not what others have lived through."""
        self._recent: list[float] = []
        self._lowest = math.inf
        self._highest = -math.inf
        self._found = False
        """It is known only from a connection that was found ended: it is lower by nobody knows how much."""
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
            if self._found:
                self.forget()
        elif self._is_no_news(age, now):
            return
        self._weigh(age, now, exact=exact)
        # From the first of them on: under load one end follows the other without a pause.
        if not self._is_at_once(now):
            self._first_at = now

    def lived(self, idle: float, now: float) -> None:
        """A connection was still open after so long."""
        self._expire(now)
        self._outlived.add(idle, now)
        self._suspects.lived(idle)
        born = now - idle
        if idle <= self.lowest + slack(self.lowest) or abs(born - self._born) < AT_ONCE:
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

    def proved(self, now: float) -> tuple[float, float]:
        """Seconds that the peer was seen to keep an idle connection, and until when that counts."""
        known = self.limit(now)
        if known is None or self._found:
            return 0.0, now
        return known.seconds - known.margin, self._seen_at + _FORGET

    def outlived(self, now: float) -> float:
        """Seconds that two connections have lived through lately; 0 if there were not two."""
        return self._outlived.by(2, now)

    def outlived_at(self, now: float) -> float:
        """The age at which a connection has outlived the limit; 0 if there is none to outlive."""
        self._expire(now)
        return self.lowest + slack(self.lowest) + SAME if self._count() else 0.0

    def imported(self, limit: Limit, seen_at: float) -> None:
        """What another process knew. One end that this process sees itself outweighs it."""
        self._lowest, self._highest = limit.seconds, limit.seconds + limit.spread
        self._merged, self._seen_at = limit.samples, seen_at

    @property
    def seen_at(self) -> float:
        return self._seen_at

    # -- how it is weighed

    def _is_no_news(self, age: float, now: float) -> bool:
        """Found ended at an age that the limit known explains: a request that crossed the end on the way."""
        known = self.limit(now)
        if known is None:
            return False
        if self._found:
            return age >= known.seconds
        return age >= known.seconds - known.margin - min(_CROSSING, known.seconds / 10)

    def _weigh(self, age: float, now: float, *, exact: bool) -> None:
        known = self.limit(now)
        belongs = known is not None and self._belongs(age, known)
        if self.outlived(now) > age + slack(age) and not belongs:
            self._suspect(age, now, exact=exact)
        elif known is None:
            self._take(age, now, exact=exact)
        elif age > known.seconds + slack(known.seconds):
            return
        elif belongs and not self._found:
            self._suspects.fits()
            self._take(age, now, exact=exact)
        elif known.samples > 1 and self._own:
            self._suspect(age, now, exact=exact)
        else:
            self._replace(age, now, exact=exact)

    def _belongs(self, age: float, known: Limit) -> bool:
        return -known.margin - SAME <= age - known.seconds <= slack(known.seconds)

    def _replace(self, age: float, now: float, *, exact: bool) -> None:
        """One end against one end, or against hearsay: the smaller is the safer."""
        at_once = self._own and self._is_at_once(now)
        self.forget()
        # Two ends at once, at ages too far apart for one limit, are a restart.
        if not at_once:
            self._take(age, now, exact=exact)

    def _take(self, age: float, now: float, *, exact: bool) -> None:
        self._found = not (exact or self._count())
        self._mixed = self._mixed or self._refuted > 0
        self._refuted = 0
        self._seen_at = now
        if self._own and self._is_at_once(now) and self._recent:
            self._widen(age)
            return
        self._own = True
        self._recent.append(age)
        if len(self._recent) > _RECENT:
            self._merge(self._recent.pop(0))
        self._drop_outlier(now)
        self._drop_what_was_before()

    def _widen(self, age: float) -> None:
        """Of those that end at once the lowest counts, once."""
        self._highest = max(self._highest, age)
        self._recent[-1] = min(self._recent[-1], age)

    def _merge(self, age: float) -> None:
        self._lowest, self._highest = min(self._lowest, age), max(self._highest, age)
        self._merged = min(self._merged + 1, _MOST_MERGED)

    def _drop_outlier(self, now: float) -> None:
        ages = sorted(self._recent)
        # Of two, neither is the odd one; and the latest may be the first of a limit that was lowered.
        if self._merged or len(ages) < 3 or self._recent[-1] == ages[0]:  # noqa: PLR2004 - see above
            return
        reach = ages[-1] - ages[0]
        gap = ages[1] - ages[0]
        # Of ages spread evenly, the chance that the lowest lies so far from the next.
        if gap > SAME and (1 - gap / reach) ** (len(ages) - 2) < _CHANCE:
            self._recent.remove(ages[0])
            self._suspects.put(ages[0], now)

    def _drop_what_was_before(self) -> None:
        before, latest = self._recent[:-_RUN], self._recent[-_RUN:]
        if len(before) < _RECENT - _RUN:
            return
        if min(latest) > max(*before, self._highest) + SAME:
            self._recent = latest
            self._lowest, self._highest, self._merged = math.inf, -math.inf, 0

    def _suspect(self, age: float, now: float, *, exact: bool) -> None:
        if self._is_at_once(now):
            self._suspects.take_back(age, now)
            return
        contradicted = self.outlived(now) > age + slack(age)
        ages = self._suspects.add(age, now)
        if ages:
            self._adopt(ages, now, exact=exact)
            # Two that agree are a lowered limit; more, at one age, come again and again: a backend.
            self._mixed = contradicted and len(ages) > 2  # noqa: PLR2004 - see above

    def _adopt(self, ages: list[float], now: float, *, exact: bool) -> None:
        self.forget()
        self._suspects.clear()
        self._outlived.forget_from(min(ages) + slack(min(ages)))
        self._recent.extend(ages if exact else [min(ages)])
        self._found, self._own, self._seen_at = not exact, True, now

    def _is_at_once(self, now: float) -> bool:
        return abs(now - self._first_at) < AT_ONCE

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
        unsure = min(LATE, lowest / 4) * math.pow(4.0, 1.0 - max(weight, 1.0))
        return min(unsure + spread / max(weight - 1, 1.0), 0.4 * lowest)

    def _expire(self, now: float) -> None:
        if self._count() and now - self._seen_at > _FORGET:
            self.forget()
