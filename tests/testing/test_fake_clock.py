from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from holdfast.testing import FakeClock


def test_it_stands_still_until_it_is_advanced() -> None:
    clock = FakeClock(start=5.0)
    as_seen_by_others: Callable[[], float] = clock
    assert (as_seen_by_others(), as_seen_by_others()) == (5.0, 5.0)
    clock.advance(1.5)
    assert as_seen_by_others() == 6.5


def test_it_does_not_start_at_zero() -> None:
    assert FakeClock().now() > 0


@pytest.mark.parametrize("seconds", [-1, -0.001, float("nan")])
def test_it_does_not_go_back(seconds: float) -> None:
    clock = FakeClock(1.0)
    with pytest.raises(ValueError, match="does not go back"):
        clock.advance(seconds)
    assert clock.now() == 1.0


def test_it_loses_no_advance_between_threads() -> None:
    clock = FakeClock(0.0)

    def advance() -> None:
        for _ in range(1000):
            clock.advance(1)

    threads = [threading.Thread(target=advance) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clock.now() == 4000.0


def test_its_repr_tells_the_time() -> None:
    assert repr(FakeClock(2.0)) == "FakeClock(2.0)"
