"""Errors that holdfast itself raises; those about settings and targets at once, before anything is changed.

    HoldfastError
    ├── PolicyError (ValueError)         a setting has a value that makes no sense
    ├── NotWrappableError (TypeError)    the target is of a kind that cannot be wrapped
    ├── WrapConflictError (ValueError)   the target is closed, or wrapped by another policy
    └── StrayAnswerError (ConnectionError)   what came is not the answer; only as a cause

Failures of connections are not here: a wrapped client keeps raising the exceptions of the
library that is wrapped, and :func:`holdfast.report` explains them. ``StrayAnswerError`` stands where
the library has the error of the socket.
"""

from __future__ import annotations

__all__ = ["HoldfastError", "NotWrappableError", "PolicyError", "StrayAnswerError", "WrapConflictError"]


class HoldfastError(Exception):
    """Parent of all errors that holdfast raises."""


class PolicyError(HoldfastError, ValueError):
    """A setting has a value that makes no sense. Names the setting, the value and the rule."""

    def __init__(self, setting: str, value: object, rule: str) -> None:
        super().__init__(setting, value, rule)
        self.setting = setting
        self.value = value
        self.rule = rule

    def __str__(self) -> str:
        return f"{self.setting}={self.value!r}: {self.rule}"


class NotWrappableError(HoldfastError, TypeError):
    """The target of :func:`holdfast.wrap` is of a kind that cannot be wrapped."""


class WrapConflictError(HoldfastError, ValueError):
    """The target is closed, or is wrapped already by another policy."""


class StrayAnswerError(HoldfastError, ConnectionError):
    """Bytes came that left the peer before it had the request, so they do not answer it."""
