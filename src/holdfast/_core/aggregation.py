"""Many events of one kind are one line of a log, with their number.

The first is told at once. What follows within the interval is only counted, and told with the first
that comes after it. No thread, so what came last may wait for the next of its kind.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

__all__ = ["Aggregation"]


class Aggregation:
    _MOST_KINDS = 1000
    """Kinds that are remembered; the one seen least recently is forgotten."""

    def __init__(self) -> None:
        self._told: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()
        """When the last line was written, and how many events came since."""

    def met(self, kind: Hashable, now: float, interval: float) -> int | None:
        """How many events a line has to tell of now, this one counted; None: no line."""
        told_at, untold = self._told.get(kind, (None, 0))
        if told_at is not None:
            self._told.move_to_end(kind)
        if told_at is not None and now - told_at < interval:
            self._told[kind] = (told_at, untold + 1)
            return None
        self._told[kind] = (now, 0)
        if len(self._told) > self._MOST_KINDS:
            self._told.popitem(last=False)
        return untold + 1
