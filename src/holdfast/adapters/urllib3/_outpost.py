"""Connections that are kept open to see when their peer hangs up, and never lent again.

Whoever stays below a limit never meets it, and would not notice that it has moved. One connection of each
origin shows it at no risk: it has reached what was learned or announced, and lies in nobody's way.
"""

from __future__ import annotations

import time
import weakref
from typing import TYPE_CHECKING, Any

from holdfast._net.tcp_info import idle_for
from holdfast._threads.fork_safe import ForkSafeLock
from holdfast._threads.forking import reset_after_fork
from holdfast._threads.origins import Origin, Rest
from holdfast._threads.parking import Parked
from holdfast._threads.watcher import Timer, the_watcher
from holdfast._threads.weak import weakly
from holdfast.vocabulary import CloseReason

if TYPE_CHECKING:
    from holdfast.adapters.urllib3._record import ConnectionRecord

__all__ = ["MOST", "Outpost", "claim"]

MOST = 64
"""At the same time, in this process."""
STEP = 0.25
"""Of the idle age at which it was set up: so often it says that it is still there."""
STEPS = 14
"""After which it is given up. What has outlived the limit four times over shows no more by staying."""
LONGEST = 600.0
"""Seconds, whatever the limit."""
SHORTEST = 0.25
"""Seconds between two steps. A limit is refuted by what outlives it by two seconds at the least, for so late
servers are; one that stayed for four times a limit of half a second would never show that it is gone."""
PROBATION = 2
"""Steps that are shorter, at which it is looked at what became of the request that went out in its place."""
SOON = 0.25
"""Seconds. Such a request should be answered within two of them. There are servers that serve one connection
at a time, and proxies that are at their limit: there the outpost would be in the way for as long as it stays.
Who is only slow loses nothing but the news of a limit that was raised."""

_all: weakref.WeakSet[Outpost] = weakref.WeakSet()
_fork_safe = ForkSafeLock()


def claim(origin: Origin) -> bool:
    """Whether the caller is to set one up there, and nobody else."""
    with _fork_safe.lock:
        if len(_all) >= MOST or (origin.outpost is not None and origin.outpost() is not None):
            return False
        origin.outpost = _claimed
        return True


def _claimed() -> object:
    """Somebody sets one up, or it was seen to be in the way."""
    return _claimed


class Outpost:
    """Owns the socket. Whoever drops it gives it up."""

    def __init__(self, record: ConnectionRecord, sock: Any, why_parked: CloseReason) -> None:
        self._why_parked = why_parked
        """The limit that it has reached."""
        context = record.context
        self._context = weakref.ref(context)
        self._above = context.parent
        """Counts its end if the pool went with the garbage."""
        self._clock = context.clock
        self._name = record.origin
        self._origin = origin = record.known
        origin.outpost = weakref.ref(self)
        self._sock = sock
        self._longest_silence = record.longest_silence
        self._entry = entry = record.hand_over()
        self._successor = weakref.ref(record)
        """Goes on without the socket, and opens another one."""
        self._waits: object = None
        """What that waited for at the last step."""
        self._step = min(max((self._clock() - entry.idle_since) * STEP, SHORTEST), LONGEST / STEPS)
        self._steps = 0
        self._parked = Parked(sock.fileno(), weakly(self, Outpost._ended))
        self._timer = Timer(weakly(self, Outpost._outlived))
        _all.add(self)
        reset_after_fork(self)

    def set_up(self) -> None:
        if self._parked.park():
            wait = self._step if self._steps >= PROBATION else min(self._step, SOON)
            the_watcher().set(self._timer, time.monotonic() + wait)
        else:
            self._ended()

    def give_up(self) -> None:
        """If the watcher has it at this moment it goes with the last reference to this object."""
        if self._parked.take():
            self._end(CloseReason.CLOSED_LOCALLY)

    # -- in the watcher's thread

    def _ended(self) -> None:
        """By its peer."""
        idle, now = self._idle()
        self._origin.peer_closed(Rest(idle, min(idle, self._longest_silence)), self._entry.uses, now)
        self._end(CloseReason.PEER_CLOSED)

    def _outlived(self) -> None:
        if not self._parked.take():
            return
        self._origin.still_open(*self._idle())
        self._steps += 1
        if self._steps <= PROBATION and self._is_in_the_way():
            self._end(self._why_parked)
            self._origin.outpost = _claimed
        elif self._steps < STEPS:
            self.set_up()
        else:
            self._end(self._why_parked)

    def _is_in_the_way(self) -> bool:
        """The request that waited at the last step does so still."""
        successor, waited = self._successor(), self._waits
        self._waits = None if successor is None or self._steps == PROBATION else successor.exchange
        return waited is not None and successor is not None and successor.exchange is waited

    def _idle(self) -> tuple[float, float]:
        """Seconds, and now."""
        now = self._clock()
        return idle_for(self._sock, now - self._entry.idle_since), now

    # -- the end

    def _end(self, reason: CloseReason) -> None:
        """By whoever has the right to touch the socket, which nobody has twice."""
        the_watcher().set(self._timer, None)
        self._parked.forget()
        self._sock.close()
        _all.discard(self)
        context = self._context()
        if context is not None:
            context.outposts.discard(self)
        context = context or self._above
        if context is not None:
            context.closed(self._name, self._entry, reason)

    def _after_fork(self) -> None:
        """In the child this is a copy. The watcher's hook ran before: it knows of neither any more."""
        if self._parked.take():
            self._sock.close()
        _all.discard(self)
        self._origin.outpost = None
        context = self._context()
        if context is not None:
            context.outposts.discard(self)
            # Not told to a listener, who may be in the middle of something that no thread goes on with.
            context.tally.count(CloseReason.FORKED)

    def __del__(self) -> None:
        parked, sock, timer = self._parked, self._sock, self._timer
        above, name, entry = self._above, self._name, self._entry
        if not parked.take():
            return

        def close() -> None:
            the_watcher().set(timer, None)
            parked.forget()
            sock.close()
            if above is not None:
                above.closed(name, entry, CloseReason.CLOSED_LOCALLY)

        # No lock may be taken here: the garbage collector runs anywhere.
        the_watcher().call_soon(close)
