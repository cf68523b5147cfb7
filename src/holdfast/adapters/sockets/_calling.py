"""``SocketPool.call``: one exchange on a pooled connection, repeated only where that is safe.

How far the exchange got is read from the kernel, on the socket that failed, before it is closed. Where the
kernel does not tell, it may have been processed.
"""

from __future__ import annotations

import errno
import ssl
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from holdfast._core.recovery import Attempt, decide
from holdfast._net.transferred import progress_since, transferred
from holdfast._threads.lease import Lease
from holdfast._threads.refusals import check_timeout
from holdfast.adapters.sockets._guarded import is_departure
from holdfast.errors import AcquireTimeoutError, PolicyError, PoolError
from holdfast.events import RepeatDecided
from holdfast.vocabulary import Progress, Verdict

if TYPE_CHECKING:
    from holdfast.adapters.sockets._pool import SocketPool

__all__ = ["Call"]

AnswerT = TypeVar("AnswerT")


class Call(Generic[AnswerT]):
    """One call, with all its attempts."""

    def __init__(
        self, pool: SocketPool, fn: Callable[[Any], AnswerT], *, idempotent: bool, timeout: float | None
    ) -> None:
        if not callable(fn):
            raise PolicyError("fn", fn, "must be callable, and take the socket")
        if not isinstance(idempotent, bool):
            raise PolicyError("idempotent", idempotent, "must be True or False: may it be executed twice?")
        check_timeout(timeout)
        self._pool = pool
        self._fn = fn
        self._idempotent = idempotent
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._recovered = False

    def run(self) -> AnswerT:
        while True:
            lease = self._lease()
            sock, reused = lease.sock, lease.reused
            before = transferred(sock)
            try:
                self._limit(sock)
                answer = self._fn(sock)
            except BaseException as error:
                # Before the socket is closed: then the kernel tells nothing any more.
                progress = progress_since(before, transferred(sock))
                lease.__exit__(type(error), error, error.__traceback__)
                if not self._repeats(error, progress, reused=reused):
                    raise
                continue
            lease.release()
            return answer

    def _lease(self) -> Lease[Any]:
        left = None if self._deadline is None else self._left(self._deadline)
        # A repeat never rides a pooled connection: what ended the first may have ended them all.
        return self._pool._acquire_new(left) if self._recovered else self._pool.acquire(left)

    def _left(self, deadline: float) -> float:
        return max(0.0, deadline - time.monotonic())

    def _limit(self, sock: Any) -> None:
        """What is left of the one deadline is passed on to the socket, which has one for each operation."""
        if self._deadline is None:
            return
        left, own = self._left(self._deadline), sock.gettimeout()
        if left == 0:
            raise AcquireTimeoutError(f"{self._pool.name}: the time of the call was over before it began")
        if own is None or left < own:
            sock.settimeout(left)

    def _repeats(self, error: BaseException, progress: Progress, *, reused: bool) -> bool:
        verdict = self._decide(error, progress, reused=reused)
        self._pool._counts.decided(verdict)
        name = getattr(self._fn, "__name__", type(self._fn).__name__)
        self._pool._announce(RepeatDecided(self._pool.name, name, progress, verdict))
        if verdict.repeats:
            self._recovered = True
        elif hasattr(error, "add_note"):
            error.add_note(f"holdfast: {progress.value}; {verdict.value}")
        return verdict.repeats

    def _decide(self, error: BaseException, progress: Progress, *, reused: bool) -> Verdict:
        attempt = Attempt(
            progress=progress,
            reused=reused,
            safe=self._idempotent,
            replayable=True,
            timed_out=_is_own_timeout(error),
            interrupted=not _is_of_the_connection(error),
            recovered=self._recovered,
            caller_covers=False,
        )
        return decide(attempt, self._pool._policy.retry)


def _is_own_timeout(error: BaseException) -> bool:
    """``socket.timeout`` has no errno; ETIMEDOUT is the kernel's, after which the connection is dead."""
    return isinstance(error, TimeoutError) and error.errno is None


def _is_of_the_connection(error: BaseException) -> bool:
    if isinstance(error, PoolError):
        # Of another pool, which the function uses as well.
        return False
    if isinstance(error, (EOFError, ssl.SSLError, TimeoutError)):
        return True
    # EBADF: the function closed it, and the peer is not to blame.
    return isinstance(error, OSError) and is_departure(error) and error.errno != errno.EBADF
