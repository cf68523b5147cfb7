"""What is sent again, when, and how often."""

from __future__ import annotations

from dataclasses import dataclass, field

from holdfast.errors import PolicyError
from holdfast.policy._checks import (
    as_statuses,
    require_bool,
    require_count,
    require_instance,
    require_number,
    require_seconds,
)

__all__ = ["RequestOptions", "RetryBudget", "RetryPolicy"]


@dataclass(frozen=True, kw_only=True)
class RequestOptions:
    """What :func:`holdfast.request_options` says about the requests inside its block."""

    idempotent: bool | None = None
    repeat: bool = True
    deadline: float | None = None

    def __post_init__(self) -> None:
        if self.idempotent is not None:
            require_bool("idempotent", self.idempotent)
        require_bool("repeat", self.repeat)
        require_seconds("deadline", self.deadline, optional=True)


@dataclass(frozen=True, kw_only=True)
class RetryBudget:
    """What all repeats of one pool together may add to its load; see ``RetryPolicy.budget``."""

    ratio: float = 0.2
    """Repeats that each request pays for. Default 0.2: a fifth of extra load, as Finagle and Envoy
    have it. 0 is allowed."""

    per_second: float = 10.0
    """Repeats per second that are free. Default 10, as Finagle has it: a pool with few requests could
    otherwise repeat none. 0 is allowed."""

    most: float = 20.0
    """Repeats that can be saved up, which is also what a new pool begins with. Default 20: some
    dozen threads can begin to try again at once."""

    def __post_init__(self) -> None:
        require_number("ratio", self.ratio)
        require_number("per_second", self.per_second)
        require_number("most", self.most)
        if self.most < 1:
            raise PolicyError("most", self.most, "must be 1 or more, or no repeat is ever allowed")


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """When holdfast itself repeats a request whose connection failed.

    *Recovery* repairs the pool's own mistake, a stale connection that was reused: once, at once, on a
    fresh connection, whatever the caller's ``urllib3.Retry`` says. *Retries* are for everything else:
    after a wait, within limits, and only where the caller has no ``Retry`` of his own that grants
    any. Neither repeats what may have been executed and is not known to be idempotent (RFC 9110
    §9.2.2).
    """

    recovery: bool = True
    """Repair stale reuse. Default on."""

    peer_closed_first: bool = True
    """Take a request of any method for not executed if the kernel's evidence says that the peer had
    hung up before a byte of it arrived, and repeat it. Default on (Linux only). Switch it off if
    there are peers or middleboxes of the kind that docs/explanation/how-far.md names as limits."""

    repeat_incomplete: bool = False
    """Also repeat a non-idempotent request whose last byte was never handed to the kernel, so
    that the peer cannot hold all of it. Default off: a server may act on a part of a body."""

    attempts: int = 3
    """How often one request may be sent, the first time counted. Default 3: a request that fails on
    two new connections in a row would fail on a fourth, and may be what makes the server crash. 1 leaves
    recovery, which is no retry. At the most 100.
    Connections that could not be opened do not count, for nothing was sent; see ``reconnect``."""

    base_delay: float = 0.1
    """Seconds before the second attempt at the most; doubled each time, and a random share of it is
    waited (full jitter). Default 0.1."""

    max_delay: float = 2.0
    """Seconds that a wait is at the most. Default 2."""

    reconnect: float = 5.0
    """Seconds for which a connection that is refused, or whose name cannot be resolved, is tried
    again. Default 5: the restart of a server, which no caller need notice. 0 switches it off. They run
    from the first failure that any request of the pool has met, and are shortened to the caller's
    connect timeout."""

    deadline: float | None = None
    """Seconds for all attempts at one request together, waits included; each timeout is shortened to
    what is left. Ends when the answer is handed over; a body that the caller reads himself is read at
    his pace. Default ``None``: how long an answer may take is the caller's to say."""

    budget: RetryBudget | None = field(default_factory=RetryBudget)
    """Shared by all requests of a pool, so that a server in trouble is not given more of it. A
    recovery takes nothing from it. ``None``: no budget."""

    statuses: frozenset[int] = frozenset()
    """Statuses after which a safe request is repeated as well (503, say). Default none: a status is an
    answer. ``Retry-After`` is obeyed."""

    max_retry_after: float = 60.0
    """Seconds of ``Retry-After`` that are waited at the most. If the server asks for more, its answer
    is handed over instead. Default 60."""

    add_idempotency_key: bool = False
    """Give requests that are not idempotent and have none an ``Idempotency-Key`` of their own, the same
    for all attempts. Default off: it is a promise that only the server can keep."""

    def __post_init__(self) -> None:
        for name in ("recovery", "peer_closed_first", "repeat_incomplete", "add_idempotency_key"):
            require_bool(name, getattr(self, name))
        require_count("attempts", self.attempts, most=100)
        require_seconds("base_delay", self.base_delay)
        require_seconds("max_delay", self.max_delay)
        require_seconds("reconnect", self.reconnect, zero=True)
        require_seconds("deadline", self.deadline, optional=True)
        require_seconds("max_retry_after", self.max_retry_after, zero=True)
        if self.max_delay < self.base_delay:
            raise PolicyError(
                "max_delay", self.max_delay, f"must be base_delay ({self.base_delay:g}) or more"
            )
        if self.deadline is not None and self.deadline <= self.base_delay:
            rule = f"must be longer than base_delay ({self.base_delay:g}), or a wait may use all of it"
            raise PolicyError("deadline", self.deadline, rule)
        if self.budget is not None:
            require_instance("budget", self.budget, RetryBudget)
        object.__setattr__(self, "statuses", as_statuses("statuses", self.statuses))
