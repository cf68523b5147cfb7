"""Where a pooled connection stands: states, stimuli, and one table of the transitions between them.

What is not in the table is a bug of ours, and says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Any

from holdfast._core.entry import Entry
from holdfast.vocabulary import CloseReason

__all__ = [
    "IDLE",
    "LEASED",
    "OCCUPYING",
    "TRANSITIONS",
    "UNDER_WATCH",
    "PoolEntry",
    "State",
    "Stimulus",
    "left_behind",
]


class State(Enum):
    """An entry is in exactly one."""

    OPENING = "somebody connects it"
    IDLE = "lies in the pool, for anybody to take"
    LEASED = "lent to one lease"
    CHECKING = "reserved: it is looked at, or a heartbeat is under way"
    DOUBTED = "its heartbeat is late; it is kept for now, but not lent"
    CLOSED = "gone"
    LOST = "lent or opening when the process forked: this copy belongs to nobody's pool"

    # An identity hash, in C: the default one is a Python function, and the table is in the way of
    # every stimulus.
    __hash__ = object.__hash__


class Stimulus(Enum):
    """What can happen to an entry."""

    CONNECT = "connected for the one who asked"
    WARM = "connected in the background"
    LEND = "taken by a lease"
    RETURN = "given back by its lease"
    RESERVE = "set apart to be looked at or asked"
    ANSWER = "found in order"
    MISS = "no answer in time"
    RETIRE = "leaves the pool"
    FORK = "copied into a child process"

    __hash__ = object.__hash__


TRANSITIONS: dict[Stimulus, dict[State, State]] = {
    Stimulus.CONNECT: {State.OPENING: State.LEASED},
    Stimulus.WARM: {State.OPENING: State.IDLE},
    Stimulus.LEND: {State.IDLE: State.LEASED},
    Stimulus.RETURN: {State.LEASED: State.IDLE},
    Stimulus.RESERVE: {State.IDLE: State.CHECKING},
    Stimulus.ANSWER: {State.CHECKING: State.IDLE, State.DOUBTED: State.IDLE},
    Stimulus.MISS: {State.CHECKING: State.DOUBTED, State.DOUBTED: State.DOUBTED},
    Stimulus.RETIRE: {
        State.OPENING: State.CLOSED,
        State.IDLE: State.CLOSED,
        State.LEASED: State.CLOSED,
        State.CHECKING: State.CLOSED,
        State.DOUBTED: State.CLOSED,
        State.LOST: State.CLOSED,
    },
    Stimulus.FORK: {State.OPENING: State.LOST, State.LEASED: State.LOST},
}

OCCUPYING = frozenset(State) - {State.CLOSED, State.LOST}
"""States that count against ``maxsize``."""
IDLE, LEASED = State.IDLE, State.LEASED
"""For the fast path: to look a member up in its class costs 60 ns on Python 3.11, a twentieth of a lease."""
UNDER_WATCH = (State.CHECKING, State.DOUBTED)
"""Neither free nor lent."""


class PoolEntry(Entry):
    """The pool's record of one connection, from before it is opened until it is closed."""

    __slots__ = (
        "alarm",
        "asked_at",
        "beat_every",
        "heard_at",
        "idle_limit",
        "link",
        "misses",
        "probe_after",
        "state",
        "suspected_at",
    )

    def __init__(self, now: float) -> None:
        super().__init__(now)
        self.state = State.OPENING
        self.link: Any = None
        """The driver's own: the socket and what belongs to it. The rules never look at it."""
        self.alarm: float | None = None
        """When the pool wants to think about it again; there is at most one such note."""
        self.beat_every: float | None = None
        """Seconds of silence after which it is asked, jitter taken off; None for never."""
        self.heard_at = now
        """When a heartbeat was last answered."""
        self.asked_at = now
        """When the heartbeat under way was sent."""
        self.misses = 0
        self.idle_limit = self.idle_allowance
        """Seconds it may lie idle at all."""
        self.probe_after = math.inf
        """Seconds without a sign of its peer after which it is worth a round trip to ask."""
        self.suspected_at = -math.inf
        """When something was learned that may be the end of all that were open then."""

    def trust(self, probe_after: float | None) -> None:
        """For so long and no longer without a question; None: for as long as it may lie. Its limits are
        known."""
        self.probe_after = math.inf if probe_after is None else probe_after
        self.idle_limit = self.idle_allowance
        self.idle_allowance = min(self.idle_limit, self.probe_after)

    def is_doubtful(self, now: float) -> bool:
        """Nobody has heard of its peer for so long, or since it was suspected, that it is worth a round
        trip to ask."""
        heard = max(self.idle_since, self.heard_at)
        return now - heard >= self.probe_after or self.suspected_at >= heard

    def doom(self, reason: CloseReason) -> None:
        """So that the hot path has less to ask: a doomed one has no time left to lie idle, and
        nobody thinks about it any more until it comes back, which is then noticed."""
        super().doom(reason)
        self.idle_allowance = -1.0
        self.alarm = None

    def move(self, stimulus: Stimulus) -> None:
        try:
            self.state = TRANSITIONS[stimulus][self.state]
        except KeyError:
            raise AssertionError(f"a bug in holdfast: {stimulus} in {self.state}") from None


def left_behind(entries: Iterable[PoolEntry]) -> Iterator[PoolEntry]:
    """In the child of a fork: those whose copies are to be closed. Also of what is lent: while a copy is
    open, the parent can close the connection and its peer does not hear of it.

    The fork may have come in the middle of a step of another thread."""
    for entry in entries:
        if entry.state in (State.LEASED, State.OPENING):
            entry.doom(CloseReason.FORKED)
            entry.move(Stimulus.FORK)
            yield entry
        elif entry.state is not State.CLOSED:
            entry.move(Stimulus.RETIRE)
            yield entry
