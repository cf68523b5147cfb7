from __future__ import annotations

import math
import pickle
from typing import Any

import pytest

from holdfast import Policy, PolicyError, PoolLimits, RetryPolicy, TcpKeepalive


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
        (Policy, "limits", None),
        (Policy, "keepalive", True),
        (Policy, "retry", 3),
        (Policy, "listener", "print"),
        (Policy, "clock", 17.0),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_with_setting_value_and_rule(
    make: Any, setting: str, value: object
) -> None:
    with pytest.raises(PolicyError) as caught:
        make(**{setting: value})
    assert isinstance(caught.value, ValueError)
    assert str(caught.value).startswith(f"{setting}={value!r}: must be ")


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
