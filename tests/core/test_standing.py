"""A connection is asked for at a given age; nothing waits."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast._core.learning import Learner
from holdfast._core.standing import Standing, allowance, standing
from holdfast.vocabulary import CloseReason

NOW = 10_000.0
RTT = 0.03


def with_limit(seconds: float, times: int = 8) -> Learner:
    learner = Learner()
    for number in range(times):
        learner.peer_closed(seconds, 3, NOW - 1000 + 10 * number)
    return learner


def with_flow(seconds: float) -> Learner:
    learner = Learner()
    learner.fell_silent(seconds, NOW - 10)
    return learner


def stands(
    idle: float,
    learner: Learner | None = None,
    *,
    unsafe: bool = False,
    allowed: float = math.inf,
    **more: object,
) -> Standing:
    options: dict[str, object] = {"rtt": RTT, "now": NOW, **more}
    return standing(idle, allowed=allowed, learner=learner, unsafe=unsafe, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("idle", "expected"), [(0.0, "GOOD"), (9.9, "GOOD"), (10.0, "DOUBTFUL"), (54, "DOUBTFUL")]
)
def test_a_safe_request_asks_when_a_connection_has_rested_long(idle: float, expected: str) -> None:
    assert stands(idle, allowed=55) is Standing[expected]


@pytest.mark.parametrize(("idle", "expected"), [(0.9, "GOOD"), (1.0, "DOUBTFUL"), (54, "DOUBTFUL")])
def test_an_unsafe_one_asks_sooner(idle: float, expected: str) -> None:
    assert stands(idle, allowed=55, unsafe=True) is Standing[expected]


def test_a_hint_is_kept_to_more_strictly_by_an_unsafe_request() -> None:
    assert stands(4.5, allowed=4.95, allowed_unsafe=4) is Standing.GOOD
    assert stands(3.9, allowed=4.95, allowed_unsafe=4, unsafe=True) is Standing.DOUBTFUL
    assert stands(4.5, allowed=4.95, allowed_unsafe=4, unsafe=True) is Standing.NOT_FOR_UNSAFE
    assert stands(4.95, allowed=4.95, allowed_unsafe=4) is Standing.SPENT


def test_either_question_can_be_switched_off() -> None:
    assert stands(50, allowed=55, probe_after=None) is Standing.GOOD
    assert stands(9, allowed=55, unsafe=True, probe_unsafe_after=None) is Standing.GOOD
    assert stands(50, allowed=55, unsafe=True, probe_unsafe_after=None) is Standing.DOUBTFUL


@pytest.mark.parametrize("unsafe", [False, True])
def test_beyond_what_is_allowed_it_is_spent(unsafe: bool) -> None:
    assert stands(55, allowed=55, unsafe=unsafe) is Standing.SPENT


@pytest.mark.parametrize(("idle", "expected"), [(4.9, "GOOD"), (4.93, "SPENT"), (5, "SPENT")])
def test_a_limit_that_was_learned_counts_with_the_way_and_our_own_delay(idle: float, expected: str) -> None:
    assert stands(idle, with_limit(5.0)) is Standing[expected]


def test_after_one_end_the_margin_is_careful() -> None:
    assert stands(3.6, with_limit(5.0, times=1)) is Standing.GOOD
    assert stands(3.8, with_limit(5.0, times=1)) is Standing.SPENT


@pytest.mark.parametrize(("idle", "expected"), [(4.8, "DOUBTFUL"), (4.9, "NOT_FOR_UNSAFE"), (4.93, "SPENT")])
def test_near_the_limit_an_unsafe_request_leaves_it_to_a_safe_one(idle: float, expected: str) -> None:
    assert stands(idle, with_limit(5.0), unsafe=True) is Standing[expected]


def test_the_margin_does_not_eat_a_short_limit() -> None:
    limits = allowance(math.inf, with_limit(1.0), RTT, NOW)
    assert 0.9 < limits.seconds < 1.0 - RTT
    assert allowance(math.inf, with_limit(1.0, times=1), None, NOW).seconds >= 0.5


def test_a_round_trip_is_waited_for_whatever_it_takes() -> None:
    assert allowance(math.inf, with_limit(1.0), 0.8, NOW).seconds == pytest.approx(0.2)
    assert allowance(math.inf, with_limit(1.0), 3.0, NOW).seconds == 0.0


def test_the_smallest_limit_decides_and_is_the_reason() -> None:
    learner = with_limit(20.0)
    assert allowance(5.0, learner, RTT, NOW).reason is None
    assert allowance(55.0, learner, RTT, NOW).reason is CloseReason.LEARNED_LIMIT
    learner.fell_silent(9.0, NOW)
    assert allowance(55.0, learner, RTT, NOW).reason is CloseReason.FLOW_LIMIT
    assert allowance(55.0, None, RTT, NOW).seconds == 55.0


def test_a_hint_that_is_too_long_loses_against_what_was_seen() -> None:
    assert stands(6.0, with_limit(5.0), allowed=9.0) is Standing.SPENT


def test_a_hint_that_is_too_short_is_obeyed() -> None:
    assert stands(4.5, with_limit(60.0), allowed=4.0) is Standing.SPENT


@pytest.mark.parametrize(
    ("idle", "probe", "no_probe"),
    [
        (0.5, "GOOD", "GOOD"),
        (1.2, "DOUBTFUL", "DOUBTFUL"),
        (2.5, "DOUBTFUL", "SPENT"),
        (3.0, "SPENT", "SPENT"),
    ],
)
def test_a_way_that_forgot_once_is_doubted_far_sooner(idle: float, probe: str, no_probe: str) -> None:
    assert stands(idle, with_flow(3.0)) is Standing[probe]
    assert stands(idle, with_flow(3.0), can_probe=False) is Standing[no_probe]


def test_ages_that_are_often_proven_good_are_not_asked_about() -> None:
    learner = Learner()
    for number in range(3):
        learner.answered(40.0, 5, NOW - 100 * number)
    assert stands(39.0, learner, allowed=55) is Standing.GOOD
    assert stands(41.0, learner, allowed=55) is Standing.DOUBTFUL
    assert stands(39.0, learner, allowed=55, probe_after=2.0) is Standing.DOUBTFUL, "up to a multiple"
    assert stands(39.0, learner, allowed=55, unsafe=True) is Standing.DOUBTFUL


def test_one_silence_ends_the_trust_in_longer_ages() -> None:
    learner = Learner()
    for number in range(3):
        learner.answered(40.0, 5, NOW - 100 * number)
    learner.fell_silent(35.0, NOW)
    assert stands(12.0, learner, allowed=55) is Standing.DOUBTFUL
    assert stands(36.0, learner, allowed=55) is Standing.SPENT


def test_a_connection_that_carried_as_many_requests_as_the_peer_allows_is_spent() -> None:
    learner = Learner()
    for number in range(3):
        learner.peer_closed(0.01, 100, NOW - 100 + number)
    assert stands(0.5, learner, uses=99) is Standing.GOOD
    assert stands(0.5, learner, uses=100) is Standing.SPENT


def test_where_nobody_asks_the_way_is_not_trusted_beyond_what_is_known() -> None:
    assert stands(2.5, with_flow(3.0)) is Standing.DOUBTFUL
    assert stands(2.5, with_flow(3.0), probe_after=None) is Standing.SPENT


ORDER = [Standing.GOOD, Standing.DOUBTFUL, Standing.NOT_FOR_UNSAFE, Standing.SPENT]
times = st.floats(0, 1000)


PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A busy machine is no failure."""


@PATIENT
@given(
    idle=times,
    more=times,
    allowed=times,
    limit=st.floats(0.2, 500),
    count=st.integers(0, 9),
    silence=st.none() | st.floats(0, 500),
    unsafe=st.booleans(),
    rtt=st.none() | st.floats(0, 2),
    can_probe=st.booleans(),
)
def test_nothing_becomes_better_by_lying_idle_or_by_being_unsafe(
    idle: float,
    more: float,
    allowed: float,
    limit: float,
    count: int,
    silence: float | None,
    unsafe: bool,
    rtt: float | None,
    can_probe: bool,
) -> None:
    learner = with_limit(limit, count)
    if silence is not None:
        learner.fell_silent(silence, NOW - 1)

    def rank(at: float, *, unsafe: bool) -> int:
        answer = stands(at, learner, allowed=allowed, unsafe=unsafe, rtt=rtt, can_probe=can_probe)
        return ORDER.index(answer)

    assert rank(idle, unsafe=unsafe) <= rank(idle + more, unsafe=unsafe)
    assert rank(idle, unsafe=False) <= rank(idle, unsafe=True)
    assert stands(limit, learner, allowed=allowed) is Standing.SPENT or not learner.idle_limit(NOW)
    assert stands(allowed, learner, allowed=allowed, unsafe=unsafe) is Standing.SPENT
