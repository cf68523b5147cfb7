"""What was learned about one origin: how long an idle connection to it lasts, and how many requests.

Three estimators, since three things end a connection: the peer's idle timer (``idle_ages``), a
firewall or NAT on the way (``flow_ages``), and a peer that counts requests (``use_counts``).
"""

from __future__ import annotations

import math

from holdfast._core.flow_ages import FlowAges
from holdfast._core.idle_ages import IdleAges, Limit
from holdfast._core.use_counts import UseCounts

__all__ = ["Learner", "Limit"]


class Learner:
    """One origin: scheme, host, port, proxy, address. ``idle`` in seconds, ``now`` in monotonic seconds.

    Some twenty numbers, and no call looks at more. What makes no sense (a negative age, a time that is
    not a number) is ignored: it comes from a clock that was set, and says nothing about the peer.
    """

    __slots__ = ("flow", "idle", "uses")

    def __init__(self) -> None:
        self.idle = IdleAges()
        self.flow = FlowAges()
        self.uses = UseCounts()

    # -- told

    def peer_closed(self, idle: float, uses: int, now: float, *, silent: float | None = None) -> None:
        """The peer was seen to end an idle connection, after so many requests, at exactly this age.
        ``silent``: as for :meth:`answered`."""
        if not _makes_sense(idle, now):
            return
        # Its FIN came through, whatever it means.
        self.flow.answered(idle if silent is None else min(idle, silent), now)
        self._ended(idle, uses, now, exact=True)

    def found_dead(self, idle: float, uses: int, now: float) -> None:
        """A connection was found ended when it was wanted, or failed under a request, after lying idle so
        long: it ended at this age or before."""
        if _makes_sense(idle, now):
            self._ended(idle, uses, now, exact=False)

    def still_open(self, idle: float, now: float) -> None:
        """A connection is open after so long, as far as can be seen from here. A parked one shows that
        the peer has not ended it; that the way to the peer still knows it, only an answer shows."""
        if _makes_sense(idle, now):
            self.idle.lived(idle, now)

    def answered(self, idle: float, uses: int, now: float, *, silent: float | None = None) -> None:
        """A connection that had lain idle so long carried a request (``uses`` with it), or answered a
        probe: the peer had it and the way was open. ``silent``: seconds since it was last heard of, if TCP
        keepalive has broken the silence; by default ``idle``."""
        if _makes_sense(idle, now):
            self.idle.lived(idle, now)
            self.flow.answered(idle if silent is None else min(idle, silent), now)
            self.uses.carried(uses)

    def fell_silent(self, idle: float, now: float) -> None:
        """After so long idle, what was sent met silence: nobody acknowledged it."""
        if _makes_sense(idle, now):
            self.flow.fell_silent(idle, now)

    # -- answers

    def idle_limit(self, now: float) -> Limit | None:
        """How long the peer keeps an idle connection."""
        return self.idle.limit(now)

    def proved(self, now: float) -> tuple[float, float]:
        """Seconds that the peer was seen to keep an idle connection, and until when that counts."""
        return self.idle.proved(now)

    def flow_limit(self, now: float) -> Limit | None:
        """How long the way to the peer keeps an idle flow."""
        return self.flow.limit(now)

    def use_limit(self, now: float) -> int | None:
        """After how many requests the peer ends a connection without a word."""
        return self.uses.limit(now)

    def parked_until(self, now: float) -> float:
        """Seconds idle after which a parked connection that is still open has told what it can: that the
        limit is none any longer. 0 if there is no limit to find out about."""
        return self.idle.outlived_at(now)

    def proven(self, now: float) -> float:
        """Seconds idle after which connections were answered on several times lately; 0 for none."""
        return self.flow.proven(now)

    def _ended(self, idle: float, uses: int, now: float, *, exact: bool) -> None:
        known = self.uses.limit(now)
        outlived = self.idle.outlived(now)
        if not self.uses.ended(idle, uses, now, exact=exact, outlived=outlived):
            self.idle.ended(idle, now, exact=exact)
        elif known is None and self.uses.limit(now) is not None:
            # What looked like an idle limit came from these ends.
            self.idle.forget()


def _makes_sense(idle: float, now: float) -> bool:
    return 0 <= idle < math.inf and math.isfinite(now)
