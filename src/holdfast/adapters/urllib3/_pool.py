"""Pools and managers: connections are made resilient as they come, and judged as they go back."""

from __future__ import annotations

import logging
import sys
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import UnrewindableBodyError
from urllib3.response import BaseHTTPResponse
from urllib3.util.retry import Retry

from holdfast._core.idempotency import is_replayable
from holdfast._core.reuse import why_used_up
from holdfast._net.deadline import Deadline
from holdfast._threads.options import current_options
from holdfast.adapters._swap import rebuilt, swap
from holdfast.adapters.urllib3._beating import BeatingConnection, BeatingRecord
from holdfast.adapters.urllib3._caller import Call, in_progress
from holdfast.adapters.urllib3._connection import ResilientConnection
from holdfast.adapters.urllib3._context import PoolContext
from holdfast.adapters.urllib3._governed import governed
from holdfast.adapters.urllib3._judging import NotToBeRepeated
from holdfast.adapters.urllib3._record import ConnectionRecord
from holdfast.adapters.urllib3._translating import as_urlopen_raises
from holdfast.policy import RequestOptions
from holdfast.vocabulary import CloseReason

__all__ = ["ResilientManager", "ResilientPool", "adopt", "is_being_read", "origin_of"]


# Bound here: tools that record traffic put others in their place for a while.
_HTTP, _HTTPS = HTTPConnection, HTTPSConnection
_MAKERS = (urllib3.HTTPConnectionPool._new_conn, urllib3.HTTPSConnectionPool._new_conn)

log = logging.getLogger("holdfast.urllib3")


class ResilientPool(urllib3.HTTPConnectionPool):
    """Goes in front of the class of a wrapped pool."""

    _holdfast: PoolContext

    # In each, what super() names is looked up first: unwrap() may exchange the class meanwhile.

    def _new_conn(self) -> Any:
        make = super()._new_conn
        conn = make()
        if type(conn) in (_HTTP, _HTTPS) and make.__func__ in _MAKERS and _is_http_1(conn):  # type: ignore[attr-defined]
            return rebuilt(_note(self, conn), _mixin_for(conn))
        return adopt(self, conn)

    def _get_conn(self, timeout: float | None = None) -> Any:
        get, call = super()._get_conn, in_progress.call
        conn = get(timeout)
        if call is None or not call.is_choosy:
            return conn
        call.is_choosy = False
        return self._new_conn() if _leave_to_others(self, conn) else conn

    def close(self) -> None:
        close = super().close
        self._holdfast.give_up_outposts()
        close()

    def _put_conn(self, conn: Any) -> None:
        put = super()._put_conn
        put(None if conn is None else _settle(self, conn))

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
        proceed, outer = super().urlopen, in_progress.call
        call, options, context = Call(self, method, url, retries), current_options.get(), self._holdfast
        if options is not None or context.governs:
            retries = self._govern(call, options)
        if call.is_repeat:
            if outer is not None and outer.pool is self:
                call.go_on_from(outer)
            if not _can_be_resent(body) and call.has_sent():
                raise UnrewindableBodyError(
                    "The request body is an iterator that an earlier attempt has begun to read. "
                    "Sending the rest of it would look like the whole to the server."
                ) from call.last_error
        in_progress.call = call
        try:
            return proceed(method, url, body, headers, retries, *args, **kwargs)
        except NotToBeRepeated as stop:
            error = as_urlopen_raises(stop, call)
        finally:
            in_progress.call = outer
        # What urllib3 raises where its Retry does not apply.
        raise error

    def _govern(self, call: Call, options: RequestOptions | None) -> Retry:
        """Notes what was said about this request, and holds the caller's Retry to it."""
        context = self._holdfast
        call.is_governed = call.is_special = True
        call.options = options
        seconds = context.deadline if options is None or options.deadline is None else options.deadline
        if seconds is not None:
            call.deadline = Deadline(seconds, context.clock)
        call.first_retry = call.retry
        call.retries = held = governed(call.retry)
        return held


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
    try:
        swap(_note(pool, conn), _mixin_for(conn))
    except TypeError as error:
        del conn._holdfast
        log.warning("%s cannot be given another class and goes on as it is: %s", type(conn).__name__, error)
    return conn


def is_being_read(conn: Any) -> bool:
    """http.client's own note of a response that has not come to its end."""
    response = getattr(conn, "_HTTPConnection__response", None)
    return response is not None and not response.isclosed()


def origin_of(pool: Any) -> str:
    port = pool.port or pool.ConnectionCls.default_port
    return f"{pool.scheme}://{pool.host}:{port}"


def _note(pool: Any, conn: Any) -> Any:
    beats = pool._holdfast.policy.heartbeat is not None
    conn._holdfast = (BeatingRecord if beats else ConnectionRecord)(pool._holdfast, conn, origin_of(pool))
    return conn


def _mixin_for(noted: Any) -> type[ResilientConnection]:
    return BeatingConnection if isinstance(noted._holdfast, BeatingRecord) else ResilientConnection


def _is_http_1(conn: Any) -> bool:
    """HTTP/2 (opt-in in urllib3) frames and multiplexes by itself; others are no http.client."""
    http2 = sys.modules.get("urllib3.http2.connection")
    if http2 is not None and isinstance(conn, http2.HTTP2Connection):
        return False
    # Stubs of tools that record traffic derive from it, but were never made into one.
    return issubclass(type(conn), _HTTP) and "sock" in vars(conn)


def _settle(pool: ResilientPool, conn: Any) -> Any:
    """What goes back into the pool: the connection, closed where it must not be used again, or
    nothing where its response is still being read."""
    if not isinstance(conn, ResilientConnection):
        busy, conn = is_being_read(conn), adopt(pool, conn)
        if isinstance(conn, ResilientConnection):
            conn._holdfast.entry.busy = busy
    if not isinstance(conn, ResilientConnection) or conn.sock is None:
        return conn
    entry = conn._holdfast.entry
    if entry.busy:
        conn.hand_to_response()
        return None
    if entry.doomed is not None or entry.uses >= entry.last_use:
        entry.doom(why_used_up(pool._holdfast.limits))
        conn.close()
    elif not conn._holdfast.lie_down():
        conn.close()
    return conn


def _leave_to_others(pool: Any, conn: Any) -> bool:
    """Lays a connection back, into a place that is free, and keeps its own for a new one. False: there is
    no other place, so it is closed, to be opened anew."""
    queue = pool.pool
    if queue is not None:
        # Under the queue's lock, so that no place is lost or won.
        with queue.mutex:
            # The last one: connections are lent from the end, and a free place there is a new connection.
            others = list(queue.queue)
            free = max((place for place, other in enumerate(others) if other is None), default=None)
            if free is not None and conn._holdfast.lie_down():
                queue.queue[free] = conn
                return True
    conn._holdfast.entry.doom(CloseReason.DOUBTFUL)
    conn.close()
    return False


def _can_be_resent(body: Any) -> bool:
    """urllib3 rewinds files by itself, and has its own error where that fails."""
    return is_replayable(body) or hasattr(body, "tell")
