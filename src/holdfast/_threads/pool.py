"""Threads around the pool's rules: tell the rules under the lock, leave the lock, do what they want.

Subclasses know what is pooled: they open, close, look at and ask it. The rules and the waiting are here.
"""

from __future__ import annotations

import math
import random
import threading
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from holdfast._core.actions import Action, Beat, Check, Close, Grant, Open, Refuse, WhyRefused
from holdfast._core.pool import PoolCore
from holdfast._core.pool_entry import PoolEntry, State
from holdfast._core.pool_sizes import PoolSizes
from holdfast._core.waiting import Ticket
from holdfast._threads.forking import reset_after_fork
from holdfast._threads.lease import SocketT, Tether
from holdfast._threads.lending import Lender
from holdfast._threads.pool_counts import PoolCounts
from holdfast._threads.refusals import check_timeout, refusal, timed_out
from holdfast._threads.watcher import Timer, the_watcher
from holdfast._threads.weak import weakly
from holdfast._threads.workers import the_openers
from holdfast.policy import Policy
from holdfast.policy._clock import bare
from holdfast.vocabulary import CloseReason

__all__ = ["PoolDriver"]

LONGEST_JOIN = 1.0
"""Seconds that ``close`` waits for connections that are being opened in the background."""
LONGEST_SLEEP = 1.0
"""Seconds. A lease that was dropped is closed by the watcher at once; but a pool of connections that are
used once has none, and then those who wait look after it themselves, as after what Ctrl-C cut short."""
_PROVED_BY_NONE = (CloseReason.UNANSWERED, CloseReason.SUSPECT)
"""Where another that lies in the pool is as doubtful as this one."""


class PoolDriver(Lender[SocketT]):
    """A pool for any number of threads."""

    def __init__(self, name: str, sizes: PoolSizes, policy: Policy, acquire_timeout: float | None) -> None:
        self.name = name
        self._sizes = sizes
        self._policy = policy
        self._clock = bare(policy.clock)
        self._acquire_timeout = acquire_timeout
        self._counts = PoolCounts()
        self._make_empty()
        reset_after_fork(self)

    def _make_empty(self) -> None:
        self._lock = threading.Lock()
        self._all_back = threading.Condition(self._lock)
        self._core = PoolCore(self._sizes, self._policy.limits, self._policy.heartbeat)
        self._timer = Timer(weakly(self, PoolDriver._timer_rang))
        self._timer_at: float | None = None
        self._leaks: deque[PoolEntry] = deque()

    # -- what subclasses know

    @abstractmethod
    def _open(self, entry: PoolEntry, deadline: float | None) -> None:
        """Connects, and sets ``entry.link``. May block, until ``deadline`` (``time.monotonic``) at the most."""

    @abstractmethod
    def _close(self, entry: PoolEntry, reason: CloseReason) -> None:
        """Closes what ``entry.link`` stands for."""

    @abstractmethod
    def _look(self, entry: PoolEntry) -> CloseReason | None:
        """Why it must not be lent, as far as can be seen without blocking."""

    @abstractmethod
    def _prove(self, entry: PoolEntry, deadline: float | None) -> CloseReason | None:
        """The same of one that is about to be lent. May block until ``deadline``, if it is worth it."""

    @abstractmethod
    def _beat(self, entry: PoolEntry) -> None:
        """Starts a heartbeat, without blocking, that ends in ``_checked``."""

    @abstractmethod
    def _tidy(self, entry: PoolEntry) -> CloseReason | None:
        """Its lease ended well: makes it ready for others. May block."""

    @abstractmethod
    def _watch_again(self, entry: PoolEntry) -> None:
        """It came back, and may have lost the watcher's attention while it was lent."""

    @abstractmethod
    def _is_stale(self, entry: PoolEntry, error: BaseException | None) -> bool:
        """Whether this failure says something about the other connections as well."""

    # -- lending

    def _acquire_slowly(
        self, timeout: float | None, dead: Tether | None = None, why: CloseReason | None = None
    ) -> Tether:
        self._reap()
        timeout = self._acquire_timeout if timeout is None else timeout
        deadline = None if timeout is None else time.monotonic() + timeout
        ticket = Ticket(threading.Lock())
        ticket.wake.acquire()
        try:
            if dead is not None and why is not None:
                ticket.entry, dead.pool = dead.entry, None
                entry = self._replace(ticket, why, timeout, deadline)
            else:
                ticket.entry = self._core.lend(self._clock())
                entry = ticket.entry or self._request(ticket, timeout, deadline)
            while entry.state is not State.OPENING:
                reason = self._prove(entry, deadline)
                if reason is None:
                    break
                entry = self._replace(ticket, reason, timeout, deadline)
            else:
                self._connect(entry, deadline)
            tether = Tether(entry)
            tether.pool = self
        except BaseException:
            # Ctrl-C, or an alarm of the caller's: no entry stays with one who is gone.
            self._tell(lambda core, now: core.hand_on(ticket, now))
            raise
        return tether

    def _request(self, ticket: Ticket, timeout: float | None, deadline: float | None) -> PoolEntry:
        self._tell(lambda core, now: core.request(ticket, now))
        if ticket.waits:
            started = time.monotonic()
            try:
                self._sleep(ticket, math.inf if deadline is None else deadline)
            finally:
                self._counts.waited(time.monotonic() - started)
        if ticket.waits:
            # His time ran out. He may be served at this very moment; the lock tells.
            self._tell(lambda core, now: core.gave_up(ticket, now))
        if ticket.why_refused is not None:
            raise refusal(self.name, ticket.why_refused, self._core, self._sizes)
        if ticket.entry is None:
            raise timed_out(self.name, timeout, self._core, self._sizes)
        return ticket.entry

    def _replace(
        self, ticket: Ticket, reason: CloseReason, timeout: float | None, deadline: float | None
    ) -> PoolEntry:
        """The one he got is dead, and nobody had ended it: the others may be as well. For a silent one he
        gets a new one, or he would wait for the silence of one after the other; and so in place of a suspect."""

        def tell(core: PoolCore, now: float) -> None:
            core.replace(ticket, reason, now, by_new=reason in _PROVED_BY_NONE)
            core.recheck(now)

        self._tell(tell)
        return ticket.entry or self._request(ticket, timeout, deadline)

    def _sleep(self, ticket: Ticket, deadline: float) -> None:
        """Until he is served or refused, or his time is over."""
        left = deadline - time.monotonic()
        while ticket.waits and left > 0:
            if not ticket.wake.acquire(timeout=min(left, LONGEST_SLEEP)) and left > LONGEST_SLEEP:
                self._reap()
                self._tell(lambda core, now: core.timer(now))
            left = deadline - time.monotonic()

    def _connect(self, entry: PoolEntry, deadline: float | None) -> None:
        try:
            self._open(entry, deadline)
        except BaseException:
            self._tell(lambda core, now: core.open_failed(entry, now))
            raise
        if not self._opened(entry):
            raise refusal(self.name, WhyRefused.CLOSED, self._core, self._sizes)

    def _opened(self, entry: PoolEntry) -> bool:
        jitter = random.random()  # noqa: S311 - spreads load
        return bool(self._tell(lambda core, now: core.opened(entry, now, jitter)))

    # -- taking back

    def _take_back(self, tether: Tether) -> None:
        entry = tether.entry
        reason = self._tidied(tether)
        if reason is not None:
            self._retire(entry, reason)
            tether.pool = None
        elif self._core.give_back(tether, self._clock()):
            self._settle(entry)

    def _settle(self, entry: PoolEntry) -> None:
        self._tell(lambda core, now: core.settle(entry, now))
        self._watch_again(entry)

    def _tidied(self, tether: Tether) -> CloseReason | None:
        try:
            return self._tidy(tether.entry)
        except Exception:  # noqa: BLE001 - the user's work is done; only the connection is of no use any more
            return CloseReason.FAILED
        except BaseException as error:
            self._discard(tether, error)
            raise

    def _discard(self, tether: Tether, error: BaseException | None) -> None:
        entry = tether.entry
        reason = CloseReason.CLOSED_LOCALLY if error is None else CloseReason.FAILED
        stale = self._is_stale(entry, error)

        def tell(core: PoolCore, now: float) -> None:
            core.retire(entry, entry.doomed or reason, now)
            if stale:
                core.recheck(now)

        self._tell(tell)
        tether.pool = None

    def _retire(self, entry: PoolEntry, reason: CloseReason) -> None:
        self._tell(lambda core, now: core.retire(entry, reason, now))

    def _leaked(self, entry: PoolEntry) -> None:
        self._leaks.append(entry)
        the_watcher().call_soon(weakly(self, PoolDriver._reap))

    def _reap(self) -> None:
        while self._leaks:
            with suppress(IndexError):  # somebody else reaps as well
                entry = self._leaks.popleft()
                if entry in self._core.everything:
                    self._counts.leaked()
                    self._retire(entry, CloseReason.LEAKED)

    # -- what the watcher and workers find

    def _checked(self, entry: PoolEntry, reason: CloseReason | None, *, answered: bool = False) -> None:
        self._tell(lambda core, now: core.checked(entry, reason, now, answered=answered))

    def _startled(self, entry: PoolEntry, reason: CloseReason) -> None:
        """The peer ended it."""
        if self._tell(lambda core, now: core.startled(entry, reason, now)):
            self._check(entry)

    def _check(self, entry: PoolEntry) -> None:
        self._checked(entry, self._look(entry))

    def _timer_rang(self) -> None:
        self._timer_at = None
        self._tell(lambda core, now: core.timer(now))

    # -- the end

    def drain(self, timeout: float | None = None) -> bool:
        """Lends nothing more, and waits until everything is back. True if it is.

        Those who wait already are served. ``timeout`` in seconds; default: as long as it takes."""
        if timeout is not None:
            check_timeout(timeout)
        self._tell(lambda core, now: core.drain(now))
        with self._lock:
            return self._all_back.wait_for(lambda: not self._core.everything, timeout)

    def close(self) -> None:
        """Closes what is idle now, and what is lent when it comes back. Those who wait are refused.
        Closing twice is harmless."""
        self._reap()
        self._tell(lambda core, now: core.close(now))
        the_watcher().set(self._timer, None)
        if self._sizes.min_idle:
            the_openers().join(LONGEST_JOIN)
        the_watcher().join_if_idle()

    # -- telling the rules

    def _tell(self, what: Callable[[PoolCore, float], object]) -> object:
        actions: list[Action] = []
        try:
            with self._lock:
                answer = what(self._core, self._clock())
                self._arm_timer_locked()
                if not self._core.everything:
                    self._all_back.notify_all()
                actions, self._core.outbox = self._core.outbox, []
        except BaseException:
            with self._lock:
                self._arm_timer_locked()
            raise
        finally:
            self._carry_out(actions)
        return answer

    def _carry_out(self, actions: list[Action]) -> None:
        """All of them, whatever one raises: each is the only news that somebody gets."""
        error: BaseException | None = None
        for action in actions:
            try:
                self._do(action)
            except BaseException as raised:  # noqa: BLE001 - it is raised below
                error = error or raised
        if error is not None:
            raise error

    def _do(self, action: Action) -> None:
        match action:
            case Grant(ticket, _) | Refuse(ticket, _):
                with suppress(RuntimeError):  # awake already, and he looks at his ticket
                    ticket.wake.release()
            case Close(entry, reason):
                self._counts.closed(reason, entry.uses)
                self._close(entry, reason)
            case Check(entry):
                self._check(entry)
            case Beat(entry):
                self._beat(entry)
            case Open(entry):
                the_openers().do(weakly(self, PoolDriver._warm, entry))

    def _warm(self, entry: PoolEntry) -> None:
        try:
            self._open(entry, time.monotonic() + self._warm_timeout())
        except Exception:  # noqa: BLE001 - nobody asked for it; who needs one gets the error of his own try
            self._tell(lambda core, now: core.open_failed(entry, now))
        else:
            self._opened(entry)

    def _warm_timeout(self) -> float:
        return 30.0 if self._acquire_timeout is None else self._acquire_timeout

    def _arm_timer_locked(self) -> None:
        """An earlier call than needed does no harm, so it is only set for earlier ones."""
        deadline = self._core.next_deadline()
        if deadline is None or (self._timer_at is not None and self._timer_at <= deadline):
            return
        if the_watcher().set(self._timer, time.monotonic() + max(0.0, deadline - self._clock())):
            self._timer_at = deadline

    def _after_fork(self) -> None:
        """In the child. Its copies are closed, which the parent's connections do not notice."""
        core = self._core
        self._make_empty()
        self._counts.after_fork()
        core.forked()
        for action in core.outbox:
            if isinstance(action, Close):
                self._close(action.entry, action.reason)
