"""Deadlines of many entries in one heap, with at most one note for each."""

from __future__ import annotations

import math
from collections.abc import Iterator
from heapq import heapify, heappop, heappush

from holdfast._core.pool_entry import PoolEntry

__all__ = ["Alarms"]

SLACK = 64


class Alarms:
    """``entry.alarm`` says when its note is; a note that says otherwise is void."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, PoolEntry]] = []
        self._number = 0

    def set(self, entry: PoolEntry, when: float) -> None:
        entry.alarm = when
        if when == math.inf:
            return
        self._number += 1
        heappush(self._heap, (when, self._number, entry))

    def forget(self, entry: PoolEntry, living: int) -> None:
        """Its note stays until it is due, or until half of the heap is such notes: to search for it
        would cost more than it does."""
        entry.alarm = None
        if len(self._heap) > 2 * living + SLACK:
            self._heap = [note for note in self._heap if note[2].alarm == note[0]]
            heapify(self._heap)

    def earliest(self) -> float | None:
        heap = self._heap
        while heap and heap[0][2].alarm != heap[0][0]:
            heappop(heap)
        return heap[0][0] if heap else None

    def due(self, now: float) -> Iterator[PoolEntry]:
        """Takes them out as they are asked for."""
        while self._heap and self._heap[0][0] <= now:
            when, _, entry = heappop(self._heap)
            if entry.alarm == when:
                entry.alarm = None
                yield entry
