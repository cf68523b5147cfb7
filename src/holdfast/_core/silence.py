"""How long may a client say nothing? One rule: it is found within
``interval * (misses + 1) + timeout`` seconds of its last sign of life.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from holdfast.policy import Heartbeat

__all__ = ["Patience", "Silence", "Step"]


class Step(Enum):
    """What to do about a client now."""

    WAIT = auto()
    ASK = auto()
    GIVE_UP = auto()


@dataclass(frozen=True, kw_only=True)
class Patience:
    """The settings, checked as those of a heartbeat are."""

    interval: float
    timeout: float
    misses: int

    def __post_init__(self) -> None:
        Heartbeat(call=len, interval=self.interval, timeout=self.timeout, misses=self.misses)

    @property
    def longest(self) -> float:
        """Seconds of silence after which a client is given up."""
        return self.interval * (self.misses + 1) + self.timeout


class Silence:
    """One client."""

    __slots__ = ("_asked", "_patience", "heard_at", "leaves_at")

    def __init__(self, patience: Patience, now: float) -> None:
        self._patience = patience
        self.heard_at = now
        self._asked = False
        self.leaves_at: float | None = None
        """It has sent its end; after this time nobody is going to read that any more."""

    def heard(self, at: float) -> None:
        if at > self.heard_at:
            self.heard_at = at
            self._asked = False

    def ended(self, now: float) -> None:
        if self.leaves_at is None:
            self.leaves_at = now + self._patience.timeout

    def step(self, now: float) -> Step:
        if now >= self._over_at():
            return Step.GIVE_UP
        # Asked once: TCP delivers the question or nothing.
        if now >= self.heard_at + self._patience.interval and not self._asked:
            self._asked = True
            return Step.ASK
        return Step.WAIT

    def wake_at(self) -> float:
        over = self._over_at()
        return over if self._asked else min(over, self.heard_at + self._patience.interval)

    def _over_at(self) -> float:
        over = self.heard_at + self._patience.longest
        return over if self.leaves_at is None else min(over, self.leaves_at)
