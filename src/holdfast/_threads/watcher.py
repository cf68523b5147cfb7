"""One daemon thread per process that waits for all connections that nobody uses.

It starts with the first need and ends, after a short linger, with the last. It holds descriptors and functions to call; what
a sign means, and whether the connection is idle at all, is for those to decide. They are called with no
lock held, must not block, and what they raise is logged and dropped.

After a fork the child has an empty watcher and a thread only when it needs one. It must not take the
parent's descriptors out of the epoll, which it shares with the parent; it closes its copy and that is all.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from holdfast._threads.hearing import Ears, Hearing
from holdfast._threads.polling import BROKEN, ENDED, Poller, make_poller
from holdfast._threads.timers import Timer, Timers
from holdfast._threads.waker import Waker

__all__ = ["Timer", "Watcher", "the_watcher"]

Told = Callable[[int], None]
"""Called with the signs of :mod:`holdfast._threads.polling`."""

log = logging.getLogger("holdfast.watcher")

LINGER = 0.5
"""Seconds the thread stays without anything to watch: a pool that closes its only connection often
opens the next one soon."""
LONGEST_WAIT = 1.0
"""Seconds. What is waited for closes a socket; only a lock that is held the wrong way round takes longer."""
LONGEST_JOIN = 5.0
"""Seconds. Only somebody's callback that blocks, which it must not, can make it take that long."""


class Watcher:
    """See :func:`the_watcher`: there is one for each process."""

    def __init__(self) -> None:
        self._hearing = Hearing()
        self._make_empty()

    def _make_empty(self) -> None:
        # Reentrant only to be asked whether this thread has it; see forget().
        self._lock = threading.RLock()
        self._told: dict[int, Told] = {}
        self._timers = Timers()
        self._calls: deque[tuple[Callable[[], object], int, Told | None]] = deque()
        self._calling: Told | None = None
        self._call_lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._poller: Poller | None = None
        self._waker: Waker | None = None
        self._sleeps_until: float = 0.0
        self._lingers_until: float | None = None
        self._ended = False

    # -- watching

    @property
    def is_one_shot(self) -> bool:
        """Whether :meth:`arm` must be called after each sign."""
        return self._poller is not None and self._poller.is_one_shot

    def watch(self, descriptor: int, told: Told) -> None:
        """Calls ``told`` when the peer ends the connection. Before the descriptor is closed, by
        whomever, :meth:`forget` must be called."""
        with self._lock:
            if not self._start_locked():
                return
            assert self._poller is not None
            self._poller.add(descriptor)
            self._told[descriptor] = told
            if self._poller.is_one_shot:
                # select() on Windows works on what there was when it began.
                self._wake()

    def arm(self, descriptor: int, told: Told, *, read: bool = False) -> None:
        """Tell again, also what is true already. ``read``: tell as well when there are bytes."""
        with self._lock:
            if self._told.get(descriptor) != told or self._poller is None:
                return
            # Closed by its user, who is to be found out elsewhere.
            with suppress(OSError, ValueError):
                self._poller.arm(descriptor, read=read)
            if self._poller.is_one_shot:
                self._wake()

    def forget(self, descriptor: int, told: Told) -> None:
        """When this returns, ``told`` is not under way and is not called again, and nothing here
        touches the descriptor. Only a ``told`` that calls this itself goes on.

        The garbage collector may run anywhere, and with it the finalizer of a pool that closes its
        connections. In the middle of a step of ours it must not take another; then it is done soon, which is
        as good: nobody is left who could park the connection. Nor may it wait without an end, for a
        ``told`` may need what this thread holds.
        """
        if self._lock._is_owned():  # type: ignore[attr-defined]
            self.call_soon(partial(self.forget, descriptor, told))
            return
        with self._lock:
            # The number may be another socket's by now.
            if self._told.get(descriptor) == told:
                del self._told[descriptor]
                if self._poller is not None:
                    self._poller.drop(descriptor)
            must_wait = self._calling == told and threading.current_thread() is not self._thread
        if must_wait and self._call_lock.acquire(timeout=LONGEST_WAIT):
            self._call_lock.release()

    def listen(self, open_ears: Callable[[], Ears | None], told: Callable[[], None]) -> None:
        """Calls ``told`` at news of the network, for as long as there is something else to watch."""
        with self._lock:
            self._hearing.set(open_ears, told)
            if self._poller is not None:
                self._hearing.begin(self._poller)

    # -- timers and calls

    def set(self, timer: Timer, when: float | None) -> bool:
        """``when``: as ``time.monotonic`` has it; None for never. False if there can be no thread for it."""
        with self._lock:
            if when is None:
                self._timers.unset(timer)
                return True
            if not self._start_locked():
                return False
            self._timers.set(timer, when)
            if when < self._sleeps_until:
                self._wake()
            return True

    def call_soon(self, call: Callable[[], object], descriptor: int = -1, told: Told | None = None) -> bool:
        """From anywhere, the garbage collector included: it takes no lock. If the watcher has
        nothing to watch, the call is dropped, and the answer is False. With ``descriptor`` and
        ``told``, :meth:`forget` holds for it as well: it is dropped if that is not watched any more."""
        if self._thread is None:
            return False
        self._calls.append((call, descriptor, told))
        self._wake()
        return True

    def is_current_thread(self) -> bool:
        return threading.current_thread() is self._thread

    def join_if_idle(self) -> None:
        """If nothing is left to watch, ends the thread now and waits for that."""
        self._let_it_finish()
        with self._lock:
            thread = self._thread
            if thread is None or self._is_needed_locked() or thread is threading.current_thread():
                return
            self._lingers_until = 0.0
            self._wake()
        thread.join(LONGEST_JOIN)

    def _let_it_finish(self) -> None:
        """What it is about may be the end of the last that is watched."""
        finished = threading.Event()
        with self._lock:
            if self._thread is None or self._thread is threading.current_thread():
                return
            # Under the lock, under which it also ends: it cannot end before it has made the call.
            self._calls.append((finished.set, -1, None))
            self._wake()
        finished.wait(LONGEST_JOIN)

    def stop(self) -> None:
        """At the end of the interpreter."""
        with self._lock:
            self._ended = True
            thread = self._thread
            self._wake()
        if thread is not None and thread is not threading.current_thread():
            thread.join(LONGEST_JOIN)

    def after_fork(self) -> None:
        """In the child. Closing its copies takes nothing away from the parent."""
        poller, waker = self._poller, self._waker
        self._make_empty()
        self._close(poller, waker)

    # -- the thread

    def _is_needed_locked(self) -> bool:
        return bool(self._told or self._timers or self._calls) and not self._ended

    def _start_locked(self) -> bool:
        if self._thread is not None or self._ended:
            return not self._ended
        thread = threading.Thread(target=self._run, name="holdfast-watcher", daemon=True)
        self._thread = thread
        try:
            self._open_locked()
            thread.start()
        except BaseException as error:
            if not thread.is_alive():
                self._thread = None
                self._close_locked()
            if not isinstance(error, RuntimeError):
                raise
            # The interpreter ends, or there are too many threads. Connections are then looked at
            # when they are lent, as they are in any case.
            return False
        return True

    def _open_locked(self) -> None:
        self._poller = make_poller()
        self._waker = Waker()
        self._poller.add_waker(self._waker.fileno())
        self._hearing.begin(self._poller)

    def _close_locked(self) -> None:
        poller, waker = self._poller, self._waker
        self._poller = self._waker = None
        self._timers = Timers()
        self._close(poller, waker)

    def _close(self, poller: Poller | None, waker: Waker | None) -> None:
        self._hearing.end()
        if poller is not None:
            poller.close()
        if waker is not None:
            waker.close()

    def _wake(self) -> None:
        waker = self._waker
        if waker is not None and threading.current_thread() is not self._thread:
            waker.wake()

    def _run(self) -> None:
        while True:
            with self._lock:
                poller = self._poller
                if self._thread is not threading.current_thread():
                    return  # its start was interrupted, and there may be another
                if poller is None or self._has_nothing_to_do_locked():
                    self._thread = None
                    self._close_locked()
                    return
                timeout = self._time_left_locked()
            self._handle(poller, timeout)

    def _has_nothing_to_do_locked(self) -> bool:
        if self._is_needed_locked():
            self._lingers_until = None
            return False
        if self._lingers_until is None:
            self._lingers_until = time.monotonic() + LINGER
        return self._ended or time.monotonic() >= self._lingers_until

    def _time_left_locked(self) -> float | None:
        if self._calls:
            return 0.0
        if self._lingers_until is not None:
            return max(0.0, self._lingers_until - time.monotonic())
        earliest = self._timers.earliest()
        self._sleeps_until = float("inf") if earliest is None else earliest
        return None if earliest is None else max(0.0, earliest - time.monotonic())

    def _handle(self, poller: Poller, timeout: float | None) -> None:
        # Names of this function end with it: the thread must not keep alive what it called last.
        for descriptor, signs in poller.wait(timeout):
            self._tell(poller, descriptor, signs)
        for timer in self._due():
            _call(timer.call)
        while self._calls:
            self._make_call(*self._calls.popleft())

    def _tell(self, poller: Poller, descriptor: int, signs: int) -> None:
        with self._lock:
            told = self._told.get(descriptor)
            if told is None:
                self._drain_waker_locked(descriptor)
                if (news := self._hearing.news(descriptor)) is not None:
                    self._calls.append((news, -1, None))
                return
            # Between the wait and now its number may have gone to a new socket, or it was read.
            if (poller.is_one_shot or signs & (ENDED | BROKEN)) and not poller.confirms(descriptor):
                return
            if poller.is_one_shot:
                poller.drop(descriptor)
            self._begin_locked(told)
        try:
            _call(told, signs)
        finally:
            self._end()

    def _make_call(self, call: Callable[[], object], descriptor: int, told: Told | None) -> None:
        if told is None:
            _call(call)
            return
        with self._lock:
            if self._told.get(descriptor) != told:
                return
            self._begin_locked(told)
        try:
            _call(call)
        finally:
            self._end()

    def _begin_locked(self, told: Told) -> None:
        self._calling = told
        self._call_lock.acquire()

    def _end(self) -> None:
        self._calling = None
        self._call_lock.release()

    def _drain_waker_locked(self, descriptor: int) -> None:
        if self._waker is not None and self._waker.fileno() == descriptor:
            self._waker.drain()

    def _due(self) -> list[Timer]:
        with self._lock:
            return self._timers.due(time.monotonic())


def _call(function: Callable[..., object], *args: int) -> None:
    try:
        function(*args)
    except Exception:
        log.exception("%r raised, and was dropped", function)


_watcher = Watcher()


def the_watcher() -> Watcher:
    """The one of this process."""
    return _watcher


def _after_fork() -> None:
    _watcher.after_fork()


# Work at import: hooks that are registered at the first need would have to know, after a fork and
# among threads, whether that was done before.
atexit.register(_watcher.stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
