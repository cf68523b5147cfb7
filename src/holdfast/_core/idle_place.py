"""Where idle entries lie. Taking one out, or putting one in, is one indivisible step of a deque or a dict,
so whoever took it has it, and needs no lock for that.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import Any

from holdfast._core.pool_entry import PoolEntry

__all__ = ["NOTHING", "IdlePlace", "Slip"]

NOTHING: deque[Any] = deque()
"""A top on which nothing ever lies, for those who may not take anything from there."""


class Slip:
    """What is laid on top when an entry comes back. A driver makes its own kind of it, and finds that again if
    it takes the entry from there; wherever else the entry goes, the slip is dropped."""

    __slots__ = ("entry", "pool")

    def __init__(self, entry: PoolEntry) -> None:
        self.entry = entry
        self.pool: Any = None
        """Whom the entry is missing in, which is the driver's business; None while it lies here."""


class IdlePlace:
    """Three stacks, the upper two in the order of their return.

    The top takes what comes back, because a deque does it in a third of the time; a connection in steady
    use goes no further. But nothing can be found in the middle of it. So whoever looks for a certain entry sorts
    the top into the second stack, a dict, before.

    Those that a heartbeat has asked come back into the third: above the others they would be lent next, and
    the pool would turn over all its connections for ever instead of letting what is not needed age and leave.
    """

    __slots__ = ("fresh", "rested", "top")

    def __init__(self) -> None:
        self.top: deque[Any] = deque()
        """Of a kind of :class:`Slip`, the driver's."""
        self.fresh: dict[PoolEntry, bool] = {}
        self.rested: dict[PoolEntry, bool] = {}

    def __len__(self) -> int:
        return len(self.top) + len(self.fresh) + len(self.rested)

    def put(self, entry: PoolEntry, *, rested: bool = False) -> None:
        if rested:
            self.rested[entry] = True
            return
        self._sort_in()
        self.fresh[entry] = True

    def take_newest(self) -> PoolEntry | None:
        """Of those in use; the only one to be called without the driver's lock."""
        with suppress(IndexError):
            return _entry_of(self.top.pop())
        with suppress(KeyError):
            return self.fresh.popitem()[0]
        return None

    def claim(self, entry: PoolEntry) -> bool:
        """False if somebody was faster, or it was never here."""
        self._sort_in()
        return self.fresh.pop(entry, False) or self.rested.pop(entry, False)

    def claim_newest(self) -> PoolEntry | None:
        # Asked first: where many wait this is called in vain more often than not, and an exception
        # costs more than all the rest. Somebody may be faster all the same.
        if self.top:
            with suppress(IndexError):
                return _entry_of(self.top.pop())
        for stack in (self.fresh, self.rested):
            if stack:
                with suppress(KeyError):
                    return stack.popitem()[0]
        return None

    def claim_oldest(self) -> PoolEntry | None:
        self._sort_in()
        for stack in (self.rested, self.fresh):
            for entry in list(stack):
                if self.claim(entry):
                    return entry
        return None

    def all(self) -> list[PoolEntry]:
        """As they lie now. Each has still to be claimed."""
        self._sort_in()
        return [*self.fresh, *self.rested]

    def _sort_in(self) -> None:
        # The oldest first, one at a time: who takes or lays down one meanwhile works at the other end.
        with suppress(IndexError):
            for _ in range(len(self.top)):
                self.fresh[_entry_of(self.top.popleft())] = True


def _entry_of(slip: Slip) -> PoolEntry:
    return slip.entry
