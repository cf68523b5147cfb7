"""What :meth:`SocketPool.stats` answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from holdfast.vocabulary import CloseReason, Verdict

__all__ = ["PoolStats"]


@dataclass(frozen=True)
class PoolStats:
    """How a pool stands now, and what it did since it was made (in this process)."""

    idle: int
    """Connections that lie in the pool now."""
    leased: int
    """Connections that are lent now."""
    opening: int
    """Connections that are being opened now."""
    checking: int
    """Connections that are looked at, or asked by a heartbeat, now; also those whose answer is late."""
    waiting: int
    """Callers that wait now."""
    acquired: int
    """Leases."""
    opened: int
    """Connections that were opened."""
    waits: int
    """Callers that had to wait."""
    longest_wait: float
    """Seconds."""
    heartbeats: int
    """Heartbeats that were sent."""
    leaked: int
    """Leases that were dropped without being released."""
    closed: Mapping[CloseReason, int]
    repeated: Mapping[Verdict, int]
    """Calls that were repeated, by reason."""
    refused: Mapping[Verdict, int]
    """Calls that failed and were not repeated, by reason."""

    @property
    def open(self) -> int:
        """Connections that count against ``maxsize``."""
        return self.idle + self.leased + self.opening + self.checking

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            name: {key.name: count for key, count in value.items()} if isinstance(value, Mapping) else value
            for name, value in vars(self).items()
        }
