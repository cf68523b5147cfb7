"""What is known about one connection object, through all the sockets it opens in turn."""

from __future__ import annotations

import http.client
import os
import random
from collections.abc import Mapping
from typing import Any, NamedTuple

from urllib3.connection import HTTPConnection

from holdfast._core import reuse
from holdfast._core.entry import Entry
from holdfast._core.failure import FailureReport, likely_cause
from holdfast._core.peer import read_terms
from holdfast._core.recovery import Attempt, decide, hazard
from holdfast._net.liveness import Look, Sight
from holdfast._net.reading import Tap
from holdfast._net.tcp_keepalive import apply_keepalive, read_keepalive
from holdfast.adapters._swap import swap
from holdfast.adapters.urllib3._caller import in_progress
from holdfast.adapters.urllib3._context import Count, PoolContext
from holdfast.adapters.urllib3._exchange import Exchange
from holdfast.adapters.urllib3._faults import attach, describe, is_disconnect, is_interruption, is_timeout
from holdfast.adapters.urllib3._response import ResilientResponse, resilient_response_class
from holdfast.adapters.urllib3._streaming import Origin
from holdfast.vocabulary import Cause, CloseReason, Phase, Progress, Verdict

__all__ = ["ConnectionRecord", "Tunnel", "tunnel_of"]

# Bound here: tools that record traffic put another class in its place for a while.
_SEND_OUTPUT = http.client.HTTPConnection._send_output  # type: ignore[attr-defined]

_REASON = {
    Sight.ENDED: CloseReason.PEER_CLOSED,
    Sight.RESET: CloseReason.PEER_RESET,
    Sight.BYTES: CloseReason.STRAY_BYTES,
}


class Tunnel(NamedTuple):
    """The arguments of set_tunnel()."""

    host: str
    port: int | None
    headers: Mapping[str, str] | None
    scheme: str


class ConnectionRecord:
    __slots__ = (
        "context",
        "entry",
        "exchange",
        "look",
        "opening",
        "origin",
        "pid",
        "plain_response_class",
        "preferred_response_class",
        "reached_proxy",
        "resilient_response_class",
        "sends_head_alone",
        "sock",
        "tap",
        "tunnel",
    )

    def __init__(self, context: PoolContext, conn: HTTPConnection, origin: str) -> None:
        self.context = context
        self.origin = origin
        self.plain_response_class: Any = type(conn).response_class
        self.resilient_response_class: Any = resilient_response_class(type(conn).response_class)
        self.preferred_response_class: Any = vars(conn).get("response_class")
        """What others have set on the connection (botocore, for 100-continue)."""
        # Not so botocore's: it sends the head itself and then waits for a 100.
        self.sends_head_alone: bool = (
            type(conn)._send_output is _SEND_OUTPUT  # type: ignore[attr-defined]
        )
        self.entry = Entry(context.clock())
        self.sock: Any = None
        """The socket that ``entry`` and ``look`` are about."""
        self.look: Look | None = None
        self.tap: Tap | None = None
        self.pid = 0
        self.tunnel: Tunnel | None = None
        """close() forgets it; a repeat needs it again."""
        self.opening = False
        self.reached_proxy = False
        self.exchange: Exchange | None = None
        if conn.sock is not None:
            self._adopt(conn)

    # -- the life of a socket

    def _adopt(self, conn: HTTPConnection) -> None:
        self.tunnel = tunnel_of(conn)
        self._take(conn, uses=1)
        self.reached_proxy = conn.has_connected_to_proxy
        self.context.tally.count(Count.ADOPTED)

    def connected(self, conn: HTTPConnection) -> None:
        self._take(conn, uses=0)
        self.reached_proxy = conn.proxy is not None
        self.context.opened(self.origin)

    def _take(self, conn: HTTPConnection, *, uses: int) -> None:
        self.entry = Entry(self.context.clock(), uses=uses)
        reuse.opened(self.entry, self.context.limits, jitter=random.random())  # noqa: S311 - spreads ages
        self.sock = conn.sock
        self.look = Look(conn.sock)
        self.tap = Tap.into(conn.sock)
        self.pid = os.getpid()
        keepalive = self.context.policy.keepalive
        if keepalive is not None:
            taken = [(option[0], option[1]) for option in conn.socket_options or ()]
            apply_keepalive(conn.sock, keepalive, taken)
        self.context.note_keepalive(read_keepalive(conn.sock))

    def closing(self) -> None:
        if self.sock is None:
            return  # it never came to be a connection: TLS or the tunnel failed
        reason = CloseReason.CLOSED_LOCALLY if self.exchange is None else CloseReason.FAILED
        self.entry.doom(reason)
        self.context.closed(self.origin, self.entry, self.entry.doomed or reason)
        self.sock = self.look = self.tap = None

    # -- may it be lent

    def why_not_lend(self, sock: Any) -> CloseReason | None:
        """Limits first, they are cheaper; then one look at the socket."""
        reason = reuse.why_not_reuse(self.entry, self.context.limits, self.context.clock())
        if reason is not None:
            return reason
        if self.pid != os.getpid():
            return CloseReason.FORKED
        return self.why_dead(sock)

    def why_dead(self, sock: Any) -> CloseReason | None:
        if self.look is None or sock is not self.sock:
            # Somebody exchanged the socket under the connection.
            self.sock, self.look = sock, Look(sock)
        sight = self.look()
        return None if sight is Sight.QUIET else _REASON.get(sight)

    # -- a response

    def make_response(self, sock: Any, *args: Any, **kwargs: Any) -> Any:
        """What http.client calls as ``response_class``."""
        if self.opening:
            return (self.preferred_response_class or self.plain_response_class)(sock, *args, **kwargs)
        tap = self.tap if sock is self.sock else None
        if self.preferred_response_class is None:
            response: Any = self.resilient_response_class(tap or sock, *args, **kwargs)
        else:
            response = self.preferred_response_class(tap or sock, *args, **kwargs)
            if not isinstance(response, http.client.HTTPResponse):
                return response
            swap(response, ResilientResponse)
        followed: Any = response
        followed._holdfast_raw = tap and tap.raw
        followed._holdfast_clock = self.context.clock
        followed._holdfast_entry = entry = self.entry
        entry.busy = True
        if self.exchange is not None:
            self.exchange.response = followed
        return followed

    def heard(self, response: Any) -> None:
        """A response head said something about the connection."""
        headers = response.headers
        terms = read_terms(response.version, headers.get("connection"), headers.get("keep-alive"))
        reuse.heard(self.entry, terms, self.context.limits)

    # -- a failure

    def judge(
        self, exchange: Exchange, error: BaseException, *, time_is_up: bool
    ) -> tuple[FailureReport, Verdict | None]:
        """The verdict, in a report; and why nobody else may repeat the request either. Brings the
        body back to its start where the request is to be repeated."""
        exchange.note_response()
        policy = self.context.policy.retry
        attempt = self._attempt(exchange, error, time_is_up=time_is_up)
        danger = hazard(attempt, policy)
        verdict = decide(attempt, policy)
        if verdict.repeats and not exchange.rewind():
            danger = verdict = Verdict.REFUSED_BODY
        return self._report(exchange, attempt, verdict, error), danger

    def _attempt(self, exchange: Exchange, error: BaseException, *, time_is_up: bool) -> Attempt:
        call = in_progress.call
        return Attempt(
            progress=exchange.progress,
            reused=exchange.reused,
            safe=exchange.idempotent or (call is not None and call.vouches_for(exchange.method)),
            replayable=exchange.replayable,
            timed_out=time_is_up or is_timeout(error),
            interrupted=is_interruption(error),
            recovered=exchange.earlier is not None,
            caller_covers=call is not None and call.covers(exchange.method),
        )

    def _report(
        self, exchange: Exchange, attempt: Attempt, verdict: Verdict, error: BaseException
    ) -> FailureReport:
        cause = likely_cause(
            attempt.progress,
            phase=exchange.phase,
            reused=attempt.reused,
            timed_out=attempt.timed_out,
            disconnected=is_disconnect(error),
        )
        return FailureReport(
            origin=self.origin,
            method=exchange.method,
            phase=exchange.phase,
            progress=attempt.progress,
            verdict=verdict,
            cause=cause,
            reused=attempt.reused,
            age=self.context.clock() - self.entry.opened_at,
            idle=exchange.idle(self.context.clock()),
            uses=max(0, self.entry.uses - 1),
            keep_alive_timeout=self.entry.terms.idle_timeout,
            error=describe(error),
            earlier=exchange.earlier,
        )

    def body_failed(self, origin: Origin, error: Exception) -> None:
        """A body that the caller was reading broke off. He has seen a part of it."""
        report = FailureReport(
            origin=self.origin,
            method=origin.method,
            phase=Phase.BODY,
            progress=Progress.RESPONSE_STARTED,
            verdict=Verdict.REFUSED_RESPONSE_STARTED,
            cause=likely_cause(
                Progress.RESPONSE_STARTED,
                phase=Phase.BODY,
                reused=origin.reused,
                timed_out=is_timeout(error),
                disconnected=is_disconnect(error),
            ),
            reused=origin.reused,
            age=self.context.clock() - origin.entry.opened_at,
            idle=origin.idle,
            uses=max(0, origin.entry.uses - 1),
            keep_alive_timeout=origin.entry.terms.idle_timeout,
            error=describe(error),
        )
        attach(error, report)
        self.context.decided(report)

    def connect_failed(self, error: Exception) -> None:
        """Nothing was sent, so whoever retries may do so freely."""
        call, exchange = in_progress.call, self.exchange
        report = FailureReport(
            origin=self.origin,
            method=None if call is None else call.method,
            phase=Phase.CONNECT,
            progress=Progress.NOT_SENT,
            verdict=Verdict.LEFT_UNSENT,
            cause=Cause.NOT_REACHED,
            reused=False,
            age=0.0,
            idle=0.0,
            uses=0,
            keep_alive_timeout=None,
            error=describe(error),
            earlier=None if exchange is None else exchange.earlier,
        )
        attach(error, report)
        self.context.decided(report)


def tunnel_of(conn: Any) -> Tunnel | None:
    """What a connection was told with set_tunnel(), before close() forgets it."""
    if conn._tunnel_host is None:
        return None
    return Tunnel(
        conn._tunnel_host,
        conn._tunnel_port,
        dict(conn._tunnel_headers),
        conn._tunnel_scheme or "http",
    )
