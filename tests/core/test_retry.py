"""DESIGN in one table: how far it got, fresh or reused, safe or not; and the three layers above it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast._core.budget import Budget
from holdfast._core.retry import (
    EXHAUSTED,
    Attempt,
    Caller,
    Campaign,
    Decision,
    Means,
    decide,
    decide_reconnect,
    decide_status,
    hazard,
)
from holdfast.policy import RetryBudget, RetryPolicy
from holdfast.vocabulary import Progress, Verdict

NOT_SENT, INCOMPLETE, CLOSED_FIRST = Progress.NOT_SENT, Progress.INCOMPLETE, Progress.PEER_CLOSED_FIRST
MAYBE, STARTED = Progress.MAYBE_PROCESSED, Progress.RESPONSE_STARTED
DEFAULT = RetryPolicy()
NOW = 1_000.0
ATTEMPT = Attempt(
    progress=MAYBE,
    reused=True,
    safe=True,
    replayable=True,
    timed_out=False,
    interrupted=False,
    nonsense=False,
    caller=Caller.SILENT,
)


def means(policy: RetryPolicy = DEFAULT, *, budget: Budget | None = None, chance: float = 0.5) -> Means:
    return Means(policy, budget, NOW, 0, chance)


def verdict(attempt: Attempt, policy: RetryPolicy = DEFAULT, campaign: Campaign | None = None) -> Verdict:
    return decide(attempt, Campaign() if campaign is None else campaign, means(policy)).verdict


def recovered() -> Campaign:
    campaign = Campaign()
    campaign.failures, campaign.recovered = 1, True
    return campaign


# -- the table


@pytest.mark.parametrize(
    ("progress", "reused", "safe", "expected"),
    [
        (NOT_SENT, True, True, Verdict.REPEATED_NEVER_SENT),
        (NOT_SENT, True, False, Verdict.REPEATED_NEVER_SENT),
        (NOT_SENT, False, True, Verdict.REPEATED_NEVER_SENT),
        (NOT_SENT, False, False, Verdict.REPEATED_NEVER_SENT),
        (INCOMPLETE, True, True, Verdict.REPEATED_STALE),
        (INCOMPLETE, True, False, Verdict.REFUSED_INCOMPLETE),
        (INCOMPLETE, False, True, Verdict.REPEATED_AFTER_WAIT),
        (INCOMPLETE, False, False, Verdict.REFUSED_INCOMPLETE),
        (CLOSED_FIRST, True, True, Verdict.REPEATED_PEER_CLOSED_FIRST),
        (CLOSED_FIRST, True, False, Verdict.REPEATED_PEER_CLOSED_FIRST),
        (MAYBE, True, True, Verdict.REPEATED_STALE),
        (MAYBE, True, False, Verdict.REFUSED_MAYBE_PROCESSED),
        (MAYBE, False, True, Verdict.REPEATED_AFTER_WAIT),
        (MAYBE, False, False, Verdict.REFUSED_MAYBE_PROCESSED),
        (STARTED, True, True, Verdict.REPEATED_AFTER_WAIT),
        (STARTED, True, False, Verdict.REFUSED_RESPONSE_STARTED),
        (STARTED, False, True, Verdict.REPEATED_AFTER_WAIT),
        (STARTED, False, False, Verdict.REFUSED_RESPONSE_STARTED),
    ],
)
def test_the_table(progress: Progress, reused: bool, safe: bool, expected: Verdict) -> None:
    assert verdict(replace(ATTEMPT, progress=progress, reused=reused, safe=safe)) is expected


# -- recovery


def test_recovery_does_not_wait_and_takes_nothing_from_the_budget() -> None:
    empty = Budget(RetryBudget(ratio=0, per_second=0, most=1), NOW)
    assert empty.withdraw(NOW, 0)
    for progress in (NOT_SENT, CLOSED_FIRST, MAYBE):
        decision = decide(replace(ATTEMPT, progress=progress), Campaign(), means(budget=empty))
        assert decision.verdict.repeats
        assert decision.delay == 0


def test_a_retry_that_covers_it_is_not_topped_up() -> None:
    assert verdict(replace(ATTEMPT, caller=Caller.COVERS)) is Verdict.LEFT_TO_CALLER


@pytest.mark.parametrize("caller", Caller)
@pytest.mark.parametrize(
    ("progress", "expected"),
    [(NOT_SENT, Verdict.REPEATED_NEVER_SENT), (CLOSED_FIRST, Verdict.REPEATED_PEER_CLOSED_FIRST)],
)
def test_what_never_arrived_over_a_stale_connection_costs_the_caller_nothing(
    caller: Caller, progress: Progress, expected: Verdict
) -> None:
    assert verdict(replace(ATTEMPT, progress=progress, caller=caller, safe=False)) is expected


def test_stale_reuse_is_repaired_although_the_callers_retry_grants_nothing_for_it() -> None:
    assert verdict(replace(ATTEMPT, caller=Caller.REFUSES)) is Verdict.REPEATED_STALE


def test_on_a_fresh_connection_the_callers_retry_is_obeyed() -> None:
    assert verdict(replace(ATTEMPT, reused=False, caller=Caller.REFUSES)) is Verdict.REFUSED_BY_RETRY
    assert verdict(replace(ATTEMPT, reused=False, caller=Caller.COVERS)) is Verdict.LEFT_TO_CALLER


def test_recovery_happens_once() -> None:
    campaign = Campaign()
    assert verdict(ATTEMPT, campaign=campaign) is Verdict.REPEATED_STALE
    assert campaign.recovered
    assert verdict(ATTEMPT, campaign=campaign) is Verdict.REPEATED_AFTER_WAIT
    assert verdict(ATTEMPT, campaign=campaign) is Verdict.REFUSED_ATTEMPTS


def test_recovery_can_be_switched_off() -> None:
    off = RetryPolicy(recovery=False)
    assert verdict(ATTEMPT, off) is Verdict.REPEATED_AFTER_WAIT
    assert verdict(replace(ATTEMPT, caller=Caller.REFUSES), off) is Verdict.REFUSED_BY_RETRY


def test_an_incomplete_unsafe_request_is_repeated_only_on_demand() -> None:
    attempt = replace(ATTEMPT, progress=INCOMPLETE, safe=False)
    assert verdict(attempt, RetryPolicy(repeat_incomplete=True)) is Verdict.REPEATED_STALE


def test_the_kernels_word_need_not_be_taken() -> None:
    attempt = replace(ATTEMPT, progress=CLOSED_FIRST, safe=False)
    assert verdict(attempt, RetryPolicy(peer_closed_first=False)) is Verdict.REFUSED_EVIDENCE


# -- what is nobody's to repeat


def test_what_no_connection_did_is_none_of_ours() -> None:
    for progress in Progress:
        assert verdict(replace(ATTEMPT, progress=progress, interrupted=True)) is Verdict.REFUSED_INTERRUPTED


def test_the_callers_timeout_is_the_end() -> None:
    for progress in (MAYBE, STARTED, INCOMPLETE, NOT_SENT, CLOSED_FIRST):
        assert verdict(replace(ATTEMPT, progress=progress, timed_out=True)) is Verdict.REFUSED_TIMED_OUT


def test_nonsense_would_be_the_same_again() -> None:
    for reused in (True, False):
        attempt = replace(ATTEMPT, progress=STARTED, reused=reused, nonsense=True)
        assert verdict(attempt) is Verdict.REFUSED_RESPONSE_STARTED


def test_who_forbids_it_is_obeyed_before_anything_else() -> None:
    for progress in Progress:
        for caller in Caller:
            attempt = replace(ATTEMPT, progress=progress, caller=caller)
            assert verdict(attempt, campaign=Campaign(forbidden=True)) is Verdict.REFUSED_FORBIDDEN


# -- retries


def test_the_attempts_are_counted_over_all_kinds_of_failure() -> None:
    campaign = Campaign()
    fresh = replace(ATTEMPT, reused=False)
    policy = RetryPolicy(attempts=4)
    seen = [verdict(one, policy, campaign) for one in (ATTEMPT, fresh, fresh, fresh)]
    assert seen == [
        Verdict.REPEATED_STALE,
        Verdict.REPEATED_AFTER_WAIT,
        Verdict.REPEATED_AFTER_WAIT,
        Verdict.REFUSED_ATTEMPTS,
    ]


def test_one_attempt_leaves_the_recovery() -> None:
    """It repairs the pool's own mistake, so it is not counted against the caller."""
    once = RetryPolicy(attempts=1)
    assert verdict(ATTEMPT, once) is Verdict.REPEATED_STALE
    assert verdict(replace(ATTEMPT, reused=False), once) is Verdict.REFUSED_ATTEMPTS


def test_the_wait_grows_and_is_jittered() -> None:
    policy = RetryPolicy(attempts=9, base_delay=0.1, max_delay=0.5)
    campaign, fresh = Campaign(), replace(ATTEMPT, reused=False)
    delays = [decide(fresh, campaign, means(policy, chance=1)).delay for _ in range(5)]
    assert delays == [0.1, 0.2, 0.4, 0.5, 0.5]
    assert decide(replace(ATTEMPT, reused=False), Campaign(), means(policy, chance=0)).delay == 0


def test_an_empty_budget_refuses() -> None:
    budget = Budget(RetryBudget(ratio=0, per_second=0, most=1), NOW)
    fresh = replace(ATTEMPT, reused=False)
    assert (
        decide(fresh, Campaign(), means(budget=budget)).verdict,
        decide(fresh, Campaign(), means(budget=budget)).verdict,
    ) == (Verdict.REPEATED_AFTER_WAIT, Verdict.REFUSED_BUDGET)


def test_a_refusal_takes_nothing_from_the_budget() -> None:
    budget = Budget(RetryBudget(ratio=0, per_second=0, most=1), NOW)
    for attempt in (
        replace(ATTEMPT, reused=False, safe=False),
        replace(ATTEMPT, reused=False, caller=Caller.COVERS),
        replace(ATTEMPT, reused=False, timed_out=True),
        replace(ATTEMPT, replayable=False),
    ):
        assert not decide(attempt, Campaign(), means(budget=budget)).verdict.repeats
    late = Campaign(ends_at=NOW + 0.01)
    assert decide(replace(ATTEMPT, reused=False), late, means(budget=budget)) == Decision(
        Verdict.REFUSED_DEADLINE
    )
    assert budget.tokens(NOW, 0) == 1


def test_a_wait_that_would_end_past_the_deadline_is_not_begun() -> None:
    fresh = replace(ATTEMPT, reused=False)
    assert decide(fresh, Campaign(ends_at=NOW + 0.05), means(chance=0.5)).verdict is Verdict.REFUSED_DEADLINE
    assert (
        decide(fresh, Campaign(ends_at=NOW + 0.051), means(chance=0.5)).verdict is Verdict.REPEATED_AFTER_WAIT
    )


def test_past_the_deadline_not_even_recovery_happens() -> None:
    for progress in Progress:
        for caller in Caller:
            attempt = replace(ATTEMPT, progress=progress, caller=caller)
            assert verdict(attempt, campaign=Campaign(ends_at=NOW)) is Verdict.REFUSED_DEADLINE


# -- statuses


def status(retry_after: float | None, attempt: Attempt = ATTEMPT, **settings: Any) -> Decision:
    policy = RetryPolicy(statuses=frozenset({503}), **settings)
    return decide_status(attempt, Campaign(), means(policy, chance=1), retry_after)


def test_a_status_is_repeated_after_what_the_server_asks_for_or_longer() -> None:
    assert status(None) == Decision(Verdict.REPEATED_STATUS, 0.1)
    assert status(0.0) == Decision(Verdict.REPEATED_STATUS, 0.1)
    assert status(7.0) == Decision(Verdict.REPEATED_STATUS, 7.0)
    assert status(60.0) == Decision(Verdict.REPEATED_STATUS, 60.0)


def test_who_asks_for_too_long_a_wait_is_not_asked_again() -> None:
    assert status(60.1) == Decision(Verdict.REFUSED_RETRY_AFTER)
    assert status(1.0, max_retry_after=0) == Decision(Verdict.REFUSED_RETRY_AFTER)


def test_an_unsafe_request_is_not_repeated_because_of_a_status() -> None:
    assert status(0.0, replace(ATTEMPT, safe=False)).verdict is Verdict.REFUSED_MAYBE_PROCESSED
    assert status(0.0, replace(ATTEMPT, replayable=False)).verdict is Verdict.REFUSED_BODY


@pytest.mark.parametrize("caller", [Caller.COVERS, Caller.REFUSES])
def test_whose_retry_it_is_decides_about_statuses(caller: Caller) -> None:
    assert status(0.0, replace(ATTEMPT, caller=caller)).verdict is Verdict.LEFT_TO_CALLER


def test_a_retry_after_beyond_the_deadline_is_not_waited_for() -> None:
    decision = decide_status(ATTEMPT, Campaign(ends_at=NOW + 5), means(chance=1), 6.0)
    assert decision.verdict is Verdict.REFUSED_DEADLINE


def test_statuses_count_as_attempts() -> None:
    campaign = Campaign()
    seen = [decide_status(ATTEMPT, campaign, means(), None).verdict for _ in range(3)]
    assert seen == [Verdict.REPEATED_STATUS, Verdict.REPEATED_STATUS, Verdict.REFUSED_ATTEMPTS]


# -- connecting


def reconnect(
    campaign: Campaign | None = None, caller: Caller = Caller.SILENT, give_up_at: float = NOW + 5
) -> Decision:
    return decide_reconnect(
        campaign or Campaign(), means(chance=1), caller=caller, failures=1, give_up_at=give_up_at
    )


def test_a_connection_that_could_not_be_opened_is_tried_again() -> None:
    assert reconnect() == Decision(Verdict.RECONNECTED, 0.1)


def test_the_last_try_comes_when_the_patience_ends_and_none_after() -> None:
    decision = reconnect(give_up_at=NOW + 0.0625)
    assert decision == Decision(Verdict.RECONNECTED, 0.0625)
    assert reconnect(give_up_at=NOW) == Decision(Verdict.LEFT_UNSENT)


def test_nothing_is_tried_at_the_deadline_or_after() -> None:
    for left in (0.1, 0.05, 0.0, -1.0):
        assert reconnect(Campaign(ends_at=NOW + left)) == Decision(Verdict.REFUSED_DEADLINE)


def test_not_where_the_caller_has_his_own_say() -> None:
    assert reconnect(caller=Caller.COVERS).verdict is Verdict.LEFT_UNSENT
    assert reconnect(caller=Caller.REFUSES).verdict is Verdict.LEFT_UNSENT
    assert reconnect(Campaign(forbidden=True)).verdict is Verdict.REFUSED_FORBIDDEN


def test_connecting_again_is_no_attempt_at_the_request() -> None:
    campaign = Campaign()
    for _ in range(20):
        assert reconnect(campaign).verdict is Verdict.RECONNECTED
    assert campaign.failures == 0


# -- whatever comes


attempts = st.builds(
    Attempt,
    progress=st.sampled_from(Progress),
    caller=st.sampled_from(Caller),
    **{
        name: st.booleans()
        for name in ("reused", "safe", "replayable", "interrupted", "timed_out", "nonsense")
    },
)
policies = st.builds(
    RetryPolicy,
    recovery=st.booleans(),
    repeat_incomplete=st.booleans(),
    peer_closed_first=st.booleans(),
    attempts=st.integers(1, 4),
)


@st.composite
def campaigns(draw: st.DrawFn) -> Campaign:
    campaign = Campaign(
        ends_at=draw(st.none() | st.floats(NOW - 1, NOW + 1)), forbidden=draw(st.integers(0, 4)) == 0
    )
    campaign.failures = draw(st.integers(0, 4))
    campaign.recovered = draw(st.booleans())
    return campaign


@given(attempts, policies, campaigns())
def test_nothing_that_may_have_been_processed_is_repeated_unless_it_is_safe(
    attempt: Attempt, policy: RetryPolicy, campaign: Campaign
) -> None:
    if attempt.progress in (MAYBE, STARTED) and not attempt.safe:
        assert not verdict(attempt, policy, campaign).repeats
        assert hazard(attempt, campaign, policy) is not None


@given(attempts, policies)
def test_a_body_that_cannot_be_resent_is_never_repeated_by_anybody(
    attempt: Attempt, policy: RetryPolicy
) -> None:
    spent = replace(attempt, replayable=False)
    assert verdict(spent, policy) is Verdict.REFUSED_BODY
    assert hazard(spent, Campaign(), policy) is Verdict.REFUSED_BODY


@given(attempts, policies, campaigns())
def test_no_hazard_is_ever_taken_and_no_limit_passed(
    attempt: Attempt, policy: RetryPolicy, campaign: Campaign
) -> None:
    before, was_recovered = campaign.failures, campaign.recovered
    decision = decide(attempt, campaign, means(policy))
    assert campaign.failures == before + 1
    if decision.verdict.repeats:
        assert not attempt.timed_out
        assert not attempt.interrupted
        assert not attempt.nonsense
        assert not campaign.forbidden
        assert not campaign.is_over(NOW + decision.delay)
        assert hazard(attempt, campaign, policy) is None
        recovery = decision.verdict is not Verdict.REPEATED_AFTER_WAIT
        assert (policy.recovery and not was_recovered) if recovery else campaign.failures < policy.attempts
    else:
        assert decision.delay == 0


@given(attempts, policies, campaigns())
def test_what_is_left_to_the_caller_is_something_he_covers(
    attempt: Attempt, policy: RetryPolicy, campaign: Campaign
) -> None:
    told = verdict(attempt, policy, campaign)
    if told is Verdict.LEFT_TO_CALLER:
        assert attempt.caller is Caller.COVERS
        assert hazard(attempt, campaign, policy) is None
    if told in EXHAUSTED and told is not Verdict.REFUSED_DEADLINE:
        assert attempt.caller is Caller.SILENT
