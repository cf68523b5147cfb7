"""One origin; what is told to it, it is told at given seconds."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from holdfast._core.lateness import slack
from holdfast._core.learning import Learner, Limit

HOUR = 3600.0


def closed(learner: Learner, *ages: float, since: float = 1000.0, every: float = 60.0) -> float:
    """Single ends, one after another. The time of the last."""
    now = since
    for age in ages:
        now += every
        learner.peer_closed(age, 3, now)
    return now


def seconds(limit: Limit | None) -> float:
    return math.inf if limit is None else limit.seconds


# -- the peer's idle limit


def test_what_was_seen_to_end_proves_how_long_it_was_kept() -> None:
    learner = Learner()
    now = closed(learner, 6.0, 6.0, 6.0)
    kept, until = learner.proved(now)
    assert 5.8 < kept < 6.0
    assert until == now + 6 * HOUR
    assert learner.proved(until + 1)[0] == 0.0


def test_what_was_found_ended_proves_nothing() -> None:
    """It ended then or before."""
    learner = Learner()
    learner.found_dead(50.0, 3, 1000.0)
    assert learner.idle_limit(1000.0) is not None
    assert learner.proved(1000.0)[0] == 0.0


def test_nothing_is_known_at_first() -> None:
    learner = Learner()
    assert learner.idle_limit(0.0) is None
    assert learner.flow_limit(0.0) is None
    assert learner.use_limit(0.0) is None
    assert learner.proven(0.0) == 0.0


def test_one_end_is_enough_and_leaves_a_careful_margin() -> None:
    learner = Learner()
    now = closed(learner, 5.0)
    assert learner.idle_limit(now) == Limit(5.0, 0.0, 1, 1.25)


def test_the_careful_margin_is_never_more_than_servers_are_late() -> None:
    learner = Learner()
    now = closed(learner, 60.0)
    assert learner.idle_limit(now) == Limit(60.0, 0.0, 1, 2.0)


def test_ends_at_one_age_leave_hardly_a_margin() -> None:
    learner = Learner()
    now = closed(learner, *[5.0, 5.002, 5.001, 5.004, 5.0, 5.003])
    limit = learner.idle_limit(now)
    assert limit is not None
    assert limit.seconds == 5.0
    assert limit.margin < 0.01


def test_ends_at_many_ages_leave_a_margin_that_shrinks() -> None:
    learner = Learner()
    margins = []
    for ages in ([6.1, 5.3, 6.9], [5.8, 6.4, 6.6], [5.2, 7.0, 6.2]):
        now = closed(learner, *ages)
        limit = learner.idle_limit(now)
        assert limit is not None
        margins.append(limit.margin)
    assert margins == sorted(margins, reverse=True)
    assert 0.1 < margins[-1] < 0.5


def test_a_restart_that_ends_all_at_once_teaches_nothing() -> None:
    learner = Learner()
    now = closed(learner, 5.0, 5.0, 5.0)
    for age in (0.7, 1.9, 3.3):
        learner.peer_closed(age, 3, now + 60)
    assert seconds(learner.idle_limit(now + 60)) == 5.0


def test_nor_do_restarts_that_end_one_now_and_then() -> None:
    learner = Learner()
    closed(learner, 5.0, 5.0, 5.0)
    now = closed(learner, 3.1, 5.0, 2.4, 5.0, 3.3, 5.0, since=2000)
    assert seconds(learner.idle_limit(now)) == 5.0


def test_a_limit_that_only_a_restart_suggested_goes_when_a_connection_outlives_it() -> None:
    learner = Learner()
    now = closed(learner, 10.0)
    learner.still_open(11.0, now + 11)
    assert seconds(learner.idle_limit(now + 11)) == 10.0
    learner.still_open(12.6, now + 13)
    assert learner.idle_limit(now + 13) is None


def test_a_restart_where_others_have_lived_longer_is_no_limit() -> None:
    learner = Learner()
    learner.answered(40.0, 2, 1000.0)
    learner.answered(45.0, 3, 1100.0)
    now = closed(learner, 10.0, since=1100)
    assert learner.idle_limit(now) is None


def test_a_limit_that_was_lowered_is_believed_at_the_second_end() -> None:
    learner = Learner()
    closed(learner, 60.0, 60.0, 60.0)
    now = closed(learner, 5.0, since=2000)
    assert seconds(learner.idle_limit(now)) == 60.0
    now = closed(learner, 5.01, since=now)
    assert seconds(learner.idle_limit(now)) == 5.0


def test_a_limit_that_was_raised_is_given_up_when_two_have_outlived_it() -> None:
    learner = Learner()
    now = closed(learner, 5.0, 5.0, 5.0, 5.0)
    for later in (1.0, 5.0):
        learner.still_open(7.5, now + 8)
        learner.still_open(7.5 + later, now + 8 + later)
    assert seconds(learner.idle_limit(now + 20)) == 5.0, (
        "one connection counts once, however often it is seen"
    )
    learner.still_open(7.5, now + 30)
    assert learner.idle_limit(now + 30) is None


def test_a_limit_that_was_raised_by_little_is_learned_from_the_ends() -> None:
    learner = Learner()
    closed(learner, *[5.0] * 20)
    now = closed(learner, *[6.0] * 10, since=4000)
    assert seconds(learner.idle_limit(now)) == 6.0


def test_of_two_backends_the_smaller_limit_counts() -> None:
    learner = Learner()
    now = closed(learner, *[2.0, 60.0, 60.0] * 4)
    assert seconds(learner.idle_limit(now)) == 2.0
    for _ in range(5):
        learner.still_open(59.0, now := now + 60)
    assert seconds(learner.idle_limit(now)) == 2.0, "those of the other backend do not lift it"


def test_one_odd_end_before_the_others_is_dropped() -> None:
    learner = Learner()
    now = closed(learner, 3.5, 5.0, 5.0)
    assert seconds(learner.idle_limit(now)) == 5.0


def test_one_that_was_found_ended_is_an_upper_bound_until_one_was_seen_to_end() -> None:
    learner = Learner()
    learner.found_dead(30.0, 3, 1000.0)
    assert seconds(learner.idle_limit(1000.0)) == 30.0
    learner.found_dead(20.0, 3, 1100.0)
    learner.found_dead(25.0, 3, 1200.0)
    assert learner.idle_limit(1200.0) == Limit(20.0, 0.0, 1, 2.0)
    now = closed(learner, 15.0, since=1300)
    assert seconds(learner.idle_limit(now)) == 15.0


def test_a_request_that_crossed_the_end_does_not_lower_the_limit() -> None:
    learner = Learner()
    now = closed(learner, 5.0, 5.0, 5.0)
    learner.found_dead(4.98, 3, now + 60)
    assert seconds(learner.idle_limit(now + 60)) == 5.0


def test_old_knowledge_loses_weight_and_is_forgotten() -> None:
    learner = Learner()
    now = closed(learner, *[5.0] * 4)
    fresh, old = learner.idle_limit(now), learner.idle_limit(now + 3 * HOUR)
    assert fresh is not None
    assert old is not None
    assert fresh.margin < old.margin
    assert learner.idle_limit(now + 7 * HOUR) is None


def test_a_parked_connection_is_asked_until_it_has_outlived_the_limit() -> None:
    learner = Learner()
    assert learner.parked_until(0.0) == 0.0
    now = closed(learner, 10.0)
    until = learner.parked_until(now)
    assert until > 10.0
    learner.still_open(until, now + until)
    assert learner.idle_limit(now + until) is None


# -- the way to the peer


def test_silence_after_a_long_rest_bounds_the_way() -> None:
    learner = Learner()
    learner.fell_silent(300.0, 1000.0)
    limit = learner.flow_limit(1000.0)
    assert limit is not None
    assert (limit.seconds, limit.samples) == (300.0, 1)
    assert limit.margin == 225.0, "nobody knows yet how much sooner it would have been forgotten"
    assert learner.idle_limit(1000.0) is None


def test_ages_that_were_answered_narrow_what_is_not_known() -> None:
    learner = Learner()
    learner.fell_silent(300.0, 1000.0)
    learner.answered(280.0, 3, 2000.0)
    limit = learner.flow_limit(2000.0)
    assert limit is not None
    assert limit.spread == 20.0
    assert limit.margin == 15.0


def test_a_parked_connection_says_nothing_about_the_way() -> None:
    learner = Learner()
    learner.fell_silent(30.0, 1000.0)
    for number in range(5):
        learner.still_open(100.0, 1200.0 + 200 * number)
    assert seconds(learner.flow_limit(2200.0)) == 30.0


def test_an_end_that_came_through_shows_the_way_open() -> None:
    learner = Learner()
    learner.fell_silent(30.0, 1000.0)
    learner.peer_closed(60.0, 1, 1100.0)
    assert learner.flow_limit(1100.0) is None


def test_a_cable_that_was_pulled_teaches_the_longest_age_only_and_not_for_long() -> None:
    learner = Learner()
    for idle in (2.0, 40.0, 0.1, 7.0):
        learner.fell_silent(idle, 1000.0)
    assert seconds(learner.flow_limit(1000.0)) == 40.0
    assert learner.flow_limit(1000.0 + HOUR) is None


def test_silence_that_came_again_is_remembered_for_hours() -> None:
    learner = Learner()
    learner.fell_silent(40.0, 1000.0)
    learner.fell_silent(35.0, 2000.0)
    assert seconds(learner.flow_limit(2000.0 + HOUR)) == 35.0


# -- a number of requests


def test_a_count_that_comes_back_right_behind_the_answer_is_a_limit_of_requests() -> None:
    learner = Learner()
    for number in range(3):
        learner.peer_closed(0.02, 100, 1000.0 + 60 * number)
    assert learner.use_limit(1120.0) == 100
    assert learner.idle_limit(1120.0) is None


def test_so_is_one_that_comes_back_at_ages_that_others_live_through() -> None:
    learner = Learner()
    for number in range(4):
        learner.answered(9.0 + number, 4, 1000.0 + 60 * number)
    for number, idle in enumerate((3.0, 8.0, 0.4)):
        learner.found_dead(idle, 10, 1300.0 + 60 * number)
    assert learner.use_limit(1420.0) == 10
    assert learner.idle_limit(1420.0) is None, "these ends do not count as idle limits"


def test_but_not_one_at_ages_that_nobody_lives_through() -> None:
    """A client that sends three requests, and rests for longer than the server waits."""
    learner = Learner()
    for number, idle in enumerate((30.0, 90.0, 40.0, 75.0)):
        learner.found_dead(idle, 3, 1000.0 + 100 * number)
    assert learner.use_limit(1420.0) is None
    assert seconds(learner.idle_limit(1420.0)) == 30.0


@pytest.mark.parametrize("limit", [1.0, 5.0])
def test_nor_one_at_ages_that_others_live_through_because_the_peer_is_late(limit: float) -> None:
    """A client that uses each connection twice, and rests for as long as the server waits."""
    learner = Learner()
    for number, late in enumerate((0.08, 1.9, 0.06)):
        learner.peer_closed(limit + late, 2, 1000.0 + 10 * number)
    for number in range(6):
        learner.found_dead(limit - 0.02, 2, 1100.0 + 10 * number)
    assert learner.use_limit(1150.0) is None
    assert learner.idle_limit(1150.0) is not None, "and what is known of the timer is kept"


@pytest.mark.parametrize("many", [3, 50])
def test_nor_a_restart_that_ends_all_connections_of_clients_in_step(many: int) -> None:
    learner = Learner()
    for number in range(many):
        learner.peer_closed(0.02, 100, 1000.0 + 0.001 * number)
    assert learner.use_limit(1001.0) is None


def test_a_client_that_leaves_each_connection_after_two_requests_meets_no_limit_of_requests() -> None:
    learner = Learner()
    for number, age in enumerate((5.4, 6.7, 5.1, 6.2)):
        learner.peer_closed(age, 2, 1000.0 + 60 * number)
    assert learner.use_limit(1300.0) is None
    assert seconds(learner.idle_limit(1300.0)) == 5.1


def test_a_connection_that_carries_more_refutes_a_limit_of_requests() -> None:
    learner = Learner()
    for number in range(3):
        learner.peer_closed(0.02, 100, 1000.0 + 60 * number)
    learner.answered(1.0, 101, 1300.0)
    assert learner.use_limit(1300.0) is None


# -- whatever happens

ages = st.floats(min_value=0.2, max_value=1000)
anything = st.floats() | st.just(math.nan) | st.just(math.inf) | st.just(-1.0)
calls = st.lists(
    st.tuples(
        st.sampled_from(["peer_closed", "found_dead", "answered", "still_open", "fell_silent"]),
        st.floats(0, 1000) | anything,
        st.integers(0, 200),
    ),
    max_size=60,
)
steps = st.lists(st.floats(min_value=-1e5, max_value=1e5) | anything, min_size=60, max_size=60)


def tell(learner: Learner, what: str, idle: float, uses: int, now: float) -> None:
    if what in ("still_open", "fell_silent"):
        getattr(learner, what)(idle, now)
    else:
        getattr(learner, what)(idle, uses, now)


PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A busy machine is no failure."""


@PATIENT
@given(calls=calls, steps=steps)
def test_no_clock_and_no_peer_makes_it_raise_or_say_nonsense(
    calls: list[tuple[str, float, int]], steps: list[float]
) -> None:
    learner, now = Learner(), 1000.0
    for (what, idle, uses), step in zip(calls, steps, strict=False):
        tell(learner, what, idle, uses, now + step)
        now = now + step if math.isfinite(step) else now
        for limit in (learner.idle_limit(now), learner.flow_limit(now)):
            if limit is not None:
                assert 0 <= limit.margin <= limit.seconds < math.inf
                assert 0 <= limit.spread < math.inf
                assert limit.samples >= 1
        assert learner.proven(now) >= 0


@PATIENT
@given(calls=calls, steps=steps, age=ages)
def test_no_past_poisons_it(calls: list[tuple[str, float, int]], steps: list[float], age: float) -> None:
    """After whatever was seen, and a day, a server with a limit is learned as if it were new. The clock may
    have run backwards meanwhile."""
    learner, now = Learner(), 1000.0
    for (what, idle, uses), step in zip(calls, steps, strict=False):
        now = now + step if abs(step) < 1e6 else now
        tell(learner, what, idle, uses, now)
    now = closed(learner, *[age] * 8, since=now + 24 * HOUR, every=age + 60)
    limit = learner.idle_limit(now)
    assert limit is not None
    assert limit.seconds == pytest.approx(age)


@PATIENT
@given(past=st.lists(ages, max_size=30), age=ages, lives=st.lists(st.floats(0, 0.9), min_size=0, max_size=10))
@example(past=[60.0] * 5, age=5.0, lives=[0.5])
@example(past=[692.0, 692.0], age=691.0, lives=[])
def test_the_limit_never_exceeds_what_two_ends_in_a_row_agree_on(
    past: list[float], age: float, lives: list[float]
) -> None:
    learner = Learner()
    now = closed(learner, *past)
    for life in lives:
        learner.answered(life * age, 2, now := now + 2000)
    # Nothing that speaks against it is fresh.
    now = closed(learner, age, age, age, since=now + 2000, every=age + 60)
    limit = learner.idle_limit(now)
    assert limit is not None
    assert limit.seconds <= age


@PATIENT
@given(past=st.lists(ages, max_size=30), age=ages)
def test_the_limit_is_never_below_what_is_outlived_again_and_again(past: list[float], age: float) -> None:
    learner = Learner()
    now = closed(learner, *past)
    for _ in range(8):
        learner.answered(age, 2, now := now + age + 60)
    low = seconds(learner.idle_limit(now))
    assert low + slack(low) >= age


@PATIENT
@given(limits=st.lists(st.floats(1, 120), min_size=2, max_size=30))
@example(limits=[81.875, 81.75])
def test_an_origin_that_changes_its_limit_every_minute_is_followed(limits: list[float]) -> None:
    learner, now = Learner(), 1000.0
    for limit in limits:
        for _ in range(3):
            now = closed(learner, limit, since=now, every=20)
        known = learner.idle_limit(now)
        assert known is None or known.seconds <= limit


def test_what_is_kept_of_an_origin_does_not_grow() -> None:
    learner = Learner()
    now = closed(learner, *[5 + number % 20 / 10 for number in range(10_000)], every=1.0)
    for number in range(10_000):
        learner.answered(number % 50, 2, now + number)
        learner.found_dead(number % 70, number % 9, now + number)
        learner.fell_silent(number % 90, now + number)
    idle, flow, uses = learner.idle, learner.flow, learner.uses
    kept = (idle._recent, idle._outlived._ages, idle._suspects._seen, flow._answered._ages, uses._ends)
    assert sum(len(numbers) for numbers in kept) <= 32
