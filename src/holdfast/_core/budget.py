"""A retry budget: what all repeats of a pool together may add to its load.

A limit for each request does not protect a server in trouble: if every request fails, three attempts
each are three times the load. So each request that is made puts a fraction of a token into the
bucket, and each repeat takes a whole one. A little flows in by itself, for pools with few requests.
"""

from __future__ import annotations

from holdfast.policy import RetryBudget

__all__ = ["Budget"]


class Budget:
    """``requests``, where it is asked for, is a count that only grows."""

    def __init__(self, settings: RetryBudget, now: float) -> None:
        self._settings = settings
        self._tokens = settings.most
        self._requests = 0
        self._at = now

    def tokens(self, now: float, requests: int) -> float:
        """How many repeats may happen now."""
        earned = self._settings.ratio * max(0, requests - self._requests)
        flowed = self._settings.per_second * max(0.0, now - self._at)
        self._tokens = min(self._settings.most, self._tokens + earned + flowed)
        self._requests, self._at = max(self._requests, requests), max(self._at, now)
        return self._tokens

    def withdraw(self, now: float, requests: int) -> bool:
        """Takes a token for a repeat, if there is one."""
        if self.tokens(now, requests) < 1:
            return False
        self._tokens -= 1
        return True
