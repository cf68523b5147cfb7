"""What a pool counts about itself."""

from __future__ import annotations

import threading
from collections import Counter

from holdfast.vocabulary import CloseReason, Verdict

__all__ = ["PoolCounts"]


class PoolCounts:
    """What is rare is counted here. Leases are not: their number is the sum of what all entries carried."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.uses = 0
        """Leases that connections carried which are closed now."""
        self.opened = 0
        self.waits = 0
        self.longest_wait = 0.0
        self.leaks = 0
        self.beats = 0
        self.closes: Counter[CloseReason] = Counter()
        self.verdicts: Counter[Verdict] = Counter()

    def waited(self, seconds: float) -> None:
        with self._lock:
            self.waits += 1
            self.longest_wait = max(self.longest_wait, seconds)

    def closed(self, reason: CloseReason, uses: int) -> None:
        with self._lock:
            self.closes[reason] += 1
            self.uses += uses

    def leaked(self) -> None:
        with self._lock:
            self.leaks += 1

    def decided(self, verdict: Verdict) -> None:
        with self._lock:
            self.verdicts[verdict] += 1

    def beaten(self) -> None:
        with self._lock:
            self.beats += 1

    def connected(self) -> None:
        with self._lock:
            self.opened += 1

    def after_fork(self) -> None:
        """Whoever held the lock is not in this process."""
        self._lock = threading.Lock()
