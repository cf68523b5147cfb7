"""Which of a name's addresses to try, in which order, and when again after a failure.

A name is resolved for every connection, and all its addresses are tried. One that failed is left for
last until its pause is over; pauses grow with each failure and are shortened at random, so that many
clients do not come back at the same moment.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TypeVar

from holdfast._core.backoff import backoff

__all__ = ["AddressBook", "pause_after"]

AddressT = TypeVar("AddressT", bound=Hashable)

FIRST_PAUSE = 0.1
"""Seconds. A restart of a server on the same machine takes about that long."""
LONGEST_PAUSE = 10.0
"""Seconds. A server that is back shall not be waited for much longer than it took to come back."""
MOST_REMEMBERED = 256
"""Addresses. A name that resolves to ever new ones must not fill the memory."""


def pause_after(failures: int, chance: float) -> float:
    """Seconds until the next try. ``chance``: 0 to 1, a random number; half of the pause is fixed, so
    that a first failure does cause one."""
    return backoff(failures, base=FIRST_PAUSE, most=LONGEST_PAUSE, chance=(1 + chance) / 2)


class AddressBook:
    """Remembers failures. Not safe for threads by itself."""

    def __init__(self) -> None:
        self._failed: dict[Hashable, tuple[int, float]] = {}

    def in_order(self, addresses: Sequence[AddressT], now: float) -> list[AddressT]:
        """Those without a pause first, as the resolver ordered them, then those whose pause ends first."""
        return sorted(addresses, key=lambda address: max(now, self.ready_at(address, now)))

    def ready_at(self, address: Hashable, now: float) -> float:
        """When it may be tried again."""
        return self._failed.get(address, (0, now))[1]

    def failed(self, address: Hashable, now: float, chance: float) -> float:
        """Returns the seconds until its next try."""
        failures, ready_at = self._failed.pop(address, (0, now))
        if now >= ready_at:
            failures += 1
            ready_at = now + pause_after(failures, chance)
        # Else its pause is running: this is the same failure, seen by another thread. If each counted,
        # ten threads at a server that restarts would take the moment for a long outage.
        self._failed[address] = (failures, ready_at)
        if len(self._failed) > MOST_REMEMBERED:
            del self._failed[next(iter(self._failed))]
        return ready_at - now

    def worked(self, address: Hashable) -> None:
        self._failed.pop(address, None)
