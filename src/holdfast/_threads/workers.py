"""A few threads for what may block: connecting in the background, callables of users.

A thread starts with the work and ends with it, so nothing lies around. One that is stuck in somebody's
function is written off when its time is over, and does not count any more: others take its place.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable

__all__ = ["Workers", "the_beaters", "the_openers", "the_workers"]

log = logging.getLogger("holdfast.workers")

AT_ONCE = 4
"""Threads that work at the same time. Heartbeats are short; connecting is rare."""
BEATERS = 16
"""The same for heartbeats of HTTP clients. More, because one server that hangs is asked on all of its
connections, and those of the others must not grow old meanwhile."""
MOST_STUCK = 32
"""Threads written off after which no new ones replace them: then something is wrong that more
threads would not cure."""


class Workers:
    """See :func:`the_workers`. ``at_once``: threads that work at the same time."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._at_once = at_once
        self.make_empty()

    def make_empty(self) -> None:
        """As it was at the start; after a fork the threads are the parent's."""
        self._lock = threading.Lock()
        self._todo: deque[Callable[[], object]] = deque()
        self._running: set[threading.Thread] = set()
        self._stuck: set[threading.Thread] = set()

    def do(self, work: Callable[[], object]) -> None:
        """Soon, in another thread. What it raises is logged and dropped."""
        with self._lock:
            self._todo.append(work)
            if len(self._running) >= self._at_once:
                return
            thread = threading.Thread(target=self._run, name="holdfast-worker", daemon=True)
            self._running.add(thread)
        try:
            thread.start()
        except RuntimeError:
            # The interpreter ends: what was to be done in the background is not needed any more.
            with self._lock:
                self._running.discard(thread)

    def write_off(self, thread: threading.Thread) -> None:
        """It is stuck, and what it was to do is given up."""
        with self._lock:
            if thread in self._running and len(self._stuck) < MOST_STUCK:
                self._running.discard(thread)
                self._stuck.add(thread)
            work = self._todo.popleft() if self._todo else None
        if work is not None:
            self.do(work)

    def join(self, timeout: float) -> None:
        """Waits for what is under way, as long as it is not stuck."""
        with self._lock:
            threads = [t for t in self._running if t is not threading.current_thread()]
        for thread in threads:
            if thread.ident is not None:
                thread.join(timeout)

    def _run(self) -> None:
        me = threading.current_thread()
        while True:
            with self._lock:
                if not self._todo or me in self._stuck:
                    self._running.discard(me)
                    self._stuck.discard(me)
                    return
                work = self._todo.popleft()
            _call(work)
            del work


def _call(work: Callable[[], object]) -> None:
    try:
        work()
    except Exception:
        log.exception("%r raised, and was dropped", work)


_workers, _openers, _beaters = Workers(), Workers(), Workers(BEATERS)


def the_workers() -> Workers:
    """Those of this process."""
    return _workers


def the_openers() -> Workers:
    """Others, for connecting in the background: a server that does not answer keeps each of them for the
    whole of its timeout, and heartbeats of other pools must not wait for that."""
    return _openers


def the_beaters() -> Workers:
    """Others, for heartbeats of HTTP clients: one that gets no answer keeps its thread for its timeout."""
    return _beaters


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_workers.make_empty)
    os.register_at_fork(after_in_child=_openers.make_empty)
    os.register_at_fork(after_in_child=_beaters.make_empty)
