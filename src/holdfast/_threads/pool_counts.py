"""What a pool counts about itself."""

from __future__ import annotations

import threading
from collections import Counter

from holdfast._threads.tally import Ticker
from holdfast.vocabulary import CloseReason

__all__ = ["PoolCounts"]


class PoolCounts:
    """Acquiring counts without a lock; everything else is rare."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ticker = Ticker()
        self.acquired = self._ticker.tick
        self.opened = 0
        self.waits = 0
        self.longest_wait = 0.0
        self.leaks = 0
        self.beats = 0
        self.closes: Counter[CloseReason] = Counter()

    def total(self) -> int:
        with self._lock:
            return self._ticker.value()

    def waited(self, seconds: float) -> None:
        with self._lock:
            self.waits += 1
            self.longest_wait = max(self.longest_wait, seconds)

    def closed(self, reason: CloseReason) -> None:
        with self._lock:
            self.closes[reason] += 1

    def leaked(self) -> None:
        with self._lock:
            self.leaks += 1

    def beaten(self) -> None:
        with self._lock:
            self.beats += 1

    def connected(self) -> None:
        with self._lock:
            self.opened += 1

    def after_fork(self) -> None:
        """Whoever held the lock is not in this process."""
        self._lock = threading.Lock()
