"""Those who wait for a connection, first come, first served, and the hand-over to them.

A hand-over that nobody acknowledges is lost: the waiter's time may run out at the very moment he
is served. So a ticket remembers what it was given, and whoever gives up says so; what he was given
goes to the next.
"""

from __future__ import annotations

from typing import Any

from holdfast._core.actions import WhyRefused
from holdfast._core.pool_entry import PoolEntry

__all__ = ["Ticket"]


class Ticket:
    """One who waits."""

    __slots__ = ("entry", "since", "wake", "why_refused")

    def __init__(self, now: float, wake: Any = None) -> None:
        self.since = now
        self.wake = wake
        """The driver's own: how to wake him. The rules never look at it."""
        self.entry: PoolEntry | None = None
        """What he was given."""
        self.why_refused: WhyRefused | None = None
