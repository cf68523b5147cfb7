"""DESIGN in one table: how far it got, fresh or reused, safe or not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast._core.recovery import Attempt, decide, hazard
from holdfast.policy import RetryPolicy
from holdfast.vocabulary import Progress, Verdict

NOT_SENT, INCOMPLETE = Progress.NOT_SENT, Progress.INCOMPLETE
MAYBE, STARTED = Progress.MAYBE_PROCESSED, Progress.RESPONSE_STARTED
DEFAULT = RetryPolicy()
ATTEMPT = Attempt(
    progress=MAYBE,
    reused=True,
    safe=True,
    replayable=True,
    interrupted=False,
    timed_out=False,
    recovered=False,
    caller_covers=False,
)


@pytest.mark.parametrize(
    ("progress", "reused", "safe", "verdict"),
    [
        (NOT_SENT, True, True, Verdict.REPEATED_NEVER_SENT),
        (NOT_SENT, True, False, Verdict.REPEATED_NEVER_SENT),
        (NOT_SENT, False, True, Verdict.REPEATED_NEVER_SENT),
        (NOT_SENT, False, False, Verdict.REPEATED_NEVER_SENT),
        (INCOMPLETE, True, True, Verdict.REPEATED_STALE),
        (INCOMPLETE, True, False, Verdict.REFUSED_INCOMPLETE),
        (INCOMPLETE, False, True, Verdict.REFUSED_FRESH),
        (INCOMPLETE, False, False, Verdict.REFUSED_INCOMPLETE),
        (MAYBE, True, True, Verdict.REPEATED_STALE),
        (MAYBE, True, False, Verdict.REFUSED_MAYBE_PROCESSED),
        (MAYBE, False, True, Verdict.REFUSED_FRESH),
        (MAYBE, False, False, Verdict.REFUSED_MAYBE_PROCESSED),
        (STARTED, True, True, Verdict.REFUSED_RESPONSE_STARTED),
        (STARTED, True, False, Verdict.REFUSED_RESPONSE_STARTED),
        (STARTED, False, True, Verdict.REFUSED_RESPONSE_STARTED),
        (STARTED, False, False, Verdict.REFUSED_RESPONSE_STARTED),
    ],
)
def test_the_table(progress: Progress, reused: bool, safe: bool, verdict: Verdict) -> None:
    assert decide(replace(ATTEMPT, progress=progress, reused=reused, safe=safe), DEFAULT) is verdict


def test_a_retry_that_covers_it_is_not_topped_up() -> None:
    assert decide(replace(ATTEMPT, caller_covers=True), DEFAULT) is Verdict.LEFT_TO_CALLER


def test_a_request_that_never_left_a_stale_connection_costs_the_caller_nothing() -> None:
    attempt = replace(ATTEMPT, progress=NOT_SENT, caller_covers=True)
    assert decide(attempt, DEFAULT) is Verdict.REPEATED_NEVER_SENT


def test_recovery_happens_once() -> None:
    assert decide(replace(ATTEMPT, recovered=True), DEFAULT) is Verdict.REFUSED_AGAIN


def test_recovery_can_be_switched_off() -> None:
    assert decide(ATTEMPT, RetryPolicy(recovery=False)) is Verdict.REFUSED_OFF


def test_an_incomplete_unsafe_request_is_repeated_only_on_demand() -> None:
    attempt = replace(ATTEMPT, progress=INCOMPLETE, safe=False)
    assert decide(attempt, RetryPolicy(repeat_incomplete=True)) is Verdict.REPEATED_STALE


def test_what_no_connection_did_is_none_of_ours() -> None:
    for progress in Progress:
        attempt = replace(ATTEMPT, progress=progress, interrupted=True)
        assert decide(attempt, DEFAULT) is Verdict.REFUSED_INTERRUPTED


def test_the_callers_timeout_is_the_end() -> None:
    assert decide(replace(ATTEMPT, timed_out=True), DEFAULT) is Verdict.REFUSED_TIMED_OUT


attempts = st.builds(
    Attempt,
    progress=st.sampled_from(Progress),
    **{
        name: st.booleans()
        for name in ("reused", "safe", "replayable", "interrupted", "timed_out", "recovered", "caller_covers")
    },
)
policies = st.builds(RetryPolicy, recovery=st.booleans(), repeat_incomplete=st.booleans())


@given(attempts, policies)
def test_nothing_that_may_have_been_processed_is_repeated_unless_it_is_safe(
    attempt: Attempt, policy: RetryPolicy
) -> None:
    if attempt.progress in (MAYBE, STARTED) and not attempt.safe:
        assert not decide(attempt, policy).repeats
        assert hazard(attempt, policy) is not None


@given(attempts, policies)
def test_a_body_that_cannot_be_resent_is_never_repeated_by_anybody(
    attempt: Attempt, policy: RetryPolicy
) -> None:
    spent = replace(attempt, replayable=False)
    assert decide(spent, policy) is Verdict.REFUSED_BODY
    assert hazard(spent, policy) is Verdict.REFUSED_BODY


@given(attempts, policies)
def test_a_repeat_is_never_repeated_and_no_hazard_is_ever_taken(
    attempt: Attempt, policy: RetryPolicy
) -> None:
    verdict = decide(attempt, policy)
    if verdict.repeats:
        assert not attempt.recovered
        assert not attempt.timed_out
        assert not attempt.interrupted
        assert policy.recovery
        assert hazard(attempt, policy) is None


@given(attempts, policies)
def test_what_is_left_to_the_caller_is_something_he_covers(attempt: Attempt, policy: RetryPolicy) -> None:
    if decide(attempt, policy) is Verdict.LEFT_TO_CALLER:
        assert attempt.caller_covers
        assert hazard(attempt, policy) is None
