"""Connections of pools whose policy has an HTTP heartbeat. The others know nothing of it, and pay nothing.

A connection under TLS within TLS has none (its streams cannot be watched), nor has a stand-in without a
descriptor.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from urllib3.connection import HTTPConnection
from urllib3.util.request import SKIP_HEADER

from holdfast._core.http_heartbeat import Place, place_of
from holdfast.adapters.urllib3._connection import ResilientConnection
from holdfast.adapters.urllib3._context import PoolContext
from holdfast.adapters.urllib3._heart import Heart
from holdfast.adapters.urllib3._record import ConnectionRecord, Tunnel
from holdfast.vocabulary import CloseReason

__all__ = ["BeatingConnection", "BeatingRecord"]


class BeatingRecord(ConnectionRecord):
    __slots__ = ("heart", "home", "said")

    def __init__(self, context: PoolContext, conn: HTTPConnection, origin: str) -> None:
        self.heart: Heart | None = None
        """Of the present socket; None if it has none."""
        self.home: Place | None = None
        """Where requests go that do not say; None if the socket leads to a forward proxy."""
        self.said: Place | None = None
        """What the last request said of it."""
        super().__init__(context, conn, origin)

    def __del__(self) -> None:
        heart = getattr(self, "heart", None)
        if heart is not None:
            heart.stop()
        super().__del__()

    @property
    def is_open(self) -> bool:
        return self.sock is not None and (self.heart is None or not self.heart.over)

    def _take(self, conn: HTTPConnection, *, uses: int) -> None:
        super()._take(conn, uses=uses)
        self.home = _home_of(conn, self.tunnel)
        heartbeat, parked, look, tap = self.context.policy.heartbeat, self.parked, self.look, self.tap
        if heartbeat is not None and parked is not None and look is not None and tap is not None:
            self.heart = Heart(conn, self, heartbeat, parked, look, tap)

    @property
    def place(self) -> Place | None:
        """Where the last request went, and the next beat goes."""
        return self.said or self.home

    def goes(self, url: str, headers: Mapping[Any, Any] | None) -> None:
        """A request goes out."""
        host = authorization = None
        for name, value in () if headers is None else headers.items():
            key = _text(name).lower()
            if key == "host" and value != SKIP_HEADER:
                host = _text(value)
            elif key == "proxy-authorization":
                authorization = _text(value)
        self.said = place_of(url or "/", host, authorization)

    def lie_down(self) -> bool:
        if not super().lie_down():
            return False
        if self.heart is not None:
            self.heart.rest()
        return True

    def get_up(self, reason: CloseReason = CloseReason.HEARTBEAT_UNDER_WAY) -> bool:
        """False as well if its beat is under way: then its socket must be left to that."""
        heart = self.heart
        if heart is None:
            return super().get_up()
        self.at_rest = False
        if heart.take():
            return True
        self._leave_to(heart, reason)
        return False

    def let_go(self) -> bool:
        """It goes on unwatched. False if its beat is under way."""
        heart = self.heart
        if heart is None or not self.at_rest:
            return True
        heart.stop()
        if heart.take():
            # Given back at once, as it came: another thread may be about to lend it.
            reason = heart.give_back()
            if reason is not None:
                heart.close(reason)
            if reason in (None, CloseReason.HEARTBEAT_UNDER_WAY):
                return True  # or that thread has come for it, and goes without it
        self._leave_to(heart, CloseReason.CLOSED_LOCALLY)
        return False

    def leave_alone(self) -> None:
        heart, self.heart = self.heart, None
        super().leave_alone()
        if heart is not None:
            heart.stop()

    def _died(self) -> None:
        if self.heart is None or not self.heart.survives():
            super()._died()

    def _leave_to(self, heart: Heart, reason: CloseReason) -> None:
        """It is the watcher's, which then has closed it when this goes on, or its beat's."""
        self.leave_alone()
        if self.sock is not heart.sock:
            return
        if self.pid != os.getpid():
            heart.close_copy()
            reason = CloseReason.FORKED
        heart.tell(reason)
        self.sock = self.look = self.tap = None


class BeatingConnection(ResilientConnection):
    _holdfast: BeatingRecord

    @property
    def is_connected(self) -> bool:
        self._get_up(CloseReason.HEARTBEAT_UNDER_WAY)
        return super().is_connected

    def request(  # type: ignore[override]
        self,
        method: str,
        url: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        if not self._get_up(CloseReason.HEARTBEAT_UNDER_WAY):
            self.close()  # somebody took it out of the pool past the look
        self._holdfast.goes(url, headers)
        super().request(method, url, body, headers, **options)

    def close(self) -> None:
        self._get_up(CloseReason.CLOSED_LOCALLY)
        super().close()

    def let_go(self) -> None:
        sock = self.sock
        if not self._holdfast.let_go():
            self._leave(sock)
        super().let_go()

    def _get_up(self, reason: CloseReason) -> bool:
        """Takes it from where it rests, or leaves its socket there."""
        sock = self.sock
        if not self._holdfast.at_rest or self._holdfast.get_up(reason):
            return True
        self._leave(sock)
        return False

    def _leave(self, sock: Any) -> None:
        # It is compared because of unwrap(), which goes through the pool while others lend from it: the
        # connection may have opened another one.
        if self.sock is sock:
            self.sock = None


def _home_of(conn: Any, tunnel: Tunnel | None) -> Place | None:
    """What http.client says as the host, where nobody says otherwise. A forward proxy has none."""
    if tunnel is None and conn.proxy is not None:
        return None
    host, port = (conn.host, conn.port) if tunnel is None else (tunnel.host, tunnel.port)
    host = host.strip("[]").partition("%")[0]
    host = f"[{host}]" if ":" in host else host
    return place_of("/", host if port in (None, conn.default_port) else f"{host}:{port}")


def _text(value: Any) -> str:
    return value.decode("iso-8859-1") if isinstance(value, bytes) else str(value)
