"""One deadline over everything that a request waits for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from holdfast._net.timeouts import timeout_of

__all__ = ["Deadline", "DeadlineOverError"]

# A timeout of 0 means non-blocking to a socket, which is not what "nearly over" means.
_LEAST = 0.001


class DeadlineOverError(TimeoutError):
    """The deadline over all attempts has passed."""


class Deadline:
    __slots__ = ("_clock", "ends_at", "seconds")

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.seconds = seconds
        self.ends_at = clock() + seconds

    def left(self) -> float:
        """Seconds; 0 or less when it is over."""
        return self.ends_at - self._clock()

    def check(self) -> float:
        """Seconds that are left. Raises :class:`DeadlineOverError` when it is over."""
        left = self.left()
        if left <= 0:
            raise DeadlineOverError(f"the deadline of {self.seconds:g} s over all attempts has passed")
        return left

    def shorten(self, timeout: float | None) -> float:
        """The caller's timeout, or what is left if that is less."""
        left = self.check()
        return max(left, _LEAST) if timeout is None or left < timeout else timeout

    def hurry(self, sock: Any) -> None:
        """Lets the next operation of the socket take no longer than what is left."""
        sock.settimeout(self.shorten(timeout_of(sock)))
