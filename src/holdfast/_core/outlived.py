"""The longest idle ages that connections of an origin have lived through lately.

A few numbers: only the longest matter, and only while they are news.
"""

from __future__ import annotations

__all__ = ["Outlived"]


class Outlived:
    """Seconds idle, with when it was seen."""

    __slots__ = ("_ages",)

    _KEPT = 4
    _NEWS = 1800.0
    """Seconds. What was true half an hour ago may have been changed by a deployment since."""

    def __init__(self) -> None:
        self._ages: list[tuple[float, float]] = []

    def add(self, idle: float, now: float) -> None:
        """The shortest gives way to a longer one."""
        self._ages = [seen for seen in self._ages if now - seen[1] <= self._NEWS]
        self._ages.append((idle, now))
        self._ages.sort(reverse=True)
        del self._ages[self._KEPT :]

    def by(self, times: int, now: float) -> float:
        """The age that so many have lived through; 0 if there were not so many (at most four are kept)."""
        fresh = [idle for idle, at in self._ages if now - at <= self._NEWS]
        return fresh[times - 1] if len(fresh) >= times else 0.0

    def forget_from(self, idle: float) -> None:
        """Ages of so many seconds and more prove nothing any longer."""
        self._ages = [seen for seen in self._ages if seen[0] < idle]
