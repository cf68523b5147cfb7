"""Time that moves only when a test says so."""

from __future__ import annotations

import threading

__all__ = ["FakeClock"]


class FakeClock:
    """Seconds that stand still until `advance` is called. Safe to share between threads.

    An instance is called for the time, as `time.monotonic` is: `Policy(clock=clock, sleep=clock.sleep)`.
    """

    # Not zero: code that mistakes "no time noted yet" for the time 0.0 shall be found out.
    def __init__(self, start: float = 1_000.0) -> None:
        self._now = start
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"FakeClock({self()!r})"

    def __call__(self) -> float:
        with self._lock:
            return self._now

    def now(self) -> float:
        """Return the time the test has arrived at."""
        return self()

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass. A monotonic clock never goes back, so neither does this one."""
        # Written so that NaN, which would poison the clock for good, is refused too.
        if not seconds >= 0:
            raise ValueError(f"advance() takes seconds of 0 or more, not {seconds!r}: time does not go back")
        with self._lock:
            self._now += seconds

    def sleep(self, seconds: float) -> None:
        """What stands in for `time.sleep`: the time passes at once."""
        self.advance(seconds)
