"""The connection, judged where phase and errno are still known.

Above it urllib3 swallows EPIPE and ECONNRESET while sending and cannot tell a reused connection
from a fresh one. Recovery happens inside ``getresponse()``, so it works for every client on top.
"""

from __future__ import annotations

import errno
import http.client
import ssl
from collections.abc import Callable, Mapping
from dataclasses import replace
from operator import attrgetter
from typing import Any

import urllib3.connection
from urllib3.exceptions import ProtocolError, SSLError
from urllib3.exceptions import TimeoutError as Urllib3TimeoutError
from urllib3.response import HTTPResponse

from holdfast._core.delivery import ATOMIC_SEND
from holdfast._core.failure import FailureReport
from holdfast._core.idempotency import IDEMPOTENT_METHODS
from holdfast._core.peer import HTTP_1_1
from holdfast.adapters._swap import swap_back
from holdfast.adapters.urllib3._caller import Call, in_progress
from holdfast.adapters.urllib3._context import Count
from holdfast.adapters.urllib3._exchange import Exchange
from holdfast.adapters.urllib3._faults import SALVAGED, attach, is_failed_send
from holdfast.adapters.urllib3._record import ConnectionRecord, tunnel_of
from holdfast.adapters.urllib3._streaming import follow_body
from holdfast.vocabulary import CloseReason, Phase, Verdict

__all__ = ["NotToBeRepeated", "ResilientConnection"]

_FAILURES = (OSError, http.client.HTTPException, ProtocolError, SSLError, Urllib3TimeoutError)


class NotToBeRepeated(Exception):  # noqa: N818 - it is no error, it carries one
    """Carries an error past ``Retry``: of a kind that ``urlopen`` does not catch, so that it gives
    the connection back and lets it through. ``ResilientPool.urlopen`` unpacks it."""

    def __init__(self, error: Exception, phase: Phase, patience: Patience | None) -> None:
        super().__init__(error)
        self.error = error
        self.phase = phase
        self.read_timeout = None if patience is None else patience.granted


class ResilientConnection(urllib3.connection.HTTPConnection):
    """Goes in front of the connection class that the pool made, whichever it is."""

    _holdfast: ConnectionRecord

    # -- lending

    @property
    def is_connected(self) -> bool:
        """What urllib3 asks before it reuses a connection."""
        record, sock = self._holdfast, self.sock
        if record.context.released:
            swap_back(self)
            return self.is_connected
        if sock is None:
            return False
        reason = record.why_not_lend(sock)
        if reason is None:
            return True
        record.entry.doom(reason)
        return False

    @property
    def has_connected_to_proxy(self) -> bool:
        """Also after close(): http.client closes before it raises, and urllib3 would then take a
        request that was lost on its way for a proxy that was never reached, and send it again."""
        return self._holdfast.reached_proxy or super().has_connected_to_proxy

    def hand_to_response(self) -> None:
        """Gives the socket up to a response that is still being read, which closes it at its end."""
        self._holdfast.entry.doom(CloseReason.UNREAD_RESPONSE)
        self._holdfast.closing()
        sock, self.sock = self.sock, None
        sock.close()

    # -- opening and closing

    def connect(self) -> None:
        record = self._holdfast
        record.opening = True
        record.reached_proxy = False
        record.tunnel = tunnel_of(self)
        try:
            super().connect()
        except Exception as error:
            record.connect_failed(error)
            raise
        finally:
            record.opening = False
        record.connected(self)

    def close(self) -> None:
        if self.sock is not None:
            self._holdfast.closing()
        # What it held of the request (body, headers) must not stay with an idle connection.
        self._holdfast.exchange = None
        super().close()

    def start_afresh(self) -> None:
        """Opens a new socket in place of one that cannot be trusted."""
        tunnel, exchange = self._holdfast.tunnel, self._holdfast.exchange
        self.close()
        self._holdfast.exchange = exchange
        if tunnel is not None:
            self.set_tunnel(*tunnel)
        self.connect()

    # -- sending

    def request(  # type: ignore[override]
        self,
        method: str,
        url: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        record = self._holdfast
        record.exchange = exchange = Exchange(method, url, body, headers, options, self.timeout)
        call = in_progress.call
        if self.sock is not None and (
            method not in IDEMPOTENT_METHODS or (call is not None and call.is_repeat)
        ):
            self._take_care(exchange, call)
        self._transmit(exchange)

    def _take_care(self, exchange: Exchange, call: Call | None) -> None:
        """A pooled connection is about to carry a request that may not be repeated, or has been."""
        reason = None
        if call is not None and call.is_after_stale():
            # What else lies in the pool has waited at least as long as what was stale.
            reason = CloseReason.SUSPECT
        elif not exchange.idempotent:
            # The pool looked before it lent the connection. A second look right before the first
            # byte makes the gap smaller, if not zero.
            reason = self._holdfast.why_dead(self.sock)
        if reason is not None and self._holdfast.entry.uses:
            self._holdfast.entry.doom(reason)
            self.start_afresh()

    def _transmit(self, exchange: Exchange) -> None:
        if exchange.body is not None and exchange.corkable and self._holdfast.sends_head_alone:
            exchange.cork = []
        try:
            super().request(
                exchange.method, exchange.url, exchange.body, exchange.headers, **exchange.options
            )
            if exchange.cork:
                self._uncork(exchange)
            exchange.complete = True
        except OSError as error:
            if error is not exchange.send_error:
                raise
            # An early answer may be readable, so getresponse() judges. urllib3 does the same with
            # EPIPE, and since 2.2 with ECONNRESET; before Python 3.13 a TLS send into a closed
            # connection raises SSLEOFError for them.
            if isinstance(error, ssl.SSLError) or error.errno in SALVAGED:
                return
            if not self._recover(exchange, error):
                raise

    def send(self, data: Any) -> None:
        record = self._holdfast
        exchange = record.exchange
        if exchange is None or record.opening:
            super().send(data)
            return
        if exchange.cork is not None:
            exchange.cork.append(data)
            return
        if exchange.sends == 0:
            self._begin_sending(exchange)
        elif self.sock is None:
            # http.client would connect again and send the rest to a server that has no head.
            exchange.send_error = ConnectionAbortedError(
                errno.ECONNABORTED, "Connection was closed while a request was being sent"
            )
            raise exchange.send_error
        try:
            super().send(data)
        except OSError as error:
            exchange.send_error = error
            if not is_failed_send(error):
                exchange.complete = True  # for all that is known
            elif exchange.sends == 0:
                exchange.failed_length = _length(data)
            raise
        exchange.sends += 1

    def _begin_sending(self, exchange: Exchange) -> None:
        if self.sock is None and self.auto_open:
            self.connect()
        context, entry = self._holdfast.context, self._holdfast.entry
        if entry.uses:
            exchange.reused, exchange.idle_since = True, entry.idle_since
        else:
            context.tally.count(Count.FIRST_USE)
        entry.uses += 1
        for tick in context.ticks:
            tick()

    def _uncork(self, exchange: Exchange) -> None:
        held, exchange.cork = exchange.cork or [], None
        # No longer than what is taken whole or not at all, so that its failure stays a proof.
        together = sum(map(len, held)) <= ATOMIC_SEND
        for data in [b"".join(held)] if together else held:
            self.send(data)

    def endheaders(self, message_body: Any = None, *, encode_chunked: bool = False) -> None:
        record = self._holdfast
        exchange = record.exchange
        if exchange is not None and not exchange.names_connection and record.context.limits.ask_keep_alive:
            self._output(b"Connection: keep-alive")  # type: ignore[attr-defined]
        super().endheaders(message_body, encode_chunked=encode_chunked)

    # -- receiving

    def _prefer_response_class(self, value: Any) -> None:
        self._holdfast.preferred_response_class = value

    response_class = property(  # pyright: ignore[reportAssignmentType] - what makes one, not a class
        attrgetter("_holdfast.make_response"), _prefer_response_class
    )
    """What http.client makes a response with. Others set it on the instance (botocore does);
    whatever they set is made, and then followed."""

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]
        record = self._holdfast
        exchange = record.exchange
        if exchange is None:
            return super().getresponse()
        allowed = self.timeout
        exchange.began = record.context.clock()
        try:
            response = super().getresponse()
        except _FAILURES as error:
            patience = Patience(allowed, exchange.began, record.context.clock)
            if not self._recover(exchange, error, patience):
                raise
            self.timeout = patience.left()
            response = self.getresponse()
            self._give_time_back(allowed)
            return response
        if exchange.asks_close:
            record.entry.doom(CloseReason.CLIENT_ASKED)
        if isinstance(response, HTTPResponse):
            headers = response.headers
            if "connection" in headers or "keep-alive" in headers or response.version != HTTP_1_1:
                record.heard(response)
            if exchange.options.get("preload_content") is False:
                follow_body(response, record, exchange)
        record.exchange = None
        return response

    def _give_time_back(self, allowed: Any) -> None:
        """The time until the answer was shared by two attempts; each read of its body has it whole."""
        self.timeout = allowed
        if self.sock is not None:
            self.sock.settimeout(allowed)

    # -- recovery

    def _recover(self, exchange: Exchange, error: Exception, patience: Patience | None = None) -> bool:
        """Repeats the request on a new connection if that is safe; False if it is not."""
        record = self._holdfast
        record.entry.doom(CloseReason.FAILED)
        report, danger = record.judge(exchange, error, time_is_up=patience is not None and patience.is_over())
        call = self._call_at_stake(report, error) if danger is not None else None
        if call is not None and _is_his_risk(call, report):
            report, call = replace(report, verdict=Verdict.LEFT_AT_HIS_RISK), None
        attach(error, report)
        record.context.decided(report)
        if not report.verdict.repeats:
            record.exchange = None
            if call is not None:
                raise NotToBeRepeated(error, report.phase, patience)
            return False
        timeout = exchange.connect_timeout
        self.timeout = timeout if patience is None else patience.at_most(timeout)
        record.exchange = exchange.again(report)
        self.start_afresh()
        self._transmit(record.exchange)
        return True

    def _call_at_stake(self, report: FailureReport, error: Exception) -> Call | None:
        """The call of our pool whose Retry would repeat what nobody may repeat."""
        call = in_progress.call
        if call is None or getattr(call.pool, "_holdfast", None) is not self._holdfast.context:
            return None  # nobody's, or a request within a request, past the pool
        return call if call.would_repeat(report.method or "", error) else None


class Patience:
    """Seconds the caller granted for the answer. What is left of them covers a repeat as well."""

    __slots__ = ("_clock", "_ends", "granted")

    # A timeout of 0 means non-blocking to a socket, which is not what "nearly over" means.
    _LEAST = 0.001

    def __init__(self, timeout: Any, began: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.granted = timeout
        self._ends = began + timeout if isinstance(timeout, (int, float)) else None

    def is_over(self) -> bool:
        return self._ends is not None and self._clock() >= self._ends

    def left(self) -> float | None:
        return None if self._ends is None else max(self._ends - self._clock(), self._LEAST)

    def at_most(self, timeout: Any) -> Any:
        left = self.left()
        if left is None:
            return timeout
        return min(timeout, left) if isinstance(timeout, (int, float)) else left


def _length(data: Any) -> int:
    """Of what is no bytes object (files, iterables) it is not known; then it is long."""
    return len(data) if isinstance(data, (bytes, bytearray)) else ATOMIC_SEND + 1


def _is_his_risk(call: Call, report: FailureReport) -> bool:
    """``Retry(allowed_methods=None)`` asks for everything to be repeated. It is obeyed where the
    pool is not to blame, on a fresh connection; but never for a body that cannot be resent."""
    return call.takes_any_method() and not report.reused and report.verdict is not Verdict.REFUSED_BODY
