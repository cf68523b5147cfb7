from __future__ import annotations

from holdfast._core.outage import Outage


def test_the_time_runs_from_the_first_failure_that_anybody_met() -> None:
    outage = Outage()
    assert outage.met(100.0, 5.0) == 105.0
    assert outage.met(103.0, 5.0) == 105.0


def test_who_comes_later_fails_at_once() -> None:
    outage = Outage()
    outage.met(100.0, 5.0)
    assert outage.met(104.9, 5.0) == 105.0
    assert outage.met(106.0, 5.0) <= 106.0
    assert outage.met(115.9, 5.0) <= 115.9


def test_a_connection_ends_it() -> None:
    outage = Outage()
    outage.met(100.0, 5.0)
    outage.over()
    assert outage.met(103.0, 5.0) == 108.0


def test_one_that_nobody_has_met_for_long_is_another() -> None:
    outage = Outage()
    outage.met(100.0, 5.0)
    assert outage.met(110.0, 5.0) == 105.0
    assert outage.met(139.9, 5.0) == 105.0
    assert outage.met(170.0, 5.0) == 175.0


def test_no_patience_is_over_at_once() -> None:
    outage = Outage()
    assert outage.met(100.0, 0.0) == 100.0
    assert outage.met(100.1, 0.0) <= 100.1


def test_the_time_0_is_a_time() -> None:
    outage = Outage()
    assert outage.met(0.0, 5.0) == 5.0
    assert outage.met(3.0, 5.0) == 5.0
