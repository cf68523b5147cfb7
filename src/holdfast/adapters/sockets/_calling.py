"""``SocketPool.call``: one exchange on a pooled connection, repeated only where that is safe.

The policy is the one for HTTP. How far the exchange got is read from the kernel, on the socket that
failed, before it is closed. Where the kernel does not tell, it may have been processed.
"""

from __future__ import annotations

import errno
import math
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from holdfast._core.evidence import TcpSnapshot, progress_between, who_closed_first
from holdfast._core.retry import Attempt, Caller, Campaign
from holdfast._net.deadline import Deadline, DeadlineOverError
from holdfast._net.tcp_info import await_ending, look_at_end, snapshot
from holdfast._threads.lease import Lease
from holdfast._threads.refusals import check_timeout
from holdfast.adapters.sockets._guarded import is_departure
from holdfast.errors import AcquireTimeoutError, ConnectError, PolicyError, PoolError, PortsExhaustedError
from holdfast.events import RepeatDecided
from holdfast.vocabulary import Evidence, Progress, Verdict

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
        seconds = pool._policy.retry.deadline if timeout is None else timeout
        self._deadline = None if seconds is None else Deadline(seconds, pool._policy.clock)
        self._campaign = Campaign(ends_at=None if self._deadline is None else self._deadline.ends_at)
        self._began = pool._policy.clock()
        self._slept = 0.0
        self._connects = 0

    def run(self) -> AnswerT:
        while True:
            lease = self._lease()
            sock = lease.sock
            before = snapshot(sock)
            try:
                self._limit(sock)
                answer = self._fn(sock)
            except BaseException as error:
                # Before the socket is closed: then the kernel tells nothing any more.
                attempt = self._attempt(error, sock, before, reused=lease.reused)
                lease.__exit__(type(error), error, error.__traceback__)
                if not self._repeats(error, attempt):
                    raise
                continue
            lease.release()
            return answer

    # -- a connection

    def _lease(self) -> Lease[Any]:
        while True:
            left = None if self._deadline is None else max(0.0, self._deadline.left())
            try:
                # A repeat never rides a pooled connection: what ended the first may have ended them all.
                lease = self._pool._acquire_new(left) if self._campaign.failures else self._pool.acquire(left)
            except PortsExhaustedError:
                raise  # another try would only take another port
            except ConnectError as error:
                if not self._connects_again(error):
                    raise
            else:
                self._pool._retrying.opened()
                return lease

    def _connects_again(self, error: ConnectError) -> bool:
        """Nothing was sent, so any call may wait for a peer that is away for a moment."""
        self._connects += 1
        verdict, waited = self._pool._retrying.await_reconnect(
            self._campaign,
            Caller.SILENT,
            self._connects,
            give_up_at=math.inf,
            not_before=self._began + self._slept,
        )
        self._slept += waited
        self._tell(error, Progress.NOT_SENT, verdict)
        return verdict.repeats

    def _limit(self, sock: Any) -> None:
        """What is left of the one deadline is passed on to the socket, which has one for each operation."""
        if self._deadline is not None:
            try:
                self._deadline.hurry(sock)
            except DeadlineOverError as error:
                raise AcquireTimeoutError(f"{self._pool.name}: {error}, before the call began") from error

    # -- a failure

    def _attempt(
        self,
        error: BaseException,
        sock: Any,
        before: TcpSnapshot | None,
        *,
        reused: bool,
    ) -> Attempt:
        progress = progress_between(before, snapshot(sock))
        if progress is Progress.MAYBE_PROCESSED and reused and not self._idempotent:
            progress = _unless_peer_closed_first(sock, before)
        return Attempt(
            progress=progress,
            reused=reused,
            safe=self._idempotent,
            replayable=True,
            timed_out=_is_own_timeout(error),
            interrupted=not _is_of_the_connection(error),
            nonsense=False,
            caller=Caller.SILENT,
        )

    def _repeats(self, error: BaseException, attempt: Attempt) -> bool:
        decision = self._pool._retrying.after_failure(attempt, self._campaign)
        self._tell(error, attempt.progress, decision.verdict)
        if decision.verdict.repeats:
            self._pool._retrying.wait(decision.delay)
        return decision.verdict.repeats

    def _tell(self, error: BaseException, progress: Progress, verdict: Verdict) -> None:
        self._pool._counts.decided(verdict)
        name = getattr(self._fn, "__name__", type(self._fn).__name__)
        self._pool._announce(RepeatDecided(self._pool.name, name, progress, verdict))
        if not verdict.repeats and hasattr(error, "add_note"):
            error.add_note(f"holdfast: {progress.value}; {verdict.value}")


def _unless_peer_closed_first(sock: Any, before: TcpSnapshot | None) -> Progress:
    """How much was written is not known here, only that something was; the kernel's queue has it all."""
    end = look_at_end(sock)
    if before is not None and end is not None:
        evidence = who_closed_first(before, await_ending(sock, before, end), 1, exact=False)
        if evidence is Evidence.FIN_BEFORE_REQUEST:
            return Progress.PEER_CLOSED_FIRST
    return Progress.MAYBE_PROCESSED


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
