"""The pool's record of one connection: the only truth about its age and use."""

from __future__ import annotations

import math

from holdfast._core.peer import SILENT, PeerTerms
from holdfast.vocabulary import CloseReason

__all__ = ["Entry"]


class Entry:
    """Times are monotonic seconds, as the caller's clock has them."""

    __slots__ = (
        "busy",
        "doomed",
        "hinted",
        "idle_allowance",
        "idle_since",
        "is_hint_proved",
        "last_use",
        "old_at",
        "opened_at",
        "terms",
        "unsafe_allowance",
        "uses",
    )

    def __init__(self, now: float, *, uses: int = 0) -> None:
        """``uses``: 1 for a connection that was open before it was wrapped. Its past is unknown, so
        whatever fails on it may be staleness."""
        self.opened_at = now
        self.uses = uses
        self.idle_since = now
        """When the last response ended; when it was opened, before the first."""
        self.terms: PeerTerms = SILENT
        self.busy = False
        """A response is being read from it."""
        self.doomed: CloseReason | None = None
        """Set when something happened after which it must not carry another request."""
        # The limits, reckoned by ``reuse`` whenever they change.
        self.idle_allowance = math.inf
        """Seconds it may lie idle and be lent without a question."""
        self.unsafe_allowance = math.inf
        """The same for a request that must not be executed twice."""
        self.hinted = math.inf
        """Seconds it may lie idle by what its peer announced."""
        self.is_hint_proved = False
        """The peer was seen to keep connections for about as long as it says, so little is kept off that."""
        self.old_at = math.inf
        self.last_use: float = math.inf
        """The use after which it is not kept."""

    def doom(self, reason: CloseReason) -> None:
        """The first reason stays: it is the cause, later ones are consequences."""
        if self.doomed is None:
            self.doomed = reason
