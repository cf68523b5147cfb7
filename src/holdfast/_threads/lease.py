"""What is lent: one connection, to one thread, for one use."""

from __future__ import annotations

import threading
import warnings
from threading import get_ident
from types import CodeType, TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from holdfast._core.idle_place import Slip
from holdfast._core.pool_entry import IDLE, PoolEntry, State
from holdfast.errors import LeaseError

if TYPE_CHECKING:
    from holdfast._threads.lending import Lender

__all__ = ["Lease", "Tether"]

SocketT = TypeVar("SocketT")


class Tether(Slip):
    """Lies in the pool with its entry, and goes with the lease: if that is dropped, this is dropped.

    A finalizer of the lease itself would run, in vain, at the end of every good one, and cost a third of the
    floor in ``benchmarks/socket_pool_cost.py``. A tether goes from lease to lease, and outlives the good ones.
    """

    __slots__ = ("code", "instruction", "poll", "sock", "timeout")

    pool: Lender[Any] | None

    def __init__(self, entry: PoolEntry) -> None:
        """``entry``: connected."""
        super().__init__(entry)
        # What each lease needs of the link, so that it is one step away.
        self.poll, self.sock, self.timeout = entry.link.poll, entry.link.sock, entry.link.timeout
        self.code: CodeType | None = None
        """Whose lease it is."""
        self.instruction = 0

    def __del__(self) -> None:
        pool = getattr(self, "pool", None)
        if pool is None or self.entry.state is State.CLOSED:
            return
        self.pool = None
        # No lock may be taken here: the garbage collector runs anywhere.
        pool._leaked(self.entry)
        warnings.warn(
            f"a lease of {pool.name} was never released; its connection is closed."
            f" It was taken at {_place(self.code, self.instruction)}",
            ResourceWarning,
            stacklevel=2,
        )


class Lease(Generic[SocketT]):
    """A connection that is yours until you leave the ``with`` block, or :meth:`release` it.

    Left by an exception, the connection is discarded: nobody knows what is still on its way.
    """

    __slots__ = ("_code", "_instruction", "_owner", "_pool", "_tether")

    # Set by Lender.acquire.
    _pool: Lender[SocketT]
    _tether: Tether | None
    _owner: int
    _code: CodeType
    _instruction: int

    @property
    def sock(self) -> SocketT:
        """The real socket, a ``socket.socket`` or ``ssl.SSLSocket``."""
        tether = self._tether
        if tether is None or self._owner != get_ident() or tether.entry.state is State.LOST:
            raise self._misuse("its socket was asked for")
        sock: SocketT = tether.entry.link.sock
        return sock

    @property
    def reused(self) -> bool:
        """Whether the connection was lent to somebody before."""
        if self._tether is None or self._owner != get_ident():
            raise self._misuse("it was asked for its past")
        return self._tether.entry.uses > 0

    def release(self) -> None:
        """Gives the connection back, for others to use. The last answer must have been read."""
        tether = self._tether
        if tether is None or self._owner != get_ident():
            raise self._misuse("release() was called")
        self._tether = None
        pool, sock = self._pool, tether.sock
        # Closed by its user, or left with another timeout, or to be reset: then it is not ready.
        if sock.gettimeout() != tether.timeout or sock._closed:
            pool._take_back(tether)
            return
        # What PoolCore.give_back does, written out. See lending.py.
        core, clock, entry = pool._core, pool._clock, tether.entry
        entry.idle_since = clock()
        entry.uses += 1
        entry.state = IDLE
        tether.pool = None
        core.top.append(tether)
        # Asked after it was laid down; see _core/pool.py.
        if core.ask_after_return or entry.alarm is None:
            pool._settle(entry)

    def discard(self) -> None:
        """Closes the connection."""
        if self._tether is None or self._owner != get_ident():
            raise self._misuse("discard() was called")
        self._discard(None)

    @property
    def taken_at(self) -> str:
        """The place that took it, ``file:line``."""
        return _place(self._code, self._instruction)

    def __enter__(self) -> Lease[SocketT]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # None: released or discarded inside the block, on purpose.
        if self._tether is None:
            return
        if kind is None:
            self.release()
        else:
            self._discard(error)

    def __repr__(self) -> str:
        state = "released" if self._tether is None else f"uses={self._tether.entry.uses}"
        return f"<Lease of {self._pool.name}, {state}, taken at {self.taken_at}>"

    def _tie(self, tether: Tether) -> None:
        """To an entry that takes the place of the one it had."""
        self._tether = tether
        tether.code, tether.instruction = self._code, self._instruction

    def _untied(self) -> Tether:
        """The lease is over; whoever asked answers for the entry now."""
        tether, self._tether = self._tether, None
        assert tether is not None
        return tether

    def _discard(self, error: BaseException | None) -> None:
        self._pool._discard(self._untied(), error)

    def _misuse(self, what: str) -> LeaseError:
        if self._tether is None:
            return LeaseError(
                f"the lease of {self._pool.name} taken at {self.taken_at} is over: {what} after it"
                " had been released or discarded. Acquire a new one"
            )
        if self._tether.entry.state is State.LOST:
            return LeaseError(
                f"the lease of {self._pool.name} taken at {self.taken_at} belongs to the parent process,"
                f" and {what} in a child. Acquire a new one after the fork"
            )
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        return LeaseError(
            f"the lease of {self._pool.name} taken at {self.taken_at} belongs to thread"
            f" {names.get(self._owner, self._owner)!r}, and {what} in thread"
            f" {threading.current_thread().name!r}. Let each thread acquire its own"
        )


def _place(code: CodeType | None, instruction: int) -> str:
    if code is None:
        return "a place that was interrupted"
    for start, end, line in code.co_lines():
        if line is not None and start <= instruction < end:
            return f"{code.co_filename}:{line}"
    return f"{code.co_filename}:{code.co_firstlineno}"
