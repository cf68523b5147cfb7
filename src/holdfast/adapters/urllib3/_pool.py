"""Pools and managers: connections are made resilient as they come, and judged as they go back."""

from __future__ import annotations

import http.client
import ssl
import sys
from typing import Any

import urllib3
import urllib3.connection
from urllib3.exceptions import ProtocolError, ReadTimeoutError, SSLError, UnrewindableBodyError
from urllib3.response import BaseHTTPResponse

from holdfast._core.idempotency import is_replayable
from holdfast.adapters._swap import rebuilt, swap
from holdfast.adapters.urllib3._caller import Call, in_progress
from holdfast.adapters.urllib3._connection import NotToBeRepeated, ResilientConnection
from holdfast.adapters.urllib3._context import PoolContext
from holdfast.adapters.urllib3._record import ConnectionRecord
from holdfast.vocabulary import CloseReason

__all__ = ["ResilientManager", "ResilientPool", "adopt"]


_PLAIN = (urllib3.connection.HTTPConnection, urllib3.connection.HTTPSConnection)


class ResilientPool(urllib3.HTTPConnectionPool):
    """Goes in front of the class of a wrapped pool."""

    _holdfast: PoolContext

    def _new_conn(self) -> Any:
        return adopt(self, super()._new_conn())

    def _put_conn(self, conn: Any) -> None:
        if conn is not None:
            conn = _settle(self, conn)
        super()._put_conn(conn)

    def urlopen(  # type: ignore[override]
        self,
        method: str,
        url: str,
        body: Any = None,
        headers: Any = None,
        retries: Any = None,
        *args: Any,
        **kwargs: Any,
    ) -> BaseHTTPResponse:
        outer = in_progress.call
        call = Call(self, method, url, retries)
        if call.is_repeat and not _can_be_resent(body) and call.has_sent():
            raise UnrewindableBodyError(
                "The request body is an iterator that an earlier attempt has begun to read. "
                "Sending the rest of it would look like the whole to the server."
            ) from call.last_error
        in_progress.call = call
        try:
            return super().urlopen(method, url, body, headers, retries, *args, **kwargs)
        except NotToBeRepeated as stop:
            error = _as_urlopen_raises(stop.error, call)
        finally:
            in_progress.call = outer
        # What urllib3 raises where its Retry does not apply.
        raise error


class ResilientManager(urllib3.PoolManager):
    """Goes in front of the class of a wrapped manager."""

    _holdfast: PoolContext

    def _new_pool(self, *args: Any, **kwargs: Any) -> urllib3.HTTPConnectionPool:
        pool = super()._new_pool(*args, **kwargs)
        # Whoever registers a pool class of another make keeps it.
        if isinstance(pool, urllib3.HTTPConnectionPool) and not isinstance(pool, ResilientPool):  # type: ignore[redundant-expr]
            pool._holdfast = self._holdfast.child()  # type: ignore[attr-defined]
            swap(pool, ResilientPool)
        return pool


def adopt(pool: Any, conn: Any) -> Any:
    """Makes a connection of this pool resilient, if it is of a kind that can be."""
    if isinstance(conn, ResilientConnection) or not _is_http_1(conn):
        return conn
    origin = f"{pool.scheme}://{pool.host}:{pool.port or conn.default_port}"
    conn._holdfast = ConnectionRecord(pool._holdfast, conn, origin)
    if conn.sock is None and type(conn) in _PLAIN:
        return rebuilt(conn, ResilientConnection)
    swap(conn, ResilientConnection)
    return conn


def _is_http_1(conn: Any) -> bool:
    """HTTP/2 (opt-in in urllib3) frames and multiplexes by itself; others are no http.client."""
    http2 = sys.modules.get("urllib3.http2.connection")
    if http2 is not None and isinstance(conn, http2.HTTP2Connection):
        return False
    return isinstance(conn, urllib3.connection.HTTPConnection)


def _settle(pool: ResilientPool, conn: Any) -> Any:
    """What goes back into the pool: the connection, closed where it must not be used again, or
    nothing where its response is still being read."""
    if not isinstance(conn, ResilientConnection):
        conn = adopt(pool, conn)
    if not isinstance(conn, ResilientConnection) or conn.sock is None:
        return conn
    entry = conn._holdfast.entry
    if entry.busy:
        conn.hand_to_response()
        return None
    if entry.doomed is not None or entry.uses >= entry.last_use:
        entry.doom(CloseReason.MAX_USES)
        conn.close()
    return conn


def _can_be_resent(body: Any) -> bool:
    """urllib3 rewinds files by itself, and has its own error where that fails."""
    return is_replayable(body) or hasattr(body, "tell")


def _as_urlopen_raises(error: Exception, call: Call) -> Exception:
    """As ``urlopen`` translates what came from the connection."""
    if isinstance(error, ssl.SSLError):
        return _caused_by(error, SSLError(error))
    if isinstance(error, TimeoutError) and error.errno is None:
        return _caused_by(error, ReadTimeoutError(call.pool, call.url, "Read timed out."))
    if isinstance(error, (OSError, http.client.HTTPException)):
        return _caused_by(error, ProtocolError("Connection aborted.", error))
    return error


def _caused_by(cause: Exception, error: Exception) -> Exception:
    error.__cause__ = cause
    return error
