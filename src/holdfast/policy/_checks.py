"""Refusing a setting that makes no sense, where it is made: its name, its value, the rule."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

from holdfast.errors import PolicyError

__all__ = [
    "as_statuses",
    "require_at_least",
    "require_bool",
    "require_bytes",
    "require_count",
    "require_fraction",
    "require_instance",
    "require_number",
    "require_seconds",
]


def require_seconds(setting: str, value: object, *, optional: bool = False, zero: bool = False) -> None:
    if value is None and optional:
        return
    rule = "must be a finite number of seconds, " + ("0 or more" if zero else "more than 0")
    if optional:
        rule += ", or None for no limit"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise PolicyError(setting, value, rule)
    if not math.isfinite(value) or value < 0 or (value == 0 and not zero):
        raise PolicyError(setting, value, rule)


def require_at_least(setting: str, value: float | None, least: float, why: str) -> None:
    if value is not None and value < least:
        raise PolicyError(setting, value, f"must be at least {least:g}: {why}")


def require_count(setting: str, value: object, *, least: int = 1, most: int | None = None) -> None:
    if (
        isinstance(value, bool)
        or not isinstance(value, int)
        or value < least
        or (most is not None and value > most)
    ):
        upper = "or more" if most is None else f"to {most}"
        raise PolicyError(setting, value, f"must be a whole number, {least} {upper}")


def require_number(setting: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise PolicyError(setting, value, "must be a finite number, 0 or more")


def as_statuses(setting: str, value: Any) -> frozenset[int]:
    """Any collection of them; final statuses that speak of a failure."""
    rule = "must be a collection of HTTP statuses from 400 to 599"
    if isinstance(value, (str, bytes)) or not isinstance(value, Collection):
        raise PolicyError(setting, value, rule)
    for status in value:
        if isinstance(status, bool) or not isinstance(status, int) or not 400 <= status <= 599:  # noqa: PLR2004 - RFC 9110 §15.5 and §15.6
            raise PolicyError(setting, value, rule)
    return frozenset(value)


def require_fraction(setting: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise PolicyError(setting, value, "must be a fraction from 0 to 1")


def require_bool(setting: str, value: object) -> None:
    if not isinstance(value, bool):
        raise PolicyError(setting, value, "must be True or False")


def require_bytes(setting: str, value: object, alternative: str) -> None:
    if not isinstance(value, bytes) or not value:
        raise PolicyError(setting, value, f"must be bytes, at least one; {alternative}")


def require_instance(setting: str, value: object, kind: type) -> None:
    if not isinstance(value, kind):
        raise PolicyError(setting, value, f"must be a {kind.__name__}")
