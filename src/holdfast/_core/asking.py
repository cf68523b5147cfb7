"""When an idle connection is to be thought about, asked by a heartbeat, doubted, given up.

A beat is sent once. TCP delivers it or nothing, so a second one behind an unanswered one would teach
nothing: a miss is time that passed, not another message. With ``misses`` allowed, a dead peer is
found ``interval * (misses + 1) + timeout`` after its last sign of life.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from holdfast._core.actions import Action, Beat, Check
from holdfast._core.alarms import Alarms
from holdfast._core.pool_entry import PoolEntry, State, Stimulus
from holdfast.policy import Heartbeat

__all__ = ["Asking", "beat_due"]

SHORTEST_WAIT = 0.001
"""Rounding can make a limit and the note of it differ by a hair; nobody shall spin on that."""


class Asking:
    """The notes of one pool."""

    __slots__ = ("_heartbeat", "alarms", "queued")

    def __init__(self, heartbeat: Heartbeat | None) -> None:
        self._heartbeat = heartbeat
        self.alarms = Alarms()
        self.queued: dict[PoolEntry, None] = {}
        """Reserved for somebody's function that has not begun: all threads for such may be busy. Its
        time does not run yet, and who needs a connection may have it back."""

    def opened(self, entry: PoolEntry, now: float, jitter: float) -> None:
        """``jitter``: 0 to 1, its share of the heartbeat's jitter."""
        entry.heard_at = now
        if self._heartbeat is not None:
            entry.beat_every = self._heartbeat.interval * (1 - self._heartbeat.jitter * jitter)

    def lies_idle(self, entry: PoolEntry, now: float) -> None:
        # One note for each entry, never taken back: when it rings and the entry was used
        # meanwhile, it is written anew. So a connection in steady use costs nothing here.
        when = min(entry.old_at, entry.idle_since + entry.idle_limit, beat_due(entry))
        self._note(entry, when, now)

    def ask(self, entry: PoolEntry, now: float) -> Action:
        """How to find out about a reserved one: by a heartbeat, if there is one, else by a look."""
        if self._heartbeat is None:
            return Check(entry)
        if self._heartbeat.call is not None:
            entry.asked_at = math.inf
            self.queued[entry] = None
        else:
            self._time_runs(entry, self._heartbeat, now)
        return Beat(entry)

    def began(self, entry: PoolEntry, now: float) -> bool:
        """A thread is free for it. False if it is not wanted any more."""
        if entry not in self.queued or self._heartbeat is None:
            return False
        del self.queued[entry]
        self._time_runs(entry, self._heartbeat, now)
        return True

    def expendable(self, entries: Iterable[PoolEntry]) -> PoolEntry | None:
        """One that is reserved, and that somebody else needs more: one whose turn to be asked has not
        come, or one whose answer is late and that has no right to its place any more."""
        if self._heartbeat is None:
            return None
        if self.queued:
            return self.queued.popitem()[0]
        return next((entry for entry in entries if entry.state is State.DOUBTED), None)

    def is_over(self, entry: PoolEntry, now: float, *, wanted: bool) -> bool:
        """The note of a reserved one rang: is it to be given up? ``wanted``: somebody waits."""
        if self._heartbeat is None:
            return False
        due = self._late_at(entry, self._heartbeat)
        if now >= due:
            entry.misses += 1
            if entry.misses > self._heartbeat.misses or wanted:
                return True
            entry.move(Stimulus.MISS)
        # Else the note is from before it was asked.
        self._note(entry, self._late_at(entry, self._heartbeat), now)
        return False

    def _time_runs(self, entry: PoolEntry, heartbeat: Heartbeat, now: float) -> None:
        entry.asked_at = now
        self._note(entry, now + heartbeat.timeout, now)

    def _late_at(self, entry: PoolEntry, heartbeat: Heartbeat) -> float:
        return entry.asked_at + heartbeat.timeout + entry.misses * heartbeat.interval

    def _note(self, entry: PoolEntry, when: float, now: float) -> None:
        self.alarms.set(entry, max(when, now + SHORTEST_WAIT))


def beat_due(entry: PoolEntry) -> float:
    if entry.beat_every is None:
        return math.inf
    return max(entry.idle_since, entry.heard_at) + entry.beat_every
