"""Errors that holdfast itself raises. What is wrong use is raised at once, before anything is changed.

    HoldfastError
    ├── PolicyError (ValueError)         a setting has a value that makes no sense
    ├── KnowledgeError (ValueError)      an imported document of learned limits is not one
    ├── NotWrappableError (TypeError)    the target is of a kind that cannot be wrapped
    ├── WrapConflictError (ValueError)   the target is closed, or wrapped by another policy
    ├── StrayAnswerError (ConnectionError)   what came is not the answer; only as a cause
    └── PoolError                        a SocketPool cannot do what it was asked
        ├── AcquireTimeoutError (TimeoutError)  no connection came free in time
        ├── TooManyWaitingError          as many are waiting already as may
        ├── PoolClosedError              the pool is closed, or drains
        ├── LeaseError                   a lease is used after its release, twice, or by another thread
        └── ConnectError (ConnectionError)  no address could be connected to
            └── PortsExhaustedError      this host has no local port left for that address

Failures of wrapped clients are not here: they keep raising the exceptions of the library that is
wrapped, and :func:`holdfast.report` explains them. ``StrayAnswerError`` stands where the library has the
error of the socket. What a leased socket raises is its own as well.
"""

from __future__ import annotations

__all__ = [
    "AcquireTimeoutError",
    "ConnectError",
    "HoldfastError",
    "KnowledgeError",
    "LeaseError",
    "NotWrappableError",
    "PolicyError",
    "PoolClosedError",
    "PoolError",
    "PortsExhaustedError",
    "StrayAnswerError",
    "TooManyWaitingError",
    "WrapConflictError",
]


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


class KnowledgeError(HoldfastError, ValueError):
    """A document of learned limits is not one. Says where in it, and the rule; nothing was taken over."""

    def __init__(self, where: str, rule: str) -> None:
        super().__init__(where, rule)
        self.where = where
        self.rule = rule

    def __str__(self) -> str:
        return f"{self.where}: {self.rule}"


class NotWrappableError(HoldfastError, TypeError):
    """The target of :func:`holdfast.wrap` is of a kind that cannot be wrapped."""


class WrapConflictError(HoldfastError, ValueError):
    """The target is closed, or is wrapped already by another policy."""


class StrayAnswerError(HoldfastError, ConnectionError):
    """Bytes came that left the peer before it had the request, so they do not answer it."""


class PoolError(HoldfastError):
    """A :class:`holdfast.SocketPool` cannot do what it was asked. Nothing was sent."""


class AcquireTimeoutError(PoolError, TimeoutError):
    """No connection came free, or could be opened, within the time given."""


class TooManyWaitingError(PoolError):
    """``max_waiting`` callers wait already. Waiting behind them would only take longer."""


class PoolClosedError(PoolError):
    """The pool is closed, or drains."""


class LeaseError(PoolError):
    """A lease is used after its release, released twice, or used by another thread."""


class ConnectError(PoolError, ConnectionError):
    """No address could be connected to. The errors, one for each address tried, are in ``errors``."""

    def __init__(self, message: str, errors: tuple[Exception, ...] = ()) -> None:
        super().__init__(message)
        self.errors = errors


class PortsExhaustedError(ConnectError):
    """No local port is left for the address (EADDRNOTAVAIL): too many connections to it
    were opened and closed within the last minute or two, and their ports rest in TIME_WAIT."""
