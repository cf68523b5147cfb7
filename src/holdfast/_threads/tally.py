"""Counting, from any thread, with a total over everything below.

A pool's counts add to its manager's as well: pools come and go, the manager's numbers stay.
"""

from __future__ import annotations

import itertools
import os
import threading
import weakref
from collections import Counter
from collections.abc import Hashable

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
        self._family: _Family = _Family() if total is None else total._family
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


class _Family:
    """A lock that is free in the child of a fork, whoever held it in the parent. Reentrant: the
    garbage collector may run anywhere, and with it the finalizer of a pool, which counts."""

    __slots__ = ("__weakref__", "lock")

    def __init__(self) -> None:
        self.lock = threading.RLock()
        _families.add(self)


_families: weakref.WeakSet[_Family] = weakref.WeakSet()


def _renew_locks() -> None:
    for family in list(_families):
        family.lock = threading.RLock()


# Work at import, for once: a hook that is registered at the first wrap would have to know whether
# it was registered before, under a lock that has the same problem.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)
