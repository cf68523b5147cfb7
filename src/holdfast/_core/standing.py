"""How does an idle connection stand when a request wants it? What was said, what was learned, how old.

Nothing here claims that a connection is alive. GOOD means that nothing is known against it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import Enum

from holdfast._core.learning import Learner, Limit
from holdfast.vocabulary import CloseReason

__all__ = ["Allowance", "Standing", "allowance", "scheduling", "standing"]

_SCHEDULING = 0.05
"""Seconds between the decision and the first byte, on a busy machine; of a short limit a fiftieth."""

_ROUND_TRIP = 0.1
"""Seconds, where the kernel does not tell: across a continent; of a short limit a tenth."""

_DOUBT_PART = 3
"""From this part of a flow limit on a connection is asked: tables are emptied early under pressure."""

_LIFT = 6
"""Where connections are often proven good, they are trusted for so many times ``probe_after`` at most."""


class Standing(Enum):
    """How a connection stands for a request."""

    GOOD = "nothing is known against it"
    DOUBTFUL = "it has to prove itself by a probe; without one, an unsafe request takes a new connection"
    NOT_FOR_UNSAFE = "too close to its end for a request that must not be executed twice; a safe one may"
    SPENT = "beyond what it may lie idle"


@dataclass(frozen=True)
class Allowance:
    """How long a connection may lie idle, and which limit says so."""

    seconds: float
    unsafe: float
    """Seconds for a request that must not be executed twice."""
    reason: CloseReason | None
    """``None`` where what was configured or announced is the smallest."""


def allowance(
    allowed: float,
    learner: Learner | None,
    rtt: float | None,
    now: float,
    *,
    can_probe: bool = True,
    spared: float = 0.0,
    allowed_unsafe: float = math.inf,
) -> Allowance:
    """The smallest of what is configured and announced (``allowed``, seconds, its margin taken off:
    ``Entry.idle_allowance``) and what was learned, with a margin for what is not known.
    ``allowed_unsafe``: the same as ``allowed`` for a request that must not be executed twice. ``rtt``: the
    round trip to the peer in seconds, if it is known. ``can_probe``: what the way to the peer keeps
    need not be guessed, for the kernel can be asked about a connection before it is used. ``spared``:
    seconds of the time it lay idle in which the way to the peer was not silent, thanks to TCP keepalive."""
    smallest = Allowance(allowed, min(allowed, allowed_unsafe), None)
    if learner is None:
        return smallest
    idle, flow = learner.idle_limit(now), learner.flow_limit(now)
    if idle is not None:
        smallest = _smaller(smallest, idle, CloseReason.LEARNED_LIMIT, rtt)
    if flow is not None:
        known = replace(flow, margin=0.0) if can_probe else flow
        known = replace(known, seconds=known.seconds + spared)
        smallest = _smaller(smallest, known, CloseReason.FLOW_LIMIT, rtt)
    return smallest


def standing(
    idle: float,
    *,
    allowed: float,
    learner: Learner | None,
    rtt: float | None,
    unsafe: bool,
    now: float,
    probe_after: float | None = 10.0,
    probe_unsafe_after: float | None = 1.0,
    can_probe: bool = True,
    spared: float = 0.0,
    uses: int = 0,
    allowed_unsafe: float = math.inf,
) -> Standing:
    """``idle``: seconds since its last response ended; ``uses``: requests it has carried. ``allowed``,
    ``allowed_unsafe``, ``learner``, ``rtt``, ``can_probe`` and ``spared`` as for :func:`allowance`.
    ``probe_after``: seconds idle from which it has to prove itself; 10 by default, far beyond steady use, so
    that a round trip is a small price. ``probe_unsafe_after``: the same for an unsafe request; 1 by default,
    since what fails under it cannot be repaired. ``None``: never."""
    # Where nobody asks, nobody can prove anything.
    can_probe = can_probe and probe_after is not None
    limits = allowance(
        allowed, learner, rtt, now, can_probe=can_probe, spared=spared, allowed_unsafe=allowed_unsafe
    )
    if idle >= limits.seconds or _is_used_up(uses, learner, now):
        return Standing.SPENT
    if unsafe and idle >= limits.unsafe:
        return Standing.NOT_FOR_UNSAFE
    if unsafe and probe_unsafe_after is not None and idle >= probe_unsafe_after + spared:
        return Standing.DOUBTFUL
    doubt = None if probe_after is None else _doubt_from(probe_after, learner, now) + spared
    return Standing.GOOD if doubt is None or idle < doubt else Standing.DOUBTFUL


def scheduling(limit: float) -> float:
    """Seconds to stay below such a limit for our own sake."""
    return min(_SCHEDULING, limit / 50)


def _is_used_up(uses: int, learner: Learner | None, now: float) -> bool:
    most = None if learner is None else learner.use_limit(now)
    return most is not None and uses >= most


def _smaller(smallest: Allowance, limit: Limit, reason: CloseReason, rtt: float | None) -> Allowance:
    margin = _margin(limit, rtt)
    seconds = max(0.0, limit.seconds - margin)
    # Well above the margin: twice of it.
    unsafe = min(smallest.unsafe, max(0.0, limit.seconds - 2 * margin))
    if seconds >= smallest.seconds:
        return Allowance(smallest.seconds, unsafe, smallest.reason)
    return Allowance(seconds, unsafe, reason)


def _margin(limit: Limit, rtt: float | None) -> float:
    """A request has to be there before the peer's timer ends, which started half a round trip before the
    answer was here. Of a short limit no more than half, unless the round trip alone is more."""
    way = min(_ROUND_TRIP, limit.seconds / 10) if rtt is None else rtt
    return max(way, min(limit.margin + way + scheduling(limit.seconds), limit.seconds / 2))


def _doubt_from(probe_after: float, learner: Learner | None, now: float) -> float:
    """A flow limit that was seen lowers it, connections that were often proven good at an age lift it."""
    if learner is None:
        return probe_after
    flow = learner.flow_limit(now)
    lowered = probe_after if flow is None else min(probe_after, flow.seconds / _DOUBT_PART)
    return max(lowered, min(learner.proven(now), _LIFT * probe_after))
