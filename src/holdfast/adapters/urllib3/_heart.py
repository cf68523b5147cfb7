"""The heartbeats of one socket that lies in a pool: when they come, and whose the socket is meanwhile.

The right to touch an idle socket is one thing in a list (``_threads.parking``), and a beat takes it like
everybody else. Who comes for the connection while its beat is under way does not wait: he says that he
wanted it, tries once more, and goes without. The socket is the beat's then, which closes it when it is
done. Nobody closes a socket that another thread reads from.

There is no lock here, for a connection may be closed by the garbage collector, in any thread and in the
middle of any step. What must be decided once is decided by taking something out of a list.
"""

from __future__ import annotations

import os
import random
import time
import weakref
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from holdfast._core.http_heartbeat import Place, answered, compose, next_beat
from holdfast._net.liveness import Look
from holdfast._net.reading import Tap
from holdfast._threads.parking import Parked
from holdfast._threads.watcher import Timer, the_watcher
from holdfast._threads.weak import weakly
from holdfast._threads.workers import the_beaters
from holdfast.adapters.urllib3._beat import beat
from holdfast.adapters.urllib3._context import Count
from holdfast.adapters.urllib3._record import REASON
from holdfast.policy import Heartbeat
from holdfast.vocabulary import CloseReason

if TYPE_CHECKING:
    from holdfast.adapters.urllib3._beating import BeatingRecord

__all__ = ["Heart"]

SHORTEST_WAIT = 0.001
"""Rounding can make a time and the note of it differ by a hair; nobody shall spin on that."""


class Heart:
    """From when the socket was connected until it is closed or its connection let go."""

    __slots__ = (
        "__weakref__",
        "_armed",
        "_conn",
        "_context",
        "_entry",
        "_every",
        "_heartbeat",
        "_known",
        "_look",
        "_origin",
        "_parked",
        "_stopped",
        "_tap",
        "_timer",
        "_untold",
        "_wanting",
        "over",
        "sock",
    )

    def __init__(
        self, conn: Any, record: BeatingRecord, heartbeat: Heartbeat, parked: Parked, look: Look, tap: Tap
    ) -> None:
        self._conn: weakref.ref[Any] = weakref.ref(conn)
        # What the record says of this socket; by the end of a beat it may speak of another.
        self.sock, self._parked, self._look, self._tap = conn.sock, parked, look, tap
        self._entry, self._context, self._origin = record.entry, record.context, record.origin
        self._known = record.known
        self._heartbeat = heartbeat
        # Something on the way may be known to forget sooner.
        every = min(heartbeat.interval, record.known.flow_limit / 2)
        self._every = every * (1 - heartbeat.jitter * random.random())  # noqa: S311 - spreads load
        self._timer = Timer(weakly(self, Heart._rang))
        self._armed = False
        """The timer is set. It is not set anew at each use: when it rings, it is seen how it stands."""
        self._stopped = False
        self._wanting: list[None] = []
        """One for each who came for it while its beat was under way, and has it not."""
        self._untold: list[None] = [None]
        """Whoever takes it out tells that the socket is closed."""
        self.over = False
        """A beat has closed the socket, or is about to."""

    # -- whose it is

    def take(self) -> bool:
        """The right to the socket. False if it is the watcher's, or a beat's, which will close it."""
        if self._parked.take():
            return True
        self._wanting.append(None)
        # Said before it is tried again, as a beat gives the right back before it looks who wants it:
        # one of the two sees the other.
        if not self._parked.take():
            return False
        self._wanting.pop()
        return True

    def give_back(self) -> CloseReason | None:
        """A reason: it is the caller's still, to be closed."""
        while self._parked.park():
            if not self._wanting or not self._parked.take():
                return None
            if self._wanting:
                return CloseReason.HEARTBEAT_UNDER_WAY
            # He has had it, and is done with it.
        return REASON.get(self._look(), CloseReason.PEER_CLOSED)

    def survives(self) -> bool:
        """In the watcher's thread, which has the right to it, for it saw a sign. Where there is no epoll that may
        have been the answer to a beat, which was read since."""
        if not the_watcher().is_one_shot or REASON.get(self._look()) is not None:
            return False
        self._parked.revive()
        reason = self.give_back()
        if reason is not None:
            self.close(reason)
        return True

    def close(self, reason: CloseReason) -> None:
        """By the one who has the right."""
        first = self._is_first_to_tell()
        self.over = True
        self._parked.forget()
        with suppress(OSError):
            self.sock.close()
        if first:
            self._tell(reason)

    def close_copy(self) -> None:
        """In the child of a fork: the one who has the right is a thread of the parent's. Its stream of
        the socket, which nobody closes here, would hold a ``close()`` up."""
        descriptor = self.sock.detach()
        if descriptor >= 0:
            os.close(descriptor)

    def tell(self, reason: CloseReason) -> None:
        """That the connection has left the pool; only the first who says so is heard."""
        if self._is_first_to_tell():
            self._tell(reason)

    def _is_first_to_tell(self) -> bool:
        try:
            self._untold.pop()
        except IndexError:
            return False
        return True

    def _tell(self, reason: CloseReason) -> None:
        self._entry.doom(reason)
        self._context.closed(self._origin, self._entry, self._entry.doomed or reason)

    # -- when it beats

    def rest(self) -> None:
        """It lies idle."""
        if not self._armed:
            self._arm()

    def stop(self) -> None:
        """No beat begins any more. From anywhere, the garbage collector included."""
        self._stopped = True
        if self._armed:
            the_watcher().call_soon(partial(the_watcher().set, self._timer, None))

    def _arm(self) -> None:
        left = self._left()
        if left is None:
            return
        self._armed = True
        the_watcher().set(self._timer, time.monotonic() + max(left, SHORTEST_WAIT))
        if self._stopped:
            # Meanwhile; then it was taken back before it was set.
            the_watcher().set(self._timer, None)

    def _left(self) -> float | None:
        """Seconds until the next beat; None if there is to be none until the connection was used again."""
        if self._stopped or self._place() is None:
            return None
        return next_beat(self._entry, self._every, self._context.limits, self._context.clock())

    def _place(self) -> Place | None:
        """None as well if it is not the connection's socket any more."""
        conn = self._conn()
        if conn is None or conn.sock is not self.sock:
            return None
        place: Place | None = conn._holdfast.place
        return place

    def _rang(self) -> None:
        """In the watcher's thread."""
        # Before it is looked who rests, as who lies down rests before he looks whether it is set.
        self._armed = False
        conn = self._conn()
        if conn is None or not conn._holdfast.at_rest:
            return
        if self._left() == 0:
            the_beaters().do(self._beat)
        else:
            self._arm()

    # -- one beat, in a worker's thread

    def _beat(self) -> None:
        """The right is taken here and not before: the connection can be lent while it is waited for a
        thread."""
        if self._stopped or not self._parked.take():
            return
        reason: CloseReason | None = CloseReason.HEARTBEAT_WRONG
        try:
            # It may have been used meanwhile; or let go, and then the right to it means nothing any more.
            reason = self._ask() if self._left() == 0 else None
            reason = reason or self.give_back()
        finally:
            if reason is not None:
                self.close(reason)
        if reason is None:
            self.rest()

    def _ask(self) -> CloseReason | None:
        place, request = self._place(), self._heartbeat.request
        if place is None or request is None:
            return None
        reason, limits = REASON.get(self._look()), self._context.limits
        if reason is not None:
            return reason
        self._context.tally.count(Count.HEARTBEATS)
        head = compose(request, place, keep_alive=limits.ask_keep_alive)
        answer = beat(self._tap, request.method, head, self._heartbeat.timeout, self._context)
        if isinstance(answer, CloseReason):
            return answer
        now = self._context.clock()
        answered(self._entry, *answer, limits, now, self._known.keeps(now) if limits.learn else 0.0)
        # Some servers send a body with the answer to HEAD, right behind it.
        return self._entry.doomed or REASON.get(self._look())
