"""The connection: what is handed over and what comes back, noted where phase and errno are known.

Above it urllib3 swallows EPIPE and ECONNRESET while sending and cannot tell a reused connection
from a fresh one.
"""

from __future__ import annotations

import errno
import http.client
import ssl
from collections.abc import Mapping
from operator import attrgetter
from typing import Any

from urllib3.exceptions import ProtocolError, SSLError
from urllib3.exceptions import TimeoutError as Urllib3TimeoutError
from urllib3.response import HTTPResponse

from holdfast._core.delivery import ATOMIC_SEND
from holdfast._core.idempotency import IDEMPOTENT_METHODS
from holdfast._net.deadline import DeadlineOverError
from holdfast._net.hurry import Hurry
from holdfast._net.tcp_info import ask, look_at_end
from holdfast.adapters._swap import swap_back
from holdfast.adapters.urllib3._caller import Call, in_progress
from holdfast.adapters.urllib3._context import Count
from holdfast.adapters.urllib3._exchange import Exchange
from holdfast.adapters.urllib3._faults import SALVAGED, is_failed_send
from holdfast.adapters.urllib3._foresight import keep_watch
from holdfast.adapters.urllib3._governed import keeps_answer
from holdfast.adapters.urllib3._judging import call_of, is_safe
from holdfast.adapters.urllib3._opening import OpeningConnection
from holdfast.adapters.urllib3._patience import Patience
from holdfast.adapters.urllib3._record import ConnectionRecord
from holdfast.adapters.urllib3._repeating import key_for
from holdfast.adapters.urllib3._streaming import follow_body
from holdfast.vocabulary import CloseReason, Evidence

__all__ = ["ResilientConnection"]

BAD_REQUEST = 400
_FAILURES = (OSError, http.client.HTTPException, ProtocolError, SSLError, Urllib3TimeoutError)


class ResilientConnection(OpeningConnection):
    """Goes in front of the connection class that the pool made, whichever it is."""

    _holdfast: ConnectionRecord

    # -- lending

    @property
    def is_connected(self) -> bool:
        """What urllib3 asks before it reuses a connection."""
        record, sock = self._holdfast, self.sock
        if record.context.released:
            self.let_go()
            return self.is_connected
        if sock is None or (record.at_rest and not record.get_up()):
            return False
        reason = record.why_not_lend(sock)
        if reason is None:
            return True
        if not keep_watch(record, self, reason):
            record.entry.doom(reason)
        return False

    def let_go(self) -> None:
        """It gets its own class back."""
        self._holdfast.leave_alone()
        swap_back(self)

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

    def close(self) -> None:
        if self.sock is not None:
            self._holdfast.closing()
        # What it held of the request (body, headers) must not stay with an idle connection.
        self._holdfast.exchange = self._holdfast.asked = None
        super().close()

    # -- sending

    def request(  # type: ignore[override]
        self,
        method: str,
        url: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        record, call = self._holdfast, in_progress.call
        if record.at_rest and not record.get_up():
            self.close()  # somebody took it out of the pool past the look
        record.exchange = exchange = Exchange(method, url, body, headers, options, self.timeout)
        try:
            if method not in IDEMPOTENT_METHODS or (call is not None and call.is_special):
                self._prepare(exchange, call_of(record))
        except DeadlineOverError as error:
            self._repeat_after(exchange, error)  # which raises, for there is no time
        self._transmit(exchange)

    def _prepare(self, exchange: Exchange, call: Call | None) -> None:
        """For a request that is not known to be safe, was sent before, or has options of its own."""
        if call is not None and call.deadline is not None:
            exchange.deadline = call.deadline
            call.deadline.check()
        adds_key = self._holdfast.context.policy.retry.add_idempotency_key
        if adds_key and not exchange.idempotent and not exchange.names_key:
            exchange.key = key_for(call)
        exchange.needs_proof = not is_safe(exchange, call)
        if self.sock is not None and (exchange.needs_proof or (call is not None and call.is_repeat)):
            self._take_care(exchange, call)

    def _take_care(self, exchange: Exchange, call: Call | None) -> None:
        """A pooled connection is about to carry a request that may not be repeated, or has been."""
        reason = None
        if call is not None and call.is_after_stale():
            # What else lies in the pool has waited at least as long as what was stale.
            reason = CloseReason.SUSPECT
        elif exchange.needs_proof:
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
            if not self._repeat_after(exchange, error):
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
            exchange.end = look_at_end(self.sock)
            if not is_failed_send(error):
                exchange.complete = True  # for all that is known
            elif exchange.sends == 0:
                exchange.failed_length = _length(data)
            raise
        exchange.sends += 1
        exchange.handed_over += len(data) if type(data) is bytes else _length(data)

    def _begin_sending(self, exchange: Exchange) -> None:
        if self.sock is None and self.auto_open:
            self.connect()
        context, entry = self._holdfast.context, self._holdfast.entry
        if entry.uses:
            exchange.reused, exchange.idle_since = True, entry.idle_since
            self._ask_kernel(exchange)
            if self._holdfast.rested:
                self._hurry(exchange)
        else:
            context.tally.count(Count.FIRST_USE)
        entry.uses += 1
        if exchange.deadline is not None:
            exchange.deadline.hurry(self.sock)
        for tick in context.ticks:
            tick()

    def _ask_kernel(self, exchange: Exchange) -> None:
        """What it says before the first byte of the request."""
        record = self._holdfast
        if record.tap is None:
            exchange.evidence = Evidence.UNKNOWN_HERE
            return
        raw = record.tap.raw
        # After a long rest it may have heard of its peer since.
        answer = (raw is not None and not record.rested and raw.told) or ask(self.sock)
        if answer is None:
            exchange.evidence = Evidence.UNKNOWN_HERE
        else:
            record.asked = (answer, exchange)

    def _hurry(self, exchange: Exchange) -> None:
        """After a long rest: if the way is gone, a safe request is better off on a new connection soon."""
        hurry = Hurry()
        if exchange.body is None and not exchange.needs_proof and hurry.begin(self.sock):
            exchange.hurry = hurry

    def _uncork(self, exchange: Exchange) -> None:
        held, exchange.cork = exchange.cork or [], None
        # No longer than what is taken whole or not at all, so that its failure stays a proof.
        together = b"".join(held)
        for data in [together] if len(together) <= ATOMIC_SEND else held:
            self.send(data)

    def endheaders(self, message_body: Any = None, *, encode_chunked: bool = False) -> None:
        record = self._holdfast
        exchange = record.exchange
        if exchange is not None and not exchange.names_connection and record.context.limits.ask_keep_alive:
            self._output(b"Connection: keep-alive")  # type: ignore[attr-defined]
        if exchange is not None and exchange.key is not None:
            self._output(b"Idempotency-Key: " + exchange.key.encode())  # type: ignore[attr-defined]
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
        while (response := self._await_answer(exchange, allowed)) is None:
            assert record.exchange is not None
            exchange = record.exchange
        if exchange.patience is not None or exchange.deadline is not None:
            self._give_time_back(exchange, allowed)
        if record.rested:
            record.stood_the_rest()
        if exchange.asks_close:
            record.entry.doom(CloseReason.CLIENT_ASKED)
        if isinstance(response, HTTPResponse):
            if exchange.response is None or exchange.response.may_say_terms:
                record.heard(response)
            if exchange.options.get("preload_content") is False:
                follow_body(response, record, exchange)
        record.exchange = None
        return response

    def _await_answer(self, exchange: Exchange, allowed: Any) -> HTTPResponse | None:
        """None: the request was sent again."""
        context = self._holdfast.context
        try:
            if exchange.deadline is not None:
                self.timeout = exchange.deadline.shorten(self.timeout)
            if exchange.hurry is not None:
                exchange.hurry.wait(self.timeout)
            response = super().getresponse()
        except _FAILURES as error:
            if not self._repeat_after(exchange, error, self._patience(exchange, allowed)):
                raise
            return None
        if response.status < BAD_REQUEST:
            return response
        named = response.status in context.statuses
        if named and self._repeats_after_status(exchange, response, self._patience(exchange, allowed)):
            return None
        call = call_of(self._holdfast)
        if call is not None and call.is_governed:
            call.keeps_answer = keeps_answer(call, response, context)
        return response

    def _patience(self, exchange: Exchange, allowed: Any) -> Patience:
        if exchange.patience is None:
            exchange.patience = Patience(allowed, exchange.began, self._holdfast.context.clock)
        return exchange.patience

    def _give_time_back(self, exchange: Exchange, allowed: Any) -> None:
        """The time until the answer was shared by all attempts; each read of its body has it whole."""
        self.timeout = allowed
        if self.sock is not None:
            self.sock.settimeout(allowed)
        if exchange.response is not None:
            exchange.response.take_your_time(allowed)


def _length(data: Any) -> int:
    """Of what is no bytes object (files, iterables) it is not known; then it is long."""
    return len(data) if isinstance(data, (bytes, bytearray)) else ATOMIC_SEND + 1
