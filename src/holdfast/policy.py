"""All settings. Frozen, keyword-only, in seconds, and checked where they are made.

The defaults are meant to be good enough that most users never build a :class:`Policy`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from holdfast.errors import PolicyError
from holdfast.events import Event

__all__ = ["Heartbeat", "Policy", "PoolLimits", "RetryPolicy", "TcpKeepalive"]


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
class Heartbeat:
    """A message of the application's own protocol that shows an idle connection to be of use.

    Unlike TCP keepalive it passes balancers and proxies that work above TCP, and it reaches the
    process behind the kernel. Either ``send`` and ``expect``, or ``call``. Ready-made ones for
    Redis, memcached, PostgreSQL, SMTP and length-prefixed frames are in
    :mod:`holdfast.adapters.sockets.heartbeats`.

    A beat is sent once and not again while it is unanswered: TCP delivers the first or nothing. So a
    dead peer is found within ``interval * (misses + 1) + timeout`` seconds of its last sign of life.
    """

    send: bytes | None = None
    """Bytes to send."""

    expect: bytes | Callable[[bytes], bool] | None = None
    """The answer: these bytes exactly, or a function of all bytes received so far that returns True
    when they are the whole answer, False while more has to come, and raises ``ValueError`` when
    they are no answer. It runs in the watcher's thread: it must be quick."""

    call: Callable[[Any], object] | None = None
    """A function of the socket that does the exchange itself, with ``timeout`` set on the socket,
    in a small pool of worker threads. Raising, or returning ``False``, is a failure."""

    interval: float = 15.0
    """Seconds a connection lies idle before it is asked. Default 15: twice within the shortest
    idle limits that are common (30 to 60 seconds)."""

    jitter: float = 0.1
    """Fraction (0 to 1) by which each connection's interval is shortened at random. Default 0.1:
    connections opened together are not all asked together."""

    timeout: float = 2.0
    """Seconds to wait for the whole answer. Default 2: above the initial retransmission (1 s), so
    that one lost packet is not taken for a death. No longer than ``interval``."""

    misses: int = 0
    """How often the answer may be late, by ``interval`` each time, before the connection is given up.
    Default 0. Meanwhile it is not lent, and it is given up at once if somebody waits for its place."""

    def __post_init__(self) -> None:
        for setting in ("interval", "timeout"):
            _require_seconds(setting, getattr(self, setting))
        _require_fraction("jitter", self.jitter)
        _require_count("misses", self.misses, least=0)
        if self.timeout > self.interval:
            rule = f"must not be longer than interval={self.interval!r}: beats would overlap"
            raise PolicyError("timeout", self.timeout, rule)
        self._check_form()

    def _check_form(self) -> None:
        if self.call is not None:
            if not callable(self.call):
                raise PolicyError("call", self.call, "must be callable, and take the socket")
            if self.send is not None or self.expect is not None:
                raise PolicyError("call", self.call, "stands alone: send and expect must not be given")
            return
        _require_bytes("send", self.send, "or give call")
        if not callable(self.expect):
            _require_bytes("expect", self.expect, "or a callable")


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """When holdfast itself repeats a request whose connection failed.

    This is *recovery*: it repairs the pool's own mistake, a stale connection that was reused. It
    happens once, at once, on a fresh connection, even with ``retries=False``, and only where
    repeating is safe (RFC 9110 §9.2.2). Everything else is left to the caller's
    ``urllib3.Retry``.
    """

    recovery: bool = True
    """Repair stale reuse. Default on."""

    repeat_incomplete: bool = False
    """Also repeat a non-idempotent request whose last byte was never handed to the kernel, so
    that the peer cannot hold all of it. Default off: a server may act on a part of a body."""

    def __post_init__(self) -> None:
        _require_bool("recovery", self.recovery)
        _require_bool("repeat_incomplete", self.repeat_incomplete)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Everything :func:`holdfast.wrap` can be told."""

    limits: PoolLimits = field(default_factory=PoolLimits)
    keepalive: TcpKeepalive | None = field(default_factory=TcpKeepalive)
    """``None`` leaves the sockets' options alone."""
    heartbeat: Heartbeat | None = None
    """Used by :class:`holdfast.SocketPool` on idle connections; wrapped HTTP clients have none."""
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    listener: Callable[[Event], None] | None = None
    """Called with every event of :mod:`holdfast.events`, in the thread that caused it, with no
    lock held. What it raises is logged and dropped. Must be picklable if a wrapped
    ``requests.Session`` is to be pickled."""
    clock: Callable[[], float] = time.monotonic
    """Seconds, never going back. For tests: ``holdfast.testing.FakeClock``."""

    def __deepcopy__(self, memo: object) -> Policy:
        """A policy never changes, and its listener is somebody's: a copied session shares it."""
        return self

    def __post_init__(self) -> None:
        _require_instance("limits", self.limits, PoolLimits)
        if self.keepalive is not None:
            _require_instance("keepalive", self.keepalive, TcpKeepalive)
        if self.heartbeat is not None:
            _require_instance("heartbeat", self.heartbeat, Heartbeat)
        _require_instance("retry", self.retry, RetryPolicy)
        if self.listener is not None and not callable(self.listener):
            raise PolicyError("listener", self.listener, "must be callable or None")
        if not callable(self.clock):
            raise PolicyError("clock", self.clock, "must be callable and return seconds")


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


def _require_count(setting: str, value: object, *, least: int = 1) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise PolicyError(setting, value, f"must be a whole number, {least} or more")


def _require_fraction(setting: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise PolicyError(setting, value, "must be a fraction from 0 to 1")


def _require_bool(setting: str, value: object) -> None:
    if not isinstance(value, bool):
        raise PolicyError(setting, value, "must be True or False")


def _require_bytes(setting: str, value: object, alternative: str) -> None:
    if not isinstance(value, bytes) or not value:
        raise PolicyError(setting, value, f"must be bytes, at least one; {alternative}")


def _require_instance(setting: str, value: object, kind: type) -> None:
    if not isinstance(value, kind):
        raise PolicyError(setting, value, f"must be a {kind.__name__}")
