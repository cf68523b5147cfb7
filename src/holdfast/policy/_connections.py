"""How long a connection is kept, and how it is kept alive."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from holdfast.errors import PolicyError
from holdfast.policy._checks import (
    require_at_least,
    require_bool,
    require_bytes,
    require_count,
    require_fraction,
    require_instance,
    require_seconds,
)
from holdfast.policy._requests import HttpRequest

__all__ = ["Heartbeat", "PoolLimits", "TcpKeepalive"]

SHORTEST_PROBE = 1.0
"""Seconds. What TCP_KEEPIDLE can be set to at the least (man 7 tcp)."""


@dataclass(frozen=True, kw_only=True)
class Heartbeat:
    """A message of the application's own protocol that shows an idle connection to be of use.

    Unlike TCP keepalive it passes balancers and proxies that work above TCP, and it reaches the
    process behind the kernel. For a :class:`~holdfast.SocketPool` either ``send`` and ``expect``, or
    ``call``; ready-made ones for Redis, memcached, PostgreSQL, SMTP and length-prefixed frames are in
    :mod:`holdfast.adapters.sockets.heartbeats`. For wrapped HTTP clients: :meth:`http`.

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

    request: HttpRequest | None = None
    """An HTTP request; :meth:`http` makes it."""

    interval: float = 15.0
    """Seconds a connection lies idle before it is asked. Default 15: twice within the shortest
    idle limits that are common (30 to 60 seconds)."""

    jitter: float = 0.1
    """Fraction (0 to 1) by which each connection's interval is shortened at random. Default 0.1:
    connections opened together are not all asked together."""

    timeout: float = 2.0
    """Seconds to wait for the whole answer. Default 2: above the initial retransmission (1 s), so
    that one lost packet is not taken for a death. No longer than ``interval``, but for an HTTP request:
    there the interval begins with the answer."""

    misses: int = 0
    """How often the answer may be late, by ``interval`` each time, before the connection is given up.
    Default 0. Meanwhile it is not lent, and it is given up at once if somebody waits for its place."""

    def __post_init__(self) -> None:
        for setting in ("interval", "timeout"):
            require_seconds(setting, getattr(self, setting))
        require_fraction("jitter", self.jitter)
        require_count("misses", self.misses, least=0)
        if self.timeout > self.interval and self.request is None:
            rule = f"must not be longer than interval={self.interval!r}: beats would overlap"
            raise PolicyError("timeout", self.timeout, rule)
        self._check_form()

    @classmethod
    def http(
        cls,
        method: str,
        target: str,
        *,
        interval: float = 15.0,
        jitter: float = 0.1,
        timeout: float = 2.0,
        headers: Mapping[str, str] | None = None,
    ) -> Heartbeat:
        """A request of our own on each idle connection of a wrapped HTTP client, every ``interval``
        seconds: for balancers and servers whose idle timer only bytes reset. For example
        ``Heartbeat.http("HEAD", "/healthz", interval=20)``.

        ``method``: GET, HEAD or OPTIONS, for it is sent without anybody asking. ``target``: the path,
        with query if need be; ``"*"`` for OPTIONS. ``headers``: sent besides Host and User-Agent
        (``holdfast``), which they may replace.

        Any status below 500 is an answer, but 408, with which a server takes leave; and 501. One that is late
        (``timeout``, for the whole of it), longer than 64 KiB, or followed by other bytes costs the
        connection, and so does one that says that it is the last. The idle time of a connection that
        answered begins anew: it then lasts until ``PoolLimits.max_age``.

        Raises :class:`~holdfast.PolicyError` for any other method, target or header.
        """
        request = HttpRequest.of(method, target, headers)
        return cls(request=request, interval=interval, jitter=jitter, timeout=timeout)

    def _check_form(self) -> None:
        if self.request is not None:
            self._check_http()
            return
        if self.call is not None:
            if not callable(self.call):
                raise PolicyError("call", self.call, "must be callable, and take the socket")
            if self.send is not None or self.expect is not None:
                raise PolicyError("call", self.call, "stands alone: send and expect must not be given")
            return
        require_bytes("send", self.send, "or give call")
        if not callable(self.expect):
            require_bytes("expect", self.expect, "or a callable")

    def _check_http(self) -> None:
        require_instance("request", self.request, HttpRequest)
        if any(one is not None for one in (self.send, self.expect, self.call)):
            raise PolicyError(
                "request", self.request, "stands alone: send, expect and call must not be given"
            )
        if self.misses:
            rule = "must be 0 with a request: a connection that owes an answer cannot be lent"
            raise PolicyError("misses", self.misses, rule)


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
    time to get there. No server measured closes before its hint, so one second is ample. Once it was
    seen when the peer really hangs up (``learn``), safe requests undercut it by 0.05 at the most, and what was
    learned besides; a request that must not be executed twice keeps it all."""

    ask_keep_alive: bool = True
    """Send ``Connection: keep-alive`` with requests that have no ``Connection`` header of their
    own. Default on: Tomcat and httpd tell their limits only to those who ask, and HTTP/1.1 servers
    that do not know it ignore it. Switch it off where the exact set of headers matters."""

    learn: bool = True
    """Learn from each origin when it hangs up, and stay below that. Default on: what is learned is
    only ever a reason to reuse less than was configured and announced. What this process knows is in
    :func:`holdfast.learned`."""

    park: bool = True
    """Keep one connection of each origin open when it has reached what was learned, or what the peer
    announced and was not yet seen to keep, never to be lent: it shows at no risk when the peer really hangs
    up, and so when the limit has changed. Default on: at most one for each origin and 64 in a process, each
    for a few times the limit."""

    probe_after: float | None = 10.0
    """Seconds a connection lies idle after which the peer's kernel is asked, before it is lent, whether it
    still knows it: one round trip, not a byte of the application (Linux). At least 1, because a kernel
    sends no probe sooner. What is learned about an origin lowers or lifts it. Default 10: a tenth of a
    second once in ten is no price for never meeting a connection that a firewall has forgotten.
    ``None`` switches it off."""

    probe_unsafe_after: float | None = 1.0
    """The same before a request that must not be executed twice. Where nobody can be asked (not
    Linux), such a request goes out on a new connection. Default 1: a round trip is what a new one
    costs at the least."""

    def __post_init__(self) -> None:
        for setting in ("ask_keep_alive", "learn", "park"):
            require_bool(setting, getattr(self, setting))
        for setting in ("probe_after", "probe_unsafe_after"):
            require_seconds(setting, getattr(self, setting), optional=True)
            require_at_least(
                setting, getattr(self, setting), SHORTEST_PROBE, "a kernel sends no probe sooner"
            )
        require_seconds("idle_timeout", self.idle_timeout, optional=True)
        require_seconds("max_age", self.max_age, optional=True)
        require_seconds("keep_alive_margin", self.keep_alive_margin, zero=True)
        require_fraction("max_age_jitter", self.max_age_jitter)
        if self.max_uses is not None:
            require_count("max_uses", self.max_uses)


@dataclass(frozen=True, kw_only=True)
class TcpKeepalive:
    """The kernel's keepalive probes (man 7 tcp), one setting for Linux, macOS and Windows.

    With the defaults a peer that vanished is noticed after 30 + 3 * 10 = 60 seconds, and a
    firewall or NAT that forgets idle flows after 60 seconds or more (Azure 240, AWS 350) never
    sees an idle one. Probes carry no data: they do not reset the idle timer of a balancer that
    works at the HTTP level, which is what ``PoolLimits.idle_timeout`` and ``Heartbeat.http`` are for.

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
        require_count("idle", self.idle)
        require_count("interval", self.interval)
        require_count("count", self.count)
        require_seconds("user_timeout", self.user_timeout, optional=True)
