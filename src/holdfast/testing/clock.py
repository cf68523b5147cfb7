"""Time that moves only when a test says so."""

from __future__ import annotations

import threading
from typing import Protocol

__all__ = ["Clock", "FakeClock"]


class Clock(Protocol):
    """Anything that can be asked for the time, in seconds, on a clock that never goes back."""

    def now(self) -> float:
        """Return the current time in seconds; only differences mean anything."""
        ...


class FakeClock:
    """A `Clock` that stands still until `advance` is called. Safe to share between threads."""

    # Not zero: code that mistakes "no time noted yet" for the time 0.0 shall be found out.
    def __init__(self, start: float = 1_000.0) -> None:
        self._now = start
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"FakeClock({self.now()!r})"

    def now(self) -> float:
        """Return the time the test has arrived at."""
        with self._lock:
            return self._now

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass. A monotonic clock never goes back, so neither does this one."""
        # Written so that NaN, which would poison the clock for good, is refused too.
        if not seconds >= 0:
            raise ValueError(f"advance() takes seconds of 0 or more, not {seconds!r}: time does not go back")
        with self._lock:
            self._now += seconds
