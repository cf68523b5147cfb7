from __future__ import annotations

import math
import pickle
from typing import Any

import pytest

from holdfast import Policy, PolicyError, PoolLimits, RetryBudget, RetryPolicy, TcpKeepalive
from holdfast.testing import FakeClock


@pytest.mark.parametrize(
    ("make", "setting", "value"),
    [
        (PoolLimits, "idle_timeout", -1),
        (PoolLimits, "idle_timeout", 0),
        (PoolLimits, "idle_timeout", math.nan),
        (PoolLimits, "idle_timeout", math.inf),
        (PoolLimits, "idle_timeout", "55"),
        (PoolLimits, "idle_timeout", True),
        (PoolLimits, "max_age", -0.5),
        (PoolLimits, "max_age_jitter", 1.5),
        (PoolLimits, "max_age_jitter", math.nan),
        (PoolLimits, "max_uses", 0),
        (PoolLimits, "max_uses", 2.5),
        (PoolLimits, "max_uses", True),
        (PoolLimits, "keep_alive_margin", -1),
        (PoolLimits, "keep_alive_margin", None),
        (TcpKeepalive, "idle", 0),
        (TcpKeepalive, "interval", 1.5),
        (TcpKeepalive, "count", -3),
        (TcpKeepalive, "user_timeout", math.nan),
        (RetryPolicy, "recovery", 1),
        (RetryPolicy, "repeat_incomplete", "no"),
        (RetryPolicy, "peer_closed_first", None),
        (RetryPolicy, "add_idempotency_key", 1),
        (RetryPolicy, "attempts", 0),
        (RetryPolicy, "attempts", -1),
        (RetryPolicy, "attempts", 1.5),
        (RetryPolicy, "attempts", True),
        (RetryPolicy, "attempts", None),
        (RetryPolicy, "attempts", 101),
        (RetryPolicy, "base_delay", 0),
        (RetryPolicy, "base_delay", -0.1),
        (RetryPolicy, "base_delay", math.nan),
        (RetryPolicy, "max_delay", math.inf),
        (RetryPolicy, "max_delay", 0.05),
        (RetryPolicy, "reconnect", -1),
        (RetryPolicy, "reconnect", None),
        (RetryPolicy, "reconnect", math.inf),
        (RetryPolicy, "deadline", 0),
        (RetryPolicy, "deadline", -5),
        (RetryPolicy, "deadline", math.nan),
        (RetryPolicy, "deadline", 0.1),
        (RetryPolicy, "deadline", 0.05),
        (RetryPolicy, "budget", 0.2),
        (RetryPolicy, "budget", False),
        (RetryPolicy, "statuses", 503),
        (RetryPolicy, "statuses", "503"),
        (RetryPolicy, "statuses", b"503"),
        (RetryPolicy, "statuses", [200]),
        (RetryPolicy, "statuses", [503, 600]),
        (RetryPolicy, "statuses", ["503"]),
        (RetryPolicy, "statuses", [True]),
        (RetryPolicy, "statuses", None),
        (RetryPolicy, "max_retry_after", -1),
        (RetryPolicy, "max_retry_after", math.inf),
        (RetryBudget, "ratio", -0.1),
        (RetryBudget, "ratio", math.nan),
        (RetryBudget, "ratio", "0.2"),
        (RetryBudget, "per_second", -1),
        (RetryBudget, "per_second", math.inf),
        (RetryBudget, "most", 0),
        (RetryBudget, "most", 0.5),
        (RetryBudget, "most", True),
        (Policy, "limits", None),
        (Policy, "keepalive", True),
        (Policy, "retry", 3),
        (Policy, "listener", "print"),
        (Policy, "clock", 17.0),
        (Policy, "sleep", 0.1),
        (Policy, "sleep", None),
        (Policy, "accept_cut_heads", 1),
        (Policy, "log_interval", 0),
        (Policy, "log_interval", -60),
        (Policy, "log_interval", "60"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_with_setting_value_and_rule(
    make: Any, setting: str, value: object
) -> None:
    with pytest.raises(PolicyError) as caught:
        make(**{setting: value})
    assert isinstance(caught.value, ValueError)
    assert str(caught.value).startswith(f"{setting}={value!r}: must be ")
    assert (caught.value.setting, caught.value.value) == (setting, value) or value != value  # noqa: PLR0124 - NaN
    assert len(caught.value.rule) > 10


def test_settings_are_keyword_only_and_frozen() -> None:
    with pytest.raises(TypeError):
        PoolLimits(55)  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        Policy().limits = PoolLimits()  # type: ignore[misc]


def test_a_policy_pickles_and_equals_its_copy() -> None:
    policy = Policy(limits=PoolLimits(idle_timeout=3), keepalive=None)
    assert pickle.loads(pickle.dumps(policy)) == policy
    assert pickle.loads(pickle.dumps(PolicyError("a", 1, "b"))).setting == "a"


def test_none_switches_a_limit_off() -> None:
    assert PoolLimits(idle_timeout=None, max_age=None, max_uses=None).max_age is None


def test_a_deadline_that_a_single_wait_could_use_up_is_refused() -> None:
    with pytest.raises(PolicyError, match=r"^deadline=1: must be longer than base_delay \(1\.5\)"):
        RetryPolicy(deadline=1, base_delay=1.5)
    assert RetryPolicy(deadline=0.11).deadline == 0.11


def test_a_longest_wait_that_is_shorter_than_the_first_is_refused() -> None:
    with pytest.raises(PolicyError, match=r"^max_delay=2\.0: must be base_delay \(3\) or more"):
        RetryPolicy(base_delay=3)


@pytest.mark.parametrize("statuses", [[503], (503,), {503}, frozenset({503}), [503, 503], {503: "x"}])
def test_statuses_may_come_in_any_collection(statuses: Any) -> None:
    assert RetryPolicy(statuses=statuses).statuses == frozenset({503})


def test_nought_and_none_switch_things_off() -> None:
    policy = RetryPolicy(reconnect=0, budget=None, deadline=None, max_retry_after=0)
    assert (policy.reconnect, policy.budget) == (0, None)
    assert RetryBudget(ratio=0, per_second=0).ratio == 0
    assert Policy(log_interval=None).log_interval is None


def test_every_setting_of_a_retry_policy_pickles_and_compares() -> None:
    policy = Policy(
        retry=RetryPolicy(attempts=5, statuses=frozenset({429, 503}), deadline=9, budget=RetryBudget(most=3))
    )
    again = pickle.loads(pickle.dumps(policy))
    assert again == policy
    assert again != Policy()
    assert hash(again) == hash(policy)


def test_a_clock_for_tests_fits_in() -> None:
    clock = FakeClock()
    policy = Policy(clock=clock, sleep=clock.sleep)
    policy.sleep(3)
    assert policy.clock() == 1_003
    assert policy == Policy(clock=clock, sleep=clock.sleep)
