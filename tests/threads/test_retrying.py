"""What the requests of a pool share: a budget and an outage, under one lock, with time that stands still."""

from __future__ import annotations

import math
import threading
from typing import Any

from holdfast._core.retry import Attempt, Caller, Campaign
from holdfast._threads.retrying import Retrying
from holdfast.policy import Policy, RetryBudget, RetryPolicy
from holdfast.testing import FakeClock
from holdfast.vocabulary import Progress, Verdict

FRESH = Attempt(
    progress=Progress.MAYBE_PROCESSED,
    reused=False,
    safe=True,
    replayable=True,
    timed_out=False,
    interrupted=False,
    nonsense=False,
    caller=Caller.SILENT,
)


def retrying(clock: FakeClock, **settings: Any) -> Retrying:
    policy = Policy(clock=clock, sleep=clock.sleep, retry=RetryPolicy(**settings))
    return Retrying(policy, lambda: 0)


def reconnects(shared: Retrying, clock: FakeClock, give_up_at: float = math.inf) -> list[Verdict]:
    """As a connection that is always refused."""
    seen: list[Verdict] = []
    while not seen or seen[-1].repeats:
        verdict, _ = shared.await_reconnect(
            Campaign(), Caller.SILENT, len(seen) + 1, give_up_at=give_up_at, not_before=clock()
        )
        seen.append(verdict)
    return seen


def test_threads_draw_from_one_budget() -> None:
    clock = FakeClock()
    shared = retrying(clock, budget=RetryBudget(ratio=0, per_second=0, most=10), attempts=2)
    verdicts: list[Verdict] = []
    start = threading.Barrier(32)

    def work() -> None:
        start.wait()
        verdicts.append(shared.after_failure(FRESH, Campaign()).verdict)

    threads = [threading.Thread(target=work) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert verdicts.count(Verdict.REPEATED_AFTER_WAIT) == 10
    assert verdicts.count(Verdict.REFUSED_BUDGET) == 22


def test_an_outage_is_shared_and_ends_with_a_connection() -> None:
    clock = FakeClock()
    shared = retrying(clock, reconnect=5, budget=None)
    began = clock()
    first = reconnects(shared, clock)
    assert len(first) > 3
    assert clock() - began <= 5
    again = clock()
    assert len(reconnects(shared, clock)) <= 2
    assert clock() - again <= 0.1
    shared.opened()
    assert len(reconnects(shared, clock)) > 3


def test_without_a_token_it_is_waited_on_and_the_budget_is_the_reason() -> None:
    clock = FakeClock()
    nothing = RetryBudget(ratio=0, per_second=0, most=1)
    shared = retrying(clock, reconnect=5, budget=nothing)
    began = clock()
    assert reconnects(shared, clock) == [Verdict.RECONNECTED, Verdict.REFUSED_BUDGET]
    assert clock() - began <= 5


def test_a_token_that_comes_in_meanwhile_is_taken() -> None:
    clock = FakeClock()
    slow = RetryBudget(ratio=0, per_second=1, most=1)
    shared = retrying(clock, reconnect=5, budget=slow)
    seen = reconnects(shared, clock)
    assert 3 <= seen.count(Verdict.RECONNECTED) <= 7


def test_the_callers_patience_ends_it_sooner() -> None:
    clock = FakeClock()
    shared = retrying(clock, reconnect=5, budget=None)
    began = clock()
    reconnects(shared, clock, give_up_at=began + 0.5)
    assert clock() - began <= 0.5


def test_nothing_is_waited_for_that_takes_no_time() -> None:
    slept: list[float] = []
    shared = Retrying(Policy(sleep=slept.append), lambda: 0)
    shared.wait(0)
    shared.wait(0.5)
    assert slept == [0.5]
