"""Lending the way most leases go: something lies on top of the idle ones, within its limits, and quiet.

It is what :meth:`PoolCore.lend` does, written out, as :meth:`Lease.release` has
:meth:`PoolCore.give_back` written out: two calls more in each lease cost as much as a quarter of the floor in
``benchmarks/socket_pool_cost.py``. ``tests/core/test_pool_machine_written_out.py`` holds both to the rules.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from sys import _getframe
from threading import get_ident
from typing import Generic

from holdfast._core.pool import PoolCore
from holdfast._core.pool_entry import LEASED, PoolEntry
from holdfast._threads.lease import Lease, SocketT, Tether
from holdfast._threads.refusals import check_timeout
from holdfast.vocabulary import CloseReason

__all__ = ["Lender"]


class Lender(ABC, Generic[SocketT]):
    """What a lease knows of its pool."""

    name: str
    """For messages: what is pooled."""
    _core: PoolCore
    _clock: Callable[[], float]

    def acquire(self, timeout: float | None = None) -> Lease[SocketT]:
        """Lends a connection: an idle one, the one used last, or a new one, or waits for one.

        ``timeout``: seconds for waiting and connecting together; 0 does not wait. Default: the pool's
        ``acquire_timeout``. Callers are served in the order they came.

        Raises :class:`~holdfast.errors.AcquireTimeoutError`, :class:`~holdfast.errors.ConnectError`,
        :class:`~holdfast.errors.TooManyWaitingError` or :class:`~holdfast.errors.PoolClosedError`.
        """
        if timeout is not None:
            check_timeout(timeout)
        # What is called lies in a local first: Python 3.11 calls an attribute of an instance more slowly.
        core, clock = self._core, self._clock
        try:
            tether = core.lendable.pop()
        except IndexError:
            tether = None
        if tether is None:
            tether = self._acquire_slowly(timeout)
        else:
            # From here on it is missing: dropped, as by Ctrl-C, it is a leak.
            tether.pool = self
            entry, now = tether.entry, clock()
            if now - entry.idle_since < entry.idle_allowance and now < entry.old_at:
                entry.state = LEASED
                poll = tether.poll
                if poll(0) and (reason := entry.link.look()) is not None:
                    tether = self._acquire_slowly(timeout, tether, reason)
            else:
                # Only its limits say that it must go, and the locked way asks them again.
                tether.pool = None
                core.top.append(tether)
                tether = self._acquire_slowly(timeout)
        # No __init__: it would be one more call.
        lease: Lease[SocketT] = Lease()
        lease._tether = tether
        lease._pool = self
        lease._owner = get_ident()
        # Where it was taken, for the warning if it is dropped. Not the frame, which would keep all
        # its variables alive; and the line is reckoned when somebody asks.
        frame = _getframe(1)
        lease._code = tether.code = frame.f_code
        lease._instruction = tether.instruction = frame.f_lasti
        return lease

    @abstractmethod
    def _acquire_slowly(
        self, timeout: float | None, dead: Tether | None = None, why: CloseReason | None = None
    ) -> Tether:
        """Any other way. ``dead``, ``why``: what was lent already and must not be used."""

    @abstractmethod
    def _take_back(self, tether: Tether) -> None:
        """The way few go: it must be made ready for others first."""

    @abstractmethod
    def _settle(self, entry: PoolEntry) -> None:
        """It lies idle, but the rules want to think about it."""

    @abstractmethod
    def _discard(self, tether: Tether, error: BaseException | None) -> None:
        """Closes it: its lease was left by this error, or wants it so."""

    @abstractmethod
    def _leaked(self, entry: PoolEntry) -> None:
        """Called by the garbage collector: no lock, no closing."""
