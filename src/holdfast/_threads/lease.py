"""What is lent: one connection, to one thread, for one use."""

from __future__ import annotations

import sys
import threading
import warnings
from threading import get_ident
from types import CodeType, TracebackType
from typing import TYPE_CHECKING, Generic, TypeVar

from holdfast._core.pool_entry import PoolEntry, State
from holdfast.errors import LeaseError

if TYPE_CHECKING:
    from holdfast._threads.pool import PoolDriver

__all__ = ["Lease"]

SocketT = TypeVar("SocketT")


class Lease(Generic[SocketT]):
    """A connection that is yours until you leave the ``with`` block, or :meth:`release` it.

    Left by an exception, the connection is discarded: nobody knows what is still on its way.
    """

    __slots__ = ("_code", "_entry", "_instruction", "_owner", "_pool")

    def __init__(self, pool: PoolDriver[SocketT], entry: PoolEntry) -> None:
        self._pool = pool
        self._entry: PoolEntry | None = entry
        self._owner = get_ident()
        # Where it was taken, for the warning if it is dropped. Not the frame, which would keep all
        # its variables alive; and the line is reckoned when somebody asks.
        frame = sys._getframe(2)
        self._code: CodeType = frame.f_code
        self._instruction = frame.f_lasti

    @property
    def sock(self) -> SocketT:
        """The real socket, a ``socket.socket`` or ``ssl.SSLSocket``."""
        entry = self._entry
        if entry is None or self._owner != get_ident() or entry.state is State.LOST:
            raise self._misuse("its socket was asked for")
        sock: SocketT = entry.link.sock
        return sock

    @property
    def reused(self) -> bool:
        """Whether the connection was lent to somebody before."""
        if self._entry is None or self._owner != get_ident():
            raise self._misuse("it was asked for its past")
        return self._entry.uses > 0

    def release(self) -> None:
        """Gives the connection back, for others to use. The last answer must have been read."""
        entry = self._entry
        if entry is None or self._owner != get_ident():
            raise self._misuse("release() was called")
        self._entry = None
        pool, link = self._pool, entry.link
        sock = link.sock
        # Closed by its user, or left with another timeout, or to be reset: then it is not ready.
        if sock.gettimeout() != link.timeout or sock.fileno() < 0:
            pool._take_back(entry)
        elif pool._give_back(entry, pool._clock()):
            pool._settle(entry)

    def discard(self) -> None:
        """Closes the connection."""
        entry = self._entry
        if entry is None or self._owner != get_ident():
            raise self._misuse("discard() was called")
        self._entry = None
        self._pool._discard(entry, None)

    @property
    def taken_at(self) -> str:
        """The place that took it, ``file:line``."""
        for start, end, line in self._code.co_lines():
            if line is not None and start <= self._instruction < end:
                return f"{self._code.co_filename}:{line}"
        return f"{self._code.co_filename}:{self._code.co_firstlineno}"

    def __enter__(self) -> Lease[SocketT]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # None: released or discarded inside the block, on purpose.
        entry = self._entry
        if kind is None:
            if entry is not None:
                self.release()
            return
        if entry is None:
            return
        self._entry = None
        self._pool._discard(entry, error)

    def __repr__(self) -> str:
        state = "released" if self._entry is None else f"uses={self._entry.uses}"
        return f"<Lease of {self._pool.name}, {state}, taken at {self.taken_at}>"

    def __del__(self) -> None:
        entry = self._entry
        if entry is None:
            return
        self._entry = None
        # No lock may be taken here: the garbage collector runs anywhere.
        self._pool._leaked(entry)
        warnings.warn(
            f"a lease of {self._pool.name} was never released; its connection is closed."
            f" It was taken at {self.taken_at}",
            ResourceWarning,
            stacklevel=2,
            source=self,
        )

    def _misuse(self, what: str) -> LeaseError:
        if self._entry is None:
            return LeaseError(
                f"the lease of {self._pool.name} taken at {self.taken_at} is over: {what} after it"
                " had been released or discarded. Acquire a new one"
            )
        if self._entry.state is State.LOST:
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
