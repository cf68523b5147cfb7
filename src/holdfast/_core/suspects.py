"""Ends of connections that do not fit what is known: restarts, or news.

A restart ends connections of any age, once. A limit that was lowered ends the next connection as well; a
second backend with a lower limit ends connections at the same age again and again.
"""

from __future__ import annotations

from holdfast._core.lateness import AT_ONCE, SAME, slack

__all__ = ["Suspects"]

_NEWS = 3600.0
"""Seconds after which one is forgotten."""

_KEPT = 4
_ALIKE = 3
"""So many at one age are believed whatever else is seen. Two restarts may agree by chance."""


class Suspects:
    """The latest few: age in seconds, and when it was seen."""

    __slots__ = ("_seen", "_streak")

    def __init__(self) -> None:
        self._seen: list[tuple[float, float]] = []
        self._streak = False
        """Since the latest nothing was seen that speaks for what was known before."""

    def fits(self) -> None:
        """An end was seen that fits what is known."""
        self._streak = False

    def lived(self, idle: float) -> None:
        """A connection was still open after so long."""
        if self._seen and idle > self._seen[-1][0] + slack(self._seen[-1][0]):
            self._streak = False

    def put(self, age: float, now: float) -> None:
        """It turned out not to fit."""
        self._seen.append((age, now))
        del self._seen[:-_KEPT]

    def take_back(self, age: float, now: float) -> None:
        """Another came at once. At another age: both are of a restart. At the same: one event."""
        if self._seen and now - self._seen[-1][1] < AT_ONCE and abs(self._seen[-1][0] - age) > 2 * SAME:
            self._seen.pop()

    def add(self, age: float, now: float) -> list[float]:
        """The ages to believe in, if it confirms earlier ones."""
        self._seen = [one for one in self._seen if now - one[1] <= _NEWS]
        before = self._seen[-1][0] if self._seen and self._streak else None
        self.put(age, now)
        self._streak = True
        if before is not None and abs(before - age) <= slack(min(before, age)):
            return [before, age]
        alike = [one for one, _ in self._seen if abs(one - age) <= SAME + age / 100]
        return alike if len(alike) >= _ALIKE else []

    def clear(self) -> None:
        self._seen.clear()
