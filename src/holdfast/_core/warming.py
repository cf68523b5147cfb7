"""Keeping ``min_idle`` connections warm: how many to open now, and when to try again."""

from __future__ import annotations

from collections.abc import Collection

from holdfast._core.pool_entry import UNDER_WATCH, PoolEntry
from holdfast._core.pool_sizes import PoolSizes

__all__ = ["Warming"]

PAUSE = 1.0
"""Seconds until the next try after one failed. The addresses' own backoff comes on top."""


class Warming:
    """Those under way, and the time before which no other is started."""

    __slots__ = ("_sizes", "not_before", "under_way")

    def __init__(self, sizes: PoolSizes) -> None:
        self._sizes = sizes
        self.under_way: set[PoolEntry] = set()
        self.not_before: float | None = None

    def lacking(self, entries: Collection[PoolEntry], idle: int, now: float) -> int:
        """How many to open. Those that are being asked lie idle as well, in a way."""
        if self.not_before is not None:
            if now < self.not_before:
                return 0
            self.not_before = None
        room = self._sizes.maxsize - len(entries)
        if room <= 0 or idle >= self._sizes.min_idle:
            return 0
        idle += sum(entry.state in UNDER_WATCH for entry in entries) + len(self.under_way)
        return max(0, min(self._sizes.min_idle - idle, room))

    def failed(self, now: float) -> None:
        self.not_before = now + PAUSE
