"""One pooled socket, and what belongs to it: how to look at it, and the heartbeat under way.

Who touches the socket: its lease while it is leased; the watcher while it is reserved; whoever closes it
once the watcher has forgotten it. Nobody else.
"""

from __future__ import annotations

import socket
import threading
import time
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING

from holdfast._core.heartbeat import Answer
from holdfast._core.pool_entry import PoolEntry
from holdfast._net.beating import Beating
from holdfast._net.liveness import Look, Sight
from holdfast._net.probe import Reply, probe
from holdfast._threads.polling import BROKEN, ENDED
from holdfast._threads.watcher import the_watcher
from holdfast.policy import Heartbeat
from holdfast.vocabulary import CloseReason

if TYPE_CHECKING:
    from holdfast.adapters.sockets._pool import SocketPool

__all__ = ["Link"]

_REASONS = {
    Sight.ENDED: CloseReason.PEER_CLOSED,
    Sight.RESET: CloseReason.PEER_RESET,
    Sight.BYTES: CloseReason.STRAY_BYTES,
}


class Link:
    """What :class:`PoolEntry` calls ``link``."""

    __slots__ = (
        "_beating",
        "_entry",
        "_look",
        "_pool",
        "_timeout",
        "caller",
        "descriptor",
        "poll",
        "sock",
        "timeout",
    )

    def __init__(self, pool: SocketPool, entry: PoolEntry, sock: socket.socket, *, needs_reset: bool) -> None:
        self._pool = weakref.ref(pool)
        self._entry = entry
        self.sock = sock
        self.descriptor = sock.fileno()
        self._timeout = sock.gettimeout()
        self.timeout = self._timeout if _tells_if_closed(sock) and not needs_reset else -1.0
        """What the socket's timeout is when it needs no tidying; never, if it has to be reset or asked more."""
        self._look = Look(sock)
        # Only of a plain socket poll tells all: TLS may hold something back.
        told = None if self._look.pending is not None else self._look.poll
        self.poll = told or _something_may_be_there
        """Called with 0: falsy if nothing can have happened on it."""
        self._beating: Beating | None = None
        self.caller: threading.Thread | None = None
        """The thread in which somebody's heartbeat function runs."""

    def look(self) -> CloseReason | None:
        """Why it must not be lent. On a plain socket on which nothing happened, one system call."""
        if not self.poll(0):
            return None
        if self.is_closed():
            return CloseReason.CLOSED_LOCALLY
        return _REASONS.get(self._look())

    def prove(self, deadline: float | None) -> CloseReason | None:
        """As ``look``, but its peer's kernel is asked whether it is there. Waits for the answer."""
        reason = self.look()
        if reason is not None:
            return reason
        reply = probe(self.sock, at_most=None if deadline is None else deadline - time.monotonic())
        if reply is Reply.SILENT:
            return CloseReason.UNANSWERED
        # Something may have come meanwhile.
        return self.look() or (CloseReason.PEER_RESET if reply is Reply.ENDED else None)

    def is_closed(self) -> bool:
        """By its user. A file that he made of it may keep it open, for himself."""
        if _tells_if_closed(self.sock) and getattr(self.sock, "_closed", False):
            return True
        return self.sock.fileno() < 0

    def tidy(self) -> CloseReason | None:
        if self.is_closed():
            return CloseReason.CLOSED_LOCALLY
        self.sock.settimeout(self._timeout)
        return None

    def watch(self) -> None:
        the_watcher().watch(self.descriptor, self.told)

    def close(self) -> None:
        """In any thread. Sends nothing but what the kernel sends: after a fork it is a copy."""
        the_watcher().forget(self.descriptor, self.told)
        if self.caller is not None:
            # Somebody's function hangs in it, and closing alone would not wake it.
            with suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()

    # -- in the watcher's thread

    def told(self, signs: int) -> None:
        """Something happened on the socket."""
        pool = self._pool()
        if self._beating is not None:
            self._go_on(self._beating)
        elif pool is None:
            self.close()
        elif signs & (ENDED | BROKEN):
            pool._startled(self._entry, CloseReason.PEER_RESET if signs & BROKEN else CloseReason.PEER_CLOSED)
        else:
            pool._something_came(self._entry)

    def beat(self, heartbeat: Heartbeat) -> None:
        """Sends a heartbeat. What comes of it is told to the pool."""
        self._beating = beating = Beating(self.sock, heartbeat)
        reason = beating.start()
        if reason is not None:
            self._end(reason)
            return
        the_watcher().arm(self.descriptor, self.told, read=True)

    def _go_on(self, beating: Beating) -> None:
        answer, reason = beating.read()
        if answer is Answer.PENDING:
            if the_watcher().is_one_shot:
                the_watcher().arm(self.descriptor, self.told)
            return
        self._end(reason)

    def _end(self, reason: CloseReason | None) -> None:
        self._beating = None
        pool = self._pool()
        if reason is None:
            the_watcher().arm(self.descriptor, self.told)
        if pool is not None:
            pool._checked(self._entry, reason, answered=reason is None)


def _tells_if_closed(sock: object) -> bool:
    """By an attribute: it is asked at the end of each lease, and a call of fileno() costs a tenth of the floor in
    ``benchmarks/socket_pool_cost.py``. All of Python's own sockets do; what others mean by that name is theirs."""
    return isinstance(sock, socket.socket) and hasattr(sock, "_closed")


def _something_may_be_there(_milliseconds: int) -> bool:
    """Where poll cannot tell, or not all."""
    return True
