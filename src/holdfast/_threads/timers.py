"""Calls at a time, in one heap. Not safe for threads by itself: the watcher's lock guards it."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush

__all__ = ["Timer", "Timers"]

SLACK = 64


class Timer:
    """A call at a time. Set it as often as wanted; the last time counts."""

    __slots__ = ("call", "when")

    def __init__(self, call: Callable[[], object]) -> None:
        self.call = call
        self.when: float | None = None


class Timers:
    """``timer.when`` says when its note is; a note that says otherwise is void."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._set: set[Timer] = set()
        self._number = 0

    def __bool__(self) -> bool:
        return bool(self._set)

    def set(self, timer: Timer, when: float) -> None:
        timer.when = when
        self._set.add(timer)
        self._number += 1
        heappush(self._heap, (when, self._number, timer))
        self._drop_most_void()

    def unset(self, timer: Timer) -> None:
        timer.when = None
        self._set.discard(timer)
        self._drop_most_void()

    def earliest(self) -> float | None:
        while self._heap and self._heap[0][2].when != self._heap[0][0]:
            heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> list[Timer]:
        """Takes them out."""
        due = []
        while self._heap and self._heap[0][0] <= now:
            when, _, timer = heappop(self._heap)
            if timer.when == when:
                self.unset(timer)
                due.append(timer)
        return due

    def _drop_most_void(self) -> None:
        """A void note keeps alive whatever its call is bound to until its time has come, which may be
        hours. To search for it would cost more than it does; when half of all are void, they go."""
        if len(self._heap) > 2 * len(self._set) + SLACK:
            self._heap = [note for note in self._heap if note[2].when == note[0]]
            heapify(self._heap)
