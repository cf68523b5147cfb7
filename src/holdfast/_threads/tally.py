"""Counting, from any thread, with a total over everything below.

A pool's counts add to its manager's as well: pools come and go, the manager's numbers stay.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Hashable

from holdfast._threads.fork_safe import ForkSafeLock

__all__ = ["Tally", "Ticker"]


class Ticker:
    """Counts up without a lock, for the path every request takes: ``next`` on an
    ``itertools.count`` is one indivisible step."""

    __slots__ = ("_count", "_looks", "tick")

    def __init__(self) -> None:
        self._count = itertools.count()
        self.tick = self._count.__next__
        self._looks = 0

    def value(self) -> int:
        """Only ``next`` tells where the count stands, so looking counts too and is taken off
        again. The caller holds a lock."""
        value = next(self._count) - self._looks
        self._looks += 1
        return value


class Tally:
    """Counts by key. One lock serves a whole family, so that counting up it costs one."""

    __slots__ = ("__weakref__", "_counts", "_family", "_ticker", "_total", "ticks")

    def __init__(self, total: Tally | None = None) -> None:
        self._total = total
        self._family: ForkSafeLock = ForkSafeLock() if total is None else total._family
        self._counts: Counter[Hashable] = Counter()
        self._ticker = Ticker()
        self.ticks: tuple[Ticker, ...] = (self._ticker, *(total.ticks if total else ()))
        """``tick()`` each to count what happens too often for a lock."""

    def count(self, key: Hashable) -> None:
        with self._family.lock:
            tally: Tally | None = self
            while tally is not None:
                tally._counts[key] += 1
                tally = tally._total

    def snapshot(self) -> Counter[Hashable]:
        with self._family.lock:
            return self._counts.copy()

    def ticked(self) -> int:
        with self._family.lock:
            return self._ticker.value()
