"""How many connections a pool may have, keep and let wait for."""

from __future__ import annotations

import math
from dataclasses import dataclass

from holdfast.errors import PolicyError

__all__ = ["PoolSizes"]


@dataclass(frozen=True, kw_only=True)
class PoolSizes:
    """Checked where they are made. :class:`holdfast.SocketPool` explains them."""

    maxsize: int = 10
    max_idle: int | None = None
    min_idle: int = 0
    max_waiting: int | None = None

    def __post_init__(self) -> None:
        _require_number("maxsize", self.maxsize, least=1)
        if self.max_idle is not None:
            _require_number("max_idle", self.max_idle)
        _require_number("min_idle", self.min_idle)
        if self.max_waiting is not None:
            _require_number("max_waiting", self.max_waiting)
        if self.min_idle > self.most_idle:
            rule = f"must not be above {self.most_idle}, the most that may be idle"
            raise PolicyError("min_idle", self.min_idle, rule)

    @property
    def most_idle(self) -> int:
        return self.maxsize if self.max_idle is None else min(self.max_idle, self.maxsize)

    @property
    def most_waiting(self) -> float:
        return math.inf if self.max_waiting is None else self.max_waiting


def _require_number(setting: str, value: object, *, least: int = 0) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise PolicyError(setting, value, f"must be a whole number, {least} or more")
