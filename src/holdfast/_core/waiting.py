"""Those who ask for a connection, first come, first served, and the hand-over to them.

A hand-over that nobody acknowledges is lost: the waiter's time may run out at the very moment he
is served, and Ctrl-C may come anywhere. So whoever asks brings a ticket, which remembers what he was given,
and if he cannot take it he says so; then it goes to the next.
"""

from __future__ import annotations

from typing import Any

from holdfast._core.actions import WhyRefused
from holdfast._core.pool_entry import PoolEntry

__all__ = ["Ticket"]


class Ticket:
    """One who asks, and who waits as long as it says neither what he was given nor why he is refused."""

    __slots__ = ("entry", "wake", "why_refused")

    def __init__(self, wake: Any = None) -> None:
        self.wake = wake
        """The driver's own: how to wake him. The rules never look at it."""
        self.entry: PoolEntry | None = None
        """What he was given: LEASED, or OPENING and to be connected by him."""
        self.why_refused: WhyRefused | None = None

    @property
    def waits(self) -> bool:
        return self.entry is None and self.why_refused is None
