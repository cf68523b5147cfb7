"""What a listener is told. Facts, in the past tense; times in seconds.

No event is made on the path of a request that simply succeeds on a pooled connection.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from holdfast.vocabulary import CloseReason, Progress, Verdict

__all__ = ["ConnectionClosed", "ConnectionOpened", "Event", "RepeatDecided"]


@dataclass(frozen=True)
class ConnectionOpened:
    """A connection was established (with tunnel and TLS, where there are any)."""

    origin: str
    """``scheme://host:port``, without path, query or credentials."""


@dataclass(frozen=True)
class ConnectionClosed:
    """A connection left the pool for good."""

    origin: str
    reason: CloseReason
    age: float
    """Seconds since it was opened (since it was wrapped, if it is older)."""
    uses: int
    """Requests it carried."""


@dataclass(frozen=True)
class RepeatDecided:
    """A request failed on its connection, and was repeated or not. "No" is an event as well."""

    origin: str
    method: str
    progress: Progress
    verdict: Verdict


Event: TypeAlias = ConnectionOpened | ConnectionClosed | RepeatDecided
