from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from holdfast._core.backoff import backoff


def test_it_doubles_up_to_the_most() -> None:
    waits = [backoff(n, base=0.1, most=2.0, chance=1.0) for n in range(1, 8)]
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]


def test_the_jitter_is_full() -> None:
    assert backoff(3, base=1.0, most=9.0, chance=0.0) == 0
    assert backoff(3, base=1.0, most=9.0, chance=0.25) == 1.0


def test_a_server_that_is_away_for_a_year_overflows_nothing() -> None:
    assert backoff(10**9, base=0.1, most=2.0, chance=1.0) == 2.0


@given(st.integers(1, 10**6), st.floats(1e-9, 1e9), st.floats(1e-9, 1e9), st.floats(0, 1))
def test_it_is_always_a_wait_within_the_limit(failures: int, base: float, most: float, chance: float) -> None:
    wait = backoff(failures, base=base, most=most, chance=chance)
    assert math.isfinite(wait)
    assert 0 <= wait <= most
