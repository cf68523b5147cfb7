"""What is known about one connection object, through all the sockets it opens in turn."""

from __future__ import annotations

import http.client
import math
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
from holdfast._net.tcp_info import idle_for
from holdfast._net.tcp_keepalive import apply_keepalive, read_keepalive, sooner
from holdfast._threads.origins import Origin, Rest
from holdfast._threads.parking import Parked
from holdfast._threads.weak import weakly
from holdfast.adapters._swap import swap
from holdfast.adapters.urllib3._context import Count, PoolContext
from holdfast.adapters.urllib3._exchange import Exchange
from holdfast.adapters.urllib3._foresight import why_doubted
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
        "known",
        "longest_silence",
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
        "rested",
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
        self.known: Origin = context.origins.of(origin)
        """Whose knowledge it adds to and is judged by: of the socket it opened last, at its address."""
        self.rested: Rest | None = None
        """How it lay before the request under way, if that was long enough to tell something."""
        self.longest_silence = math.inf
        """Seconds after which TCP keepalive breaks the silence of its socket."""
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
        self.known = self.context.origins.of(_name_of(self.origin, conn))
        self.rested = None
        if self.context.limits.learn:
            self.entry.last_use = min(self.entry.last_use, self.known.use_limit)
        self.parked = self._watched(conn.sock)
        self.pid = os.getpid()
        keepalive = self.context.policy.keepalive
        if keepalive is not None:
            # So that the way to the peer is never silent for as long as it may be.
            keepalive = sooner(keepalive, self.known.flow_limit)
            taken = [(option[0], option[1]) for option in conn.socket_options or ()]
            apply_keepalive(conn.sock, keepalive, taken)
        in_effect = read_keepalive(conn.sock)
        self.longest_silence = math.inf if in_effect is None else in_effect.longest_silence
        self.context.note_keepalive(in_effect)

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
        entry = self.entry
        self._was_ended()
        entry.doom(self.why_dead(self.sock) or CloseReason.PEER_CLOSED)
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

    def hand_over(self) -> Entry:
        """The socket is somebody else's from now on, who will count its end."""
        self.leave_alone()
        self.sock = self.look = self.tap = None
        return self.entry

    def _died(self) -> None:
        """In the watcher's thread, and nobody else has it: whoever wants it waits in ``get_up``. The
        connection object stays as it is, for it is not ours to change here."""
        sock, parked = self.sock, self.parked
        if sock is None or parked is None:
            return
        entry = self.entry
        self._was_ended()
        reason = self.why_dead(sock) or CloseReason.PEER_CLOSED
        entry.doom(reason)
        parked.forget()
        self.sock = self.look = self.tap = None
        sock.close()
        self.context.closed(self.origin, entry, reason)

    def _was_ended(self) -> None:
        """By its peer, just now, as it lay idle."""
        now = self.context.clock()
        idle = idle_for(self.sock, now - self.entry.idle_since)
        self.known.peer_closed(Rest(idle, min(idle, self.longest_silence)), self.entry.uses, now)

    # -- may it be lent

    def why_not_lend(self, sock: Any) -> CloseReason | None:
        """Limits first, they are cheaper; then one look at the socket. What lay idle for long, or keeps
        bad company, is asked about."""
        if self.pid != os.getpid():
            return CloseReason.FORKED
        now, entry, known = self.context.clock(), self.entry, self.known
        reason = reuse.why_not_reuse(entry, self.context.limits, now)
        if reason is not None:
            return reason
        reason, idle = self.why_dead(sock), now - entry.idle_since
        if reason is not None:
            if reason is not CloseReason.STRAY_BYTES:
                known.found_dead(idle, entry.uses, now)
            return reason
        if idle < known.carefree and idle < entry.unsafe_allowance and entry.idle_since > known.suspect:
            return None
        return why_doubted(self, sock, idle, now)

    def stood_the_rest(self) -> None:
        """An answer came, after it had lain for long."""
        rested, self.rested = self.rested, None
        if rested is not None:
            self.known.answered(rested, self.entry.uses, self.context.clock())

    def why_dead(self, sock: Any) -> CloseReason | None:
        if self.look is None or sock is not self.sock:
            # Somebody exchanged the socket under the connection.
            self.sock, self.look = sock, Look(sock)
        sight = self.look()
        return None if sight is Sight.QUIET else REASON.get(sight)

    def kept(self) -> float:
        """Seconds that its peer is known to keep an idle connection."""
        return self.known.keeps(self.entry.idle_since) if self.context.limits.learn else 0.0

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
            reuse.heard(self.entry, terms, self.context.limits, self.kept())


def _name_of(origin: str, conn: Any) -> str:
    """One name may stand for several servers, and a proxy has limits of its own."""
    proxy = "" if conn.proxy is None else f" via {conn.proxy.host}:{conn.proxy.port}"
    return f"{origin}{proxy}{_address_of(conn.sock)}"


def _address_of(sock: Any) -> str:
    try:
        peer = sock.getpeername()
    except (AttributeError, OSError):
        return ""  # a stand-in
    if isinstance(peer, (str, bytes)):
        # Of a unix socket, where the name of the host says nothing. Any byte may be in it.
        return f" at {peer!a}"
    return f" at {peer[0]}" if isinstance(peer, tuple) and peer else ""


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
