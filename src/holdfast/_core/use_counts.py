"""Does the peer end connections after a number of requests? Learned from a number that comes back.

A server that counts usually says ``Connection: close`` with its last answer. Some say nothing: they
hang up right behind it, or on the request after it, at an age that other connections live through.
"""

from __future__ import annotations

import math

from holdfast._core.lateness import AT_ONCE, slack

__all__ = ["UseCounts"]

_AGREE = 3
"""Ends in a row with the same count."""

_QUICK = 0.1
"""Seconds. No server has so short an idle limit: an end that soon has another reason."""

_SHORTEST = 0.5
"""Seconds. Timers are set in whole seconds, and a request may cross their end on the way: below this age an
end that others lived through is none of theirs, however late a timer may be."""

_FORGET = 6 * 3600.0
"""Seconds. While the limit is heeded nothing can confirm it, so it is tried again now and then."""


class UseCounts:
    """``now`` in monotonic seconds."""

    __slots__ = ("_ended_at", "_ends", "_limit", "_seen_at")

    def __init__(self) -> None:
        self._ends: list[tuple[int, float, float]] = []
        self._ended_at = -math.inf
        """When the last of these came. What ends at once with it has the same cause, as in a restart."""
        self._limit: int | None = None
        self._seen_at = 0.0

    def ended(self, idle: float, uses: int, now: float, *, exact: bool, outlived: float) -> bool:
        """True if the number of requests explains this end, so that the age says nothing. ``exact``: it
        was seen to end at this age, not found ended. ``outlived``: the age that others have lived through."""
        limit = self.limit(now)
        if limit is not None and uses == limit:
            self._seen_at = now
            return True
        self.carried(uses)
        if exact and idle >= _QUICK:
            # It ended while nobody asked anything of it: that is a timer, or a restart.
            return False
        self._note(uses, idle, outlived, now)
        if not self._is_constant():
            # Nobody's idle limit, whatever it is.
            return idle < _QUICK
        self._limit, self._seen_at = uses, now
        return True

    def carried(self, uses: int) -> None:
        """A connection carried so many requests: a lower limit is none."""
        if self._limit is not None and uses > self._limit:
            self._limit = None
            self._ends.clear()

    def limit(self, now: float) -> int | None:
        if self._limit is not None and now - self._seen_at > _FORGET:
            self._limit = None
            self._ends.clear()
        return self._limit

    def imported(self, limit: int, seen_at: float) -> None:
        """What another process knew."""
        self._limit, self._seen_at = limit, seen_at

    @property
    def seen_at(self) -> float:
        return self._seen_at

    def _note(self, uses: int, idle: float, outlived: float, now: float) -> None:
        if self._ends and self._ends[-1][0] == uses and abs(now - self._ended_at) < AT_ONCE:
            return
        self._ended_at = now
        self._ends.append((uses, idle, outlived))
        del self._ends[:-_AGREE]

    def _is_constant(self) -> bool:
        counts = {uses for uses, _, _ in self._ends}
        # A client that uses each connection once and leaves it has a constant count of 1.
        if len(self._ends) < _AGREE or len(counts) > 1 or min(counts) < 2:  # noqa: PLR2004 - see above
            return False
        return all(_is_no_timer(idle, outlived) for _, idle, outlived in self._ends)


def _is_no_timer(idle: float, outlived: float) -> bool:
    """A timer that is late ends one connection on time and lets another live on: that is no contradiction."""
    if idle < _SHORTEST:
        return idle < max(_QUICK, outlived)
    return idle + slack(idle) < outlived
