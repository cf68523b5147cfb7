"""The caller's own timeouts, over everything that is tried on his behalf."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

__all__ = ["Patience"]


class Patience:
    """Seconds the caller granted for the answer. What is left of them covers a repeat as well."""

    __slots__ = ("_clock", "ends", "granted")

    # A timeout of 0 means non-blocking to a socket, which is not what "nearly over" means.
    _LEAST = 0.001

    def __init__(self, timeout: Any, began: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.granted = timeout
        self.ends = began + timeout if isinstance(timeout, (int, float)) else math.inf

    def is_over(self, after: float = 0.0) -> bool:
        return self._clock() + after >= self.ends

    def left(self) -> float | None:
        return None if self.ends == math.inf else max(self.ends - self._clock(), self._LEAST)

    def at_most(self, timeout: Any) -> Any:
        left = self.left()
        if left is None:
            return timeout
        return min(timeout, left) if isinstance(timeout, (int, float)) else left
