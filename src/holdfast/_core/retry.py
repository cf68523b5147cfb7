"""Whether a request is sent again, whether a connection is tried again, and after how long a wait.

Three layers, each asked only if the one before it had nothing to say. *Hazard*: what nobody may
repeat, neither holdfast nor the caller's Retry; a doubt is a hazard. *Recovery*: the repair of stale
reuse, once and at once. *Retries*: after a wait, within attempts, deadline and budget, and only where
the caller has no Retry of his own that grants any.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from holdfast._core.backoff import backoff
from holdfast._core.budget import Budget
from holdfast.policy import RetryPolicy
from holdfast.vocabulary import Progress, Verdict

__all__ = [
    "EXHAUSTED",
    "Attempt",
    "Caller",
    "Campaign",
    "Decision",
    "Means",
    "decide",
    "decide_reconnect",
    "decide_status",
    "hazard",
]

EXHAUSTED = frozenset({Verdict.REFUSED_ATTEMPTS, Verdict.REFUSED_BUDGET, Verdict.REFUSED_DEADLINE})
"""A limit of the policy is reached; a Retry that the caller never asked for must not go on either."""


class Caller(Enum):
    """What the caller's Retry says to an error of this kind."""

    SILENT = auto()
    """He gave none, or one that grants nothing at all, as libraries pass that leave it to others."""
    COVERS = auto()
    """It repeats."""
    REFUSES = auto()
    """It grants retries, but not for this kind of error, or none is left."""


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
    nonsense: bool
    """What came is no HTTP, or no TLS. It would be the same on another connection."""
    caller: Caller


class Campaign:
    """All attempts at one request, whoever makes them."""

    __slots__ = ("ends_at", "failures", "forbidden", "recovered")

    def __init__(self, *, ends_at: float | None = None, forbidden: bool = False) -> None:
        self.ends_at = ends_at
        """The deadline over all of them."""
        self.forbidden = forbidden
        """The caller wants this request not to be repeated, whatever happens."""
        self.failures = 0
        self.recovered = False
        """Recovery happened already."""

    def is_over(self, at: float) -> bool:
        return self.ends_at is not None and at >= self.ends_at


@dataclass(frozen=True)
class Means:
    """What a decision is made with, besides the facts."""

    policy: RetryPolicy
    budget: Budget | None
    now: float
    requests: int
    """Made by the pool so far; they fill the budget."""
    chance: float
    """0 to 1, for the jitter."""

    def wait(self, failures: int) -> float:
        policy = self.policy
        return backoff(failures, base=policy.base_delay, most=policy.max_delay, chance=self.chance)

    def may_spend(self) -> bool:
        return self.budget is None or self.budget.withdraw(self.now, self.requests)


@dataclass(frozen=True)
class Decision:
    verdict: Verdict
    delay: float = 0.0
    """Seconds to wait first, if it repeats."""


def hazard(attempt: Attempt, campaign: Campaign, policy: RetryPolicy) -> Verdict | None:
    """Why *nobody* may repeat it, or None. The caller's Retry is held to this as well."""
    if campaign.forbidden:
        return Verdict.REFUSED_FORBIDDEN
    if not attempt.replayable:
        return Verdict.REFUSED_BODY
    if attempt.safe or attempt.progress is Progress.NOT_SENT:
        return None
    if attempt.progress is Progress.INCOMPLETE:
        return None if policy.repeat_incomplete else Verdict.REFUSED_INCOMPLETE
    if attempt.progress is Progress.PEER_CLOSED_FIRST:
        return None if policy.peer_closed_first else Verdict.REFUSED_EVIDENCE
    if attempt.progress is Progress.RESPONSE_STARTED:
        return Verdict.REFUSED_RESPONSE_STARTED
    return Verdict.REFUSED_MAYBE_PROCESSED


def decide(attempt: Attempt, campaign: Campaign, means: Means) -> Decision:
    """Whether holdfast sends it again. Counts the failure."""
    campaign.failures += 1
    verdict = hazard(attempt, campaign, means.policy) or _hindrance(attempt, campaign, means.now)
    if verdict is None:
        verdict = _recovery(attempt, campaign, means.policy)
    if verdict is not None:
        campaign.recovered = campaign.recovered or verdict.repeats
        return Decision(verdict)
    return _retry(campaign, means, Verdict.REPEATED_AFTER_WAIT)


def _hindrance(attempt: Attempt, campaign: Campaign, now: float) -> Verdict | None:
    if attempt.interrupted:
        return Verdict.REFUSED_INTERRUPTED
    if campaign.is_over(now):
        return Verdict.REFUSED_DEADLINE
    return None


def _recovery(attempt: Attempt, campaign: Campaign, policy: RetryPolicy) -> Verdict | None:
    """None: a retry may be considered."""
    failed_by_itself = not (attempt.timed_out or attempt.nonsense)
    repair = None
    if policy.recovery and not campaign.recovered and failed_by_itself:
        repair = _REPAIRS.get((attempt.progress, attempt.reused))
    if repair in _AHEAD_OF_HIS_RETRY and attempt.reused:
        return repair
    if attempt.caller is Caller.COVERS:
        return Verdict.LEFT_TO_CALLER
    if repair is not None:
        return repair
    if attempt.caller is Caller.REFUSES:
        return Verdict.REFUSED_BY_RETRY
    if campaign.failures >= policy.attempts:
        return Verdict.REFUSED_ATTEMPTS
    # What the policy does not repeat, but urllib3's own Retry may, as it would without holdfast.
    if attempt.timed_out:
        return Verdict.REFUSED_TIMED_OUT
    return Verdict.REFUSED_RESPONSE_STARTED if attempt.nonsense else None


_REPAIRS = {
    # progress, reused
    (Progress.NOT_SENT, True): Verdict.REPEATED_NEVER_SENT,
    (Progress.NOT_SENT, False): Verdict.REPEATED_NEVER_SENT,
    (Progress.INCOMPLETE, True): Verdict.REPEATED_STALE,
    (Progress.PEER_CLOSED_FIRST, True): Verdict.REPEATED_PEER_CLOSED_FIRST,
    (Progress.MAYBE_PROCESSED, True): Verdict.REPEATED_STALE,
}

# What never left, or never arrived, is none of his attempts.
_AHEAD_OF_HIS_RETRY = (Verdict.REPEATED_NEVER_SENT, Verdict.REPEATED_PEER_CLOSED_FIRST)


def _retry(campaign: Campaign, means: Means, yes: Verdict, at_least: float = 0.0) -> Decision:
    if campaign.failures >= means.policy.attempts:
        return Decision(Verdict.REFUSED_ATTEMPTS)
    delay = max(means.wait(campaign.failures), at_least)
    if campaign.is_over(means.now + delay):
        return Decision(Verdict.REFUSED_DEADLINE)
    if not means.may_spend():
        return Decision(Verdict.REFUSED_BUDGET)
    return Decision(yes, delay)


def decide_status(attempt: Attempt, campaign: Campaign, means: Means, retry_after: float | None) -> Decision:
    """Whether a request is sent again because of the status of its answer. Counts the failure."""
    campaign.failures += 1
    danger = hazard(attempt, campaign, means.policy)
    if danger is not None:
        return Decision(danger)
    if attempt.caller is not Caller.SILENT:
        return Decision(Verdict.LEFT_TO_CALLER)
    if retry_after is not None and retry_after > means.policy.max_retry_after:
        return Decision(Verdict.REFUSED_RETRY_AFTER)
    return _retry(campaign, means, Verdict.REPEATED_STATUS, retry_after or 0.0)


def decide_reconnect(
    campaign: Campaign, means: Means, *, caller: Caller, failures: int, give_up_at: float
) -> Decision:
    """Whether a connection that could not be opened is tried again. Nothing was sent, so any request
    may. ``failures``: to open it, so far. Takes nothing from the budget: that comes after the wait,
    because waiting adds no load, and there may be something in it by then."""
    if campaign.forbidden:
        return Decision(Verdict.REFUSED_FORBIDDEN)
    if campaign.is_over(means.now):
        return Decision(Verdict.REFUSED_DEADLINE)
    if caller is not Caller.SILENT or means.now >= give_up_at:
        return Decision(Verdict.LEFT_UNSENT)
    # The last try comes when the patience ends, not a wait before.
    delay = min(means.wait(failures), give_up_at - means.now)
    if campaign.is_over(means.now + delay):
        return Decision(Verdict.REFUSED_DEADLINE)
    return Decision(Verdict.RECONNECTED, delay)
