"""Where idle entries lie. Taking one out, or putting one in, is one indivisible step of a dict, so
whoever took it has it, and needs no lock for that.
"""

from __future__ import annotations

from contextlib import suppress

from holdfast._core.pool_entry import PoolEntry

__all__ = ["IdlePlace"]


class IdlePlace:
    """Two stacks. Those that a heartbeat has asked come back into the second: on top of the first
    they would be lent next, and the pool would turn over all its connections for ever instead of
    letting what is not needed age and leave."""

    __slots__ = ("fresh", "rested")

    def __init__(self) -> None:
        self.fresh: dict[PoolEntry, bool] = {}
        self.rested: dict[PoolEntry, bool] = {}

    def __len__(self) -> int:
        return len(self.fresh) + len(self.rested)

    def put(self, entry: PoolEntry, *, rested: bool = False) -> None:
        (self.rested if rested else self.fresh)[entry] = True

    def claim(self, entry: PoolEntry) -> bool:
        """False if somebody was faster, or it was never here."""
        return self.fresh.pop(entry, False) or self.rested.pop(entry, False)

    def claim_newest(self) -> PoolEntry | None:
        for stack in (self.fresh, self.rested):
            # Asked first: where many wait this is called in vain more often than not, and an exception
            # costs more than all the rest. Somebody may be faster all the same.
            if stack:
                with suppress(KeyError):
                    return stack.popitem()[0]
        return None

    def claim_oldest(self) -> PoolEntry | None:
        for stack in (self.rested, self.fresh):
            for entry in list(stack):
                if self.claim(entry):
                    return entry
        return None

    def all(self) -> list[PoolEntry]:
        """As they lie now. Each has still to be claimed."""
        return [*self.fresh, *self.rested]
