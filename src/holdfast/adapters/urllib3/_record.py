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
from holdfast._core.peer import HTTP_1_1, read_terms
from holdfast._net.liveness import Look, Sight
from holdfast._net.reading import Tap
from holdfast._net.tcp_keepalive import apply_keepalive, read_keepalive
from holdfast._threads.parking import Parked
from holdfast._threads.weak import weakly
from holdfast.adapters._swap import swap
from holdfast.adapters.urllib3._context import Count, PoolContext
from holdfast.adapters.urllib3._exchange import Exchange
from holdfast.adapters.urllib3._response import ResilientResponse, resilient_response_class
from holdfast.vocabulary import CloseReason, Phase

__all__ = ["REASON", "ConnectionRecord", "Tunnel", "tunnel_of"]

# Bound here: tools that record traffic put another class in its place for a while.
_SEND_OUTPUT = http.client.HTTPConnection._send_output  # type: ignore[attr-defined]

REASON = {
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
        "__weakref__",
        "asked",
        "at_rest",
        "context",
        "entry",
        "exchange",
        "look",
        "opening",
        "origin",
        "parked",
        "phase",
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
        self.parked: Parked | None = None
        """Has the socket watched while it lies in the pool; None where it cannot be."""
        self.at_rest = False
        """It lies in the pool, so the watcher may close it."""
        self.pid = 0
        self.tunnel: Tunnel | None = None
        """close() forgets it; a repeat needs it again."""
        self.opening = False
        self.phase = Phase.CONNECT
        """What is being done while it is opening."""
        self.asked: tuple[bytes, Exchange] | None = None
        """TCP_INFO from before the request that is going out; for the stream its answer is read from."""
        self.reached_proxy = False
        self.exchange: Exchange | None = None
        if conn.sock is not None:
            self._adopt(conn)

    def __del__(self) -> None:
        parked = getattr(self, "parked", None)
        if parked is not None:
            parked.abandon()

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
        self.parked = self._watched(conn.sock)
        self.pid = os.getpid()
        keepalive = self.context.policy.keepalive
        if keepalive is not None:
            taken = [(option[0], option[1]) for option in conn.socket_options or ()]
            apply_keepalive(conn.sock, keepalive, taken)
        self.context.note_keepalive(read_keepalive(conn.sock))

    def closing(self) -> None:
        self.leave_alone()
        if self.sock is None:
            return  # it never came to be a connection (TLS or the tunnel failed), or it died at rest
        reason = CloseReason.CLOSED_LOCALLY if self.exchange is None else CloseReason.FAILED
        self.entry.doom(reason)
        self.context.closed(self.origin, self.entry, self.entry.doomed or reason)
        self.sock = self.look = self.tap = None

    @property
    def is_open(self) -> bool:
        """Its socket was not closed at rest."""
        return self.sock is not None

    # -- at rest, where the watcher has an eye on it

    def _watched(self, sock: Any) -> Parked | None:
        try:
            return Parked(sock.fileno(), weakly(self, type(self)._died))
        except (AttributeError, OSError, TypeError, ValueError):
            # A stand-in without a descriptor: ssh channels, named pipes, mocks. It is looked at
            # when it is lent, as all are.
            return None

    def lie_down(self) -> bool:
        """It goes into the pool. False if its peer has ended it already."""
        if self.parked is None:
            return True
        self.at_rest = True
        if self.parked.park():
            return True
        self.at_rest = False
        self.entry.doom(self.why_dead(self.sock) or CloseReason.PEER_CLOSED)
        return False

    def get_up(self) -> bool:
        """It is lent. False if it died at rest; then it is closed already."""
        self.at_rest = False
        if self.parked is None or self.parked.take():
            return True
        self.leave_alone()
        return False

    def leave_alone(self) -> None:
        """When this returns, the watcher is done with it."""
        parked, self.parked, self.at_rest = self.parked, None, False
        if parked is not None:
            parked.forget()

    def _died(self) -> None:
        """In the watcher's thread, and nobody else has it: whoever wants it waits in ``get_up``. The
        connection object stays as it is, for it is not ours to change here."""
        sock, parked = self.sock, self.parked
        if sock is None or parked is None:
            return
        reason = self.why_dead(sock) or CloseReason.PEER_CLOSED
        self.entry.doom(reason)
        parked.forget()
        self.sock = self.look = self.tap = None
        sock.close()
        self.context.closed(self.origin, self.entry, reason)

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
        return None if sight is Sight.QUIET else REASON.get(sight)

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
        followed._holdfast_raw = raw = None if tap is None else tap.raw
        if raw is not None:
            if self.asked is not None:
                raw.asked, self.asked = self.asked, None
            if self.exchange is not None and self.exchange.deadline is not None:
                raw.deadline = self.exchange.deadline
        followed._holdfast_context = self.context
        followed._holdfast_entry = entry = self.entry
        entry.busy = True
        if self.exchange is not None:
            self.exchange.response = followed
        return followed

    def heard(self, response: Any) -> None:
        """A response head came; perhaps it says something about the connection."""
        headers = response.headers
        if "connection" in headers or "keep-alive" in headers or response.version != HTTP_1_1:
            terms = read_terms(response.version, headers.get("connection"), headers.get("keep-alive"))
            reuse.heard(self.entry, terms, self.context.limits)


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
