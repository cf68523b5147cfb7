"""A "no" with the numbers in it, and what to try."""

from __future__ import annotations

from holdfast._core.actions import WhyRefused
from holdfast._core.pool import PoolCore
from holdfast._core.pool_entry import State
from holdfast._core.pool_sizes import PoolSizes
from holdfast.errors import (
    AcquireTimeoutError,
    PolicyError,
    PoolClosedError,
    PoolError,
    TooManyWaitingError,
)

__all__ = ["check_timeout", "refusal", "timed_out"]


def check_timeout(timeout: object, setting: str = "timeout", *, zero: bool = True) -> None:
    if timeout is None:
        return
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not timeout >= 0:
        raise PolicyError(setting, timeout, "must be a number of seconds, 0 or more, or None")
    if timeout == 0 and not zero:
        raise PolicyError(setting, timeout, "must be more than 0 seconds, or None")


def refusal(name: str, why: WhyRefused, core: PoolCore, sizes: PoolSizes) -> PoolError:
    if why is WhyRefused.TOO_MANY_WAITING:
        return TooManyWaitingError(
            f"{name}: max_waiting={sizes.max_waiting} wait already. {_numbers(core, sizes)};"
            " release sooner, raise maxsize, or send less"
        )
    return PoolClosedError(f"{name}: {why.value}")


def timed_out(name: str, timeout: float | None, core: PoolCore, sizes: PoolSizes) -> PoolError:
    return AcquireTimeoutError(
        f"{name}: no connection came free within {timeout or 0:g} s. {_numbers(core, sizes)};"
        " release sooner, or raise maxsize"
    )


def _numbers(core: PoolCore, sizes: PoolSizes) -> str:
    states = [entry.state for entry in list(core.everything)]
    checked = states.count(State.CHECKING) + states.count(State.DOUBTED)
    return (
        f"Of maxsize={sizes.maxsize}, {states.count(State.LEASED)} are leased,"
        f" {states.count(State.OPENING)} opening, {states.count(State.IDLE)} idle,"
        f" {checked} being checked; {len(core.waiting)} others wait"
    )
