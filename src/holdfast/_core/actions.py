"""What the pool's rules want done. Values: somebody duller, who holds no lock, does it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

from holdfast.vocabulary import CloseReason

if TYPE_CHECKING:
    from holdfast._core.pool_entry import PoolEntry
    from holdfast._core.waiting import Ticket

__all__ = ["Action", "Beat", "Check", "Close", "Grant", "Open", "Refuse", "WhyRefused"]


class WhyRefused(Enum):
    """Why nobody is lent anything."""

    CLOSED = "the pool is closed"
    DRAINING = "the pool drains"
    TOO_MANY_WAITING = "as many are waiting already as may"


@dataclass(frozen=True)
class Grant:
    """Wake the one who waits: the entry is his. If it is OPENING, he is to connect it."""

    ticket: Ticket
    entry: PoolEntry


@dataclass(frozen=True)
class Refuse:
    """Wake the one who waits: there will be nothing."""

    ticket: Ticket
    why: WhyRefused


@dataclass(frozen=True)
class Open:
    """Connect this entry in the background, to keep ``min_idle`` warm."""

    entry: PoolEntry


@dataclass(frozen=True)
class Close:
    """Close what the entry stands for. Comes once for each."""

    entry: PoolEntry
    reason: CloseReason


@dataclass(frozen=True)
class Check:
    """Look at this idle entry, which is reserved meanwhile, and tell ``checked``."""

    entry: PoolEntry


@dataclass(frozen=True)
class Beat:
    """Start a heartbeat on this idle entry, which is reserved meanwhile, and tell ``checked``."""

    entry: PoolEntry


Action: TypeAlias = Grant | Refuse | Open | Close | Check | Beat
