"""What an origin is asked for by many clients at once shows of its limit."""

from __future__ import annotations

import pytest

from holdfast._core.idle_ages import IdleAges


def test_ends_that_follow_one_another_without_a_pause_are_many_and_not_one() -> None:
    ages = IdleAges()
    for step in range(100):
        ages.ended(1.0 + 0.001 * (step % 10), 100 + 0.1 * step, exact=True)
    limit = ages.limit(110.0)
    assert limit is not None
    assert limit.samples == pytest.approx(20, abs=1)  # one for each half of a second
    assert limit.margin < 0.01


def test_a_burst_of_ends_is_one() -> None:
    ages = IdleAges()
    for step in range(100):
        ages.ended(1.0, 100 + 0.004 * step, exact=True)
    limit = ages.limit(101.0)
    assert limit is not None
    assert limit.samples == 1
