"""A client is asked, and given up, at given seconds; nothing waits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast._core.silence import Patience, Silence, Step
from holdfast.errors import PolicyError

PATIENCE = Patience(interval=10, timeout=2, misses=1)


def test_a_silent_client_is_asked_once_and_given_up_in_time() -> None:
    silence = Silence(PATIENCE, 100.0)
    assert silence.wake_at() == 110
    assert silence.step(109.9) is Step.WAIT
    assert silence.step(110) is Step.ASK
    assert silence.wake_at() == 122
    assert silence.step(121.9) is Step.WAIT
    assert silence.step(122) is Step.GIVE_UP


def test_a_client_that_says_something_starts_anew() -> None:
    silence = Silence(PATIENCE, 100.0)
    assert silence.step(110) is Step.ASK
    silence.heard(111)
    assert silence.step(120.9) is Step.WAIT
    assert silence.step(121) is Step.ASK
    silence.heard(90)  # the kernel's clock is coarser than ours
    assert silence.heard_at == 111


def test_a_client_that_has_ended_is_given_up_soon_if_nobody_closes_it() -> None:
    silence = Silence(PATIENCE, 100.0)
    silence.ended(101)
    silence.ended(102)
    assert silence.wake_at() == 103
    assert silence.step(103) is Step.GIVE_UP


@given(
    interval=st.floats(0.1, 100),
    share=st.floats(0.01, 1),
    misses=st.integers(0, 5),
    late=st.lists(st.floats(0, 50), max_size=20),
)
def test_it_is_given_up_within_the_stated_time_however_late_the_timer_is(
    interval: float, share: float, misses: int, late: list[float]
) -> None:
    patience = Patience(interval=interval, timeout=interval * share, misses=misses)
    silence = Silence(patience, 1000.0)
    for delay in [*late, *[0.0] * 10]:
        now = silence.wake_at() + delay
        step = silence.step(now)
        assert (step is Step.GIVE_UP) == (now >= 1000 + patience.longest)
        if step is Step.GIVE_UP:
            return
    raise AssertionError("never given up")


@pytest.mark.parametrize("wrong", [{"timeout": 11}, {"misses": -1}, {"interval": 0}])
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(PolicyError):
        Patience(**{"interval": 10, "timeout": 2, "misses": 1, **wrong})  # type: ignore[arg-type]
