"""All settings. Frozen, keyword-only, in seconds, and checked where they are made.

The defaults are meant to be good enough that most users never build a :class:`Policy`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from holdfast.errors import PolicyError
from holdfast.events import Event

__all__ = ["Policy", "PoolLimits", "RequestOptions", "RetryBudget", "RetryPolicy", "TcpKeepalive"]


@dataclass(frozen=True, kw_only=True)
class PoolLimits:
    """How long a pooled connection may be reused. ``None`` switches a limit off.

    The peer's own ``Keep-Alive: timeout=, max=`` is obeyed besides, whichever is smaller.
    """

    idle_timeout: float | None = 55.0
    """Seconds a connection may lie idle and still be reused. Default 55: most balancers hang up
    after 60 (AWS ALB and Classic ELB, nginx upstreams), and nothing is gained by racing them."""

    max_age: float | None = 1800.0
    """Seconds since connect after which a connection is no longer reused. Default 30 minutes, so
    that DNS changes and new backends are noticed; the reconnect costs nothing at that rate."""

    max_age_jitter: float = 0.1
    """Fraction (0 to 1) by which each connection's ``max_age`` is shortened at random. Default
    0.1: connections opened together do not all end together."""

    max_uses: int | None = None
    """Requests a connection may carry. Default ``None``: servers that count announce the last
    response themselves (``Connection: close``)."""

    keep_alive_margin: float = 1.0
    """Seconds by which the peer's ``Keep-Alive: timeout=`` is undercut, at the most half of it.
    Default 1: the peer's timer started before its last byte reached us, and our request needs
    time to get there. No server measured closes before its hint, so one second is ample."""

    ask_keep_alive: bool = True
    """Send ``Connection: keep-alive`` with requests that have no ``Connection`` header of their
    own. Default on: Tomcat and httpd tell their limits only to those who ask, and HTTP/1.1 servers
    that do not know it ignore it. Switch it off where the exact set of headers matters."""

    def __post_init__(self) -> None:
        _require_bool("ask_keep_alive", self.ask_keep_alive)
        _require_seconds("idle_timeout", self.idle_timeout, optional=True)
        _require_seconds("max_age", self.max_age, optional=True)
        _require_seconds("keep_alive_margin", self.keep_alive_margin, zero=True)
        _require_fraction("max_age_jitter", self.max_age_jitter)
        if self.max_uses is not None:
            _require_count("max_uses", self.max_uses)


@dataclass(frozen=True, kw_only=True)
class TcpKeepalive:
    """The kernel's keepalive probes (man 7 tcp), one setting for Linux, macOS and Windows.

    With the defaults a peer that vanished is noticed after 30 + 3 * 10 = 60 seconds, and a
    firewall or NAT that forgets idle flows after 60 seconds or more (Azure 240, AWS 350) never
    sees an idle one. Probes carry no data: they do not reset the idle timer of a balancer that
    works at the HTTP level, which is what ``PoolLimits.idle_timeout`` is for.

    Options that the pool's own ``socket_options`` set already are left as they are; so is
    whatever the platform does not have.
    """

    idle: int = 30
    """Seconds of silence before the first probe (TCP_KEEPIDLE; TCP_KEEPALIVE on macOS)."""

    interval: int = 10
    """Seconds between probes (TCP_KEEPINTVL)."""

    count: int = 3
    """Unanswered probes after which the connection is dropped (TCP_KEEPCNT)."""

    user_timeout: float | None = 60.0
    """Seconds that sent data may stay unacknowledged before the connection is dropped
    (TCP_USER_TIMEOUT, Linux; RFC 5482). Default 60 = idle + interval * count, because it also
    ends the probing and must not end it early. Without it Linux waits about 15 minutes. It never
    shortens the time a server may take to answer: a request that arrived is acknowledged."""

    def __post_init__(self) -> None:
        _require_count("idle", self.idle)
        _require_count("interval", self.interval)
        _require_count("count", self.count)
        _require_seconds("user_timeout", self.user_timeout, optional=True)


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
        _require_number("ratio", self.ratio)
        _require_number("per_second", self.per_second)
        _require_number("most", self.most)
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
            _require_bool(name, getattr(self, name))
        _require_count("attempts", self.attempts, most=100)
        _require_seconds("base_delay", self.base_delay)
        _require_seconds("max_delay", self.max_delay)
        _require_seconds("reconnect", self.reconnect, zero=True)
        _require_seconds("deadline", self.deadline, optional=True)
        _require_seconds("max_retry_after", self.max_retry_after, zero=True)
        if self.max_delay < self.base_delay:
            raise PolicyError(
                "max_delay", self.max_delay, f"must be base_delay ({self.base_delay:g}) or more"
            )
        if self.deadline is not None and self.deadline <= self.base_delay:
            rule = f"must be longer than base_delay ({self.base_delay:g}), or a wait may use all of it"
            raise PolicyError("deadline", self.deadline, rule)
        if self.budget is not None:
            _require_instance("budget", self.budget, RetryBudget)
        object.__setattr__(self, "statuses", _statuses(self.statuses))


@dataclass(frozen=True, kw_only=True)
class RequestOptions:
    """What :func:`holdfast.request_options` says about the requests inside its block."""

    idempotent: bool | None = None
    repeat: bool = True
    deadline: float | None = None

    def __post_init__(self) -> None:
        if self.idempotent is not None:
            _require_bool("idempotent", self.idempotent)
        _require_bool("repeat", self.repeat)
        _require_seconds("deadline", self.deadline, optional=True)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Everything :func:`holdfast.wrap` can be told."""

    limits: PoolLimits = field(default_factory=PoolLimits)
    keepalive: TcpKeepalive | None = field(default_factory=TcpKeepalive)
    """``None`` leaves the sockets' options alone."""
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    listener: Callable[[Event], None] | None = None
    """Called with every event of :mod:`holdfast.events`, in the thread that caused it, with no
    lock held. What it raises is logged and dropped. Must be picklable if a wrapped
    ``requests.Session`` is to be pickled."""
    accept_cut_heads: bool = False
    """Take the end of the connection for the end of a response head that has no empty line at its end,
    as http.client does. Default off: a head that may be cut is no answer (RFC 9112 §8). For servers
    that leave the line out."""
    log_interval: float | None = 60.0
    """Seconds within which failures of the same cause and origin are one line of the log
    (``holdfast.failures``), with their number. ``None`` switches these lines off."""
    clock: Callable[[], float] = time.monotonic
    """Seconds, never going back. For tests: ``holdfast.testing.FakeClock``."""
    sleep: Callable[[float], None] = time.sleep
    """Waits so many seconds before a retry. For tests: ``FakeClock().sleep``."""

    def __deepcopy__(self, memo: object) -> Policy:
        """A policy never changes, and its listener is somebody's: a copied session shares it."""
        return self

    def __post_init__(self) -> None:
        _require_instance("limits", self.limits, PoolLimits)
        if self.keepalive is not None:
            _require_instance("keepalive", self.keepalive, TcpKeepalive)
        _require_instance("retry", self.retry, RetryPolicy)
        if self.listener is not None and not callable(self.listener):
            raise PolicyError("listener", self.listener, "must be callable or None")
        _require_bool("accept_cut_heads", self.accept_cut_heads)
        _require_seconds("log_interval", self.log_interval, optional=True)
        if not callable(self.clock):
            raise PolicyError("clock", self.clock, "must be callable and return seconds")
        if not callable(self.sleep):
            raise PolicyError("sleep", self.sleep, "must be callable and take seconds")


def _require_seconds(setting: str, value: object, *, optional: bool = False, zero: bool = False) -> None:
    if value is None and optional:
        return
    rule = "must be a finite number of seconds, " + ("0 or more" if zero else "more than 0")
    if optional:
        rule += ", or None for no limit"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise PolicyError(setting, value, rule)
    if not math.isfinite(value) or value < 0 or (value == 0 and not zero):
        raise PolicyError(setting, value, rule)


def _require_count(setting: str, value: object, *, most: int | None = None) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1 or value > (most or value):
        rule = "must be a whole number, 1 or more" if most is None else f"must be a whole number, 1 to {most}"
        raise PolicyError(setting, value, rule)


def _require_number(setting: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise PolicyError(setting, value, "must be a finite number, 0 or more")


def _statuses(value: Any) -> frozenset[int]:
    """Any collection of them; final statuses that speak of a failure."""
    rule = "must be a collection of HTTP statuses from 400 to 599"
    if isinstance(value, (str, bytes)) or not isinstance(value, Collection):
        raise PolicyError("statuses", value, rule)
    for status in value:
        if isinstance(status, bool) or not isinstance(status, int) or not 400 <= status <= 599:  # noqa: PLR2004 - RFC 9110 §15.5 and §15.6
            raise PolicyError("statuses", value, rule)
    return frozenset(value)


def _require_fraction(setting: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise PolicyError(setting, value, "must be a fraction from 0 to 1")


def _require_bool(setting: str, value: object) -> None:
    if not isinstance(value, bool):
        raise PolicyError(setting, value, "must be True or False")


def _require_instance(setting: str, value: object, kind: type) -> None:
    if not isinstance(value, kind):
        raise PolicyError(setting, value, f"must be a {kind.__name__}")
