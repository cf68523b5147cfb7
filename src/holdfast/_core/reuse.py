"""May this connection carry another request? Whichever limit is smallest decides.

This is what can be said without looking at the socket. A connection that passes is looked at
next (``_net.liveness``). Limits are reckoned when they change, not when they are asked for: a
connection in steady use pays two comparisons.
"""

from __future__ import annotations

import math

from holdfast._core.entry import Entry
from holdfast._core.peer import PeerTerms
from holdfast._core.standing import scheduling
from holdfast.policy import PoolLimits
from holdfast.vocabulary import CloseReason

__all__ = ["heard", "opened", "why_not_reuse", "why_used_up"]


def opened(entry: Entry, limits: PoolLimits, jitter: float) -> None:
    """Sets the limits of a new connection. ``jitter``: 0 to 1, its share of ``max_age_jitter``."""
    if limits.max_age is not None:
        entry.old_at = entry.opened_at + limits.max_age * (1 - limits.max_age_jitter * jitter)
    if limits.idle_timeout is not None:
        entry.idle_allowance = entry.unsafe_allowance = limits.idle_timeout
    if limits.max_uses is not None:
        entry.last_use = limits.max_uses


def heard(entry: Entry, terms: PeerTerms, limits: PoolLimits, kept: float = 0.0) -> None:
    """Takes in what the latest response said. ``kept``: seconds that the peer is known to keep an idle
    connection, by what was learned."""
    cautious, configured = _cautious(terms, limits), _configured(limits)
    entry.terms, entry.hinted, entry.is_hint_proved = terms, cautious, kept > cautious
    if terms.idle_timeout is not None and entry.is_hint_proved:
        entry.hinted = max(cautious, terms.idle_timeout - scheduling(terms.idle_timeout))
    entry.idle_allowance = min(configured, entry.hinted)
    entry.unsafe_allowance = min(configured, cautious)
    if not terms.persistent:
        entry.doom(CloseReason.PEER_ASKED)
    elif terms.idle_timeout == 0:
        entry.doom(CloseReason.HINT_EXPIRED)
    elif terms.remaining == 0:
        entry.doom(CloseReason.HINT_USED_UP)


def why_not_reuse(entry: Entry, limits: PoolLimits, now: float) -> CloseReason | None:
    """Asked when a connection is about to be lent."""
    if entry.doomed is not None:
        return entry.doomed
    if entry.uses >= entry.last_use:
        return why_used_up(limits)
    if now >= entry.old_at:
        return CloseReason.MAX_AGE
    idle = now - entry.idle_since
    if idle < entry.idle_allowance:
        return None
    configured = _configured(limits)
    if idle < min(entry.hinted, configured):
        return None  # it may be lent, but not without a question
    return CloseReason.HINT_EXPIRED if entry.hinted <= configured else CloseReason.IDLE_TIMEOUT


def why_used_up(limits: PoolLimits) -> CloseReason:
    """It has reached its last use, by what was learned, or by the policy if that has a limit at all."""
    return CloseReason.LEARNED_USES if limits.max_uses is None else CloseReason.MAX_USES


def _configured(limits: PoolLimits) -> float:
    return math.inf if limits.idle_timeout is None else limits.idle_timeout


def _cautious(terms: PeerTerms, limits: PoolLimits) -> float:
    """As long as nobody has seen when the peer really hangs up."""
    hint = terms.idle_timeout
    return math.inf if hint is None else hint - min(limits.keep_alive_margin, hint / 2)
