from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdfast._core.budget import Budget
from holdfast.policy import RetryBudget


def withdrawals(budget: Budget, now: float, requests: int) -> int:
    count = 0
    while budget.withdraw(now, requests):
        count += 1
    return count


def test_a_new_pool_begins_with_what_can_be_saved_up() -> None:
    assert withdrawals(Budget(RetryBudget(), 100.0), 100.0, 0) == 20


def test_each_request_pays_for_a_fifth_of_a_repeat() -> None:
    budget = Budget(RetryBudget(per_second=0), 100.0)
    withdrawals(budget, 100.0, 0)
    assert withdrawals(budget, 100.0, 4) == 0
    assert withdrawals(budget, 100.0, 5) == 1
    assert withdrawals(budget, 100.0, 55) == 10


def test_a_few_repeats_a_second_are_free() -> None:
    budget = Budget(RetryBudget(ratio=0), 100.0)
    withdrawals(budget, 100.0, 0)
    assert withdrawals(budget, 100.05, 0) == 0
    assert withdrawals(budget, 100.5, 0) == 5


def test_no_more_is_saved_than_the_most() -> None:
    budget = Budget(RetryBudget(most=3), 100.0)
    assert withdrawals(budget, 1e9, 10**9) == 3


def test_ratio_and_flow_may_be_nought() -> None:
    budget = Budget(RetryBudget(ratio=0, per_second=0, most=1), 100.0)
    assert withdrawals(budget, 100.0, 0) == 1
    assert withdrawals(budget, 1e9, 10**9) == 0


def test_a_look_takes_nothing() -> None:
    budget = Budget(RetryBudget(), 100.0)
    assert [budget.tokens(100.0, 0) for _ in range(3)] == [20, 20, 20]


def test_a_time_or_a_count_that_comes_late_takes_nothing_back_and_counts_once() -> None:
    """Threads ask in another order than they looked at the clock."""
    budget = Budget(RetryBudget(most=100), 100.0)
    withdrawals(budget, 100.0, 0)
    assert budget.tokens(101.0, 10) == 12
    assert budget.tokens(100.5, 5) == 12
    assert budget.tokens(101.0, 10) == 12


@given(
    st.builds(
        RetryBudget,
        ratio=st.floats(0, 2),
        per_second=st.floats(0, 50),
        most=st.floats(1, 50),
    ),
    st.lists(st.tuples(st.floats(-1, 3), st.integers(0, 30), st.booleans())),
)
def test_it_is_never_overdrawn_and_never_gives_more_than_came_in(
    settings: RetryBudget, steps: list[tuple[float, int, bool]]
) -> None:
    budget, now, requests, taken, latest = Budget(settings, 0.0), 0.0, 0, 0, 0.0
    for passes, made, takes in steps:
        now, requests = now + passes, requests + made
        latest = max(latest, now)
        taken += takes and budget.withdraw(now, requests)
        assert -1e-6 <= budget.tokens(now, requests) <= settings.most
        came_in = settings.most + settings.ratio * requests + settings.per_second * latest
        assert taken <= came_in + 1e-6
