"""Recovery: repairing the pool's own mistake, a stale connection that was reused.

Once, at once, on a fresh connection; never where the request may have been processed and is not
known to be idempotent (RFC 9110 §9.2.2). A doubt is a "no".
"""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.policy import RetryPolicy
from holdfast.vocabulary import Progress, Verdict

__all__ = ["Attempt", "decide", "hazard"]


@dataclass(frozen=True)
class Attempt:
    """The facts about an attempt that failed before its response was complete."""

    progress: Progress
    reused: bool
    """The connection had carried a request before."""
    safe: bool
    """Idempotent by method or by key, or the caller says so."""
    replayable: bool
    """The body can be sent again from its start."""
    timed_out: bool
    """The failure is the caller's own timeout running out."""
    interrupted: bool
    """The error is none that a connection makes: a signal handler raised it, say."""
    recovered: bool
    """It was holdfast's repeat already."""
    caller_covers: bool
    """The caller's Retry will repeat it if we do not."""


def hazard(attempt: Attempt, policy: RetryPolicy) -> Verdict | None:
    """Why *nobody* may repeat it, or None. The caller's Retry is held to this as well."""
    if not attempt.replayable:
        return Verdict.REFUSED_BODY
    if attempt.safe or attempt.progress is Progress.NOT_SENT:
        return None
    if attempt.progress is Progress.INCOMPLETE:
        return None if policy.repeat_incomplete else Verdict.REFUSED_INCOMPLETE
    if attempt.progress is Progress.MAYBE_PROCESSED:
        return Verdict.REFUSED_MAYBE_PROCESSED
    return Verdict.REFUSED_RESPONSE_STARTED


def decide(attempt: Attempt, policy: RetryPolicy) -> Verdict:
    """Whether holdfast repeats it now."""
    danger = hazard(attempt, policy)
    if danger is not None:
        return danger
    if attempt.interrupted:
        return Verdict.REFUSED_INTERRUPTED
    if attempt.timed_out:
        return Verdict.REFUSED_TIMED_OUT
    if attempt.progress is Progress.RESPONSE_STARTED:
        return Verdict.REFUSED_RESPONSE_STARTED
    if attempt.reused and attempt.progress is Progress.NOT_SENT and _may_recover(attempt, policy):
        # Ahead of the caller's Retry: a request that never left is none of his attempts.
        return Verdict.REPEATED_NEVER_SENT
    if attempt.caller_covers:
        return Verdict.LEFT_TO_CALLER
    if attempt.recovered:
        return Verdict.REFUSED_AGAIN
    if not policy.recovery:
        return Verdict.REFUSED_OFF
    if attempt.progress is Progress.NOT_SENT:
        return Verdict.REPEATED_NEVER_SENT
    return Verdict.REPEATED_STALE if attempt.reused else Verdict.REFUSED_FRESH


def _may_recover(attempt: Attempt, policy: RetryPolicy) -> bool:
    return policy.recovery and not attempt.recovered
