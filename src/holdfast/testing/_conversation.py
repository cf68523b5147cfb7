"""One connection's story: its requests, and the fault that meets each of them.

What a fault does is a *deed*, a method here; the table at the end says which. A deed answers with how the
connection ends, or None when it goes on.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar

from holdfast.testing._http import BadRequest, ClientLeft, Request, RequestReader, Response, render
from holdfast.testing._loopback import PATIENCE
from holdfast.testing._service import Service
from holdfast.testing._settling import Settling
from holdfast.testing._wire import Ending, Wire
from holdfast.testing.faults import Fault, FaultServerError, Plan, Via
from holdfast.testing.ledger import Execution, Ledger

__all__ = ["AS_REQUEST_LEAVES", "STRAY_BODY", "Conversation"]

STRAY_BODY = b"nobody asked for this"

_STRAY = render(Response(body=STRAY_BODY), to="GET")
_IDLE_408 = render(Response(408, {"Connection": "close"}, b"nobody asked in time"), to="GET")
_BAD_REQUEST = render(Response(400, {"Connection": "close"}), to="GET")
_NO_TUNNEL_HERE = render(Response(405, {"Connection": "close"}), to="GET")
_TUNNEL_OPEN = b"HTTP/1.1 200 Connection established\r\n\r\n"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_CUT_LENGTH = 1000
_HALF = b"x" * (_CUT_LENGTH // 2)
_CUTS: Mapping[Fault, bytes] = {
    Fault.CUT_STATUS_LINE: b"HTTP/1.1 2",
    Fault.CUT_HEAD: b"HTTP/1.1 200 OK\r\nServer: holdfast\r\nContent-Le",
    Fault.CUT_BODY: b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % _CUT_LENGTH + _HALF,
    Fault.CUT_CHUNK: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % _CUT_LENGTH + _HALF,
}

# A well-formed record header, so that the client decrypts what follows and finds it damaged. Plain
# garbage would look like a peer that speaks another protocol.
_CORRUPT_RECORD = b"\x17\x03\x03\x00\x40" + b"\xa5" * 0x40

AS_REQUEST_LEAVES: Mapping[Fault, Ending] = {
    Fault.CLOSE_AS_REQUEST_LEAVES: Ending.FIN,
    Fault.RESET_AS_REQUEST_LEAVES: Ending.RESET,
    Fault.HALF_CLOSE_AS_REQUEST_LEAVES: Ending.LINGER,
}


class Conversation:
    """Serves one connection, in the thread that calls `run`."""

    def __init__(
        self, number: int, wire: Wire, plan: Plan, *, service: Service, ledger: Ledger, settling: Settling
    ) -> None:
        self.number = number
        self.wire = wire
        self._coming = iter(plan)
        self._fault = Fault.NONE
        self._service = service
        self._ledger = ledger
        self._settling = settling
        self._reader = RequestReader(wire.receive, say_continue=lambda: wire.send(_CONTINUE))
        if service.via is not Via.CONNECT:
            self._expect_next()

    def run(self) -> None:
        """Serve until one side has had enough. Raises only what is not the client's right."""
        ending = Ending.FIN
        try:
            ending = self._converse()
        except BadRequest as error:
            self._refuse()
            raise FaultServerError(
                f"connection {self.number}: the client does not speak HTTP: {error}"
            ) from error
        except (ClientLeft, OSError):
            pass  # a client may leave whenever it likes, also in the middle of our answer
        finally:
            self.wire.end(ending)

    def hang_up_as_request_leaves(self) -> None:
        """Carry out such a fault if it is next, and return when the client's kernel knows.

        Called in the client's thread, right before it sends.
        """
        how = AS_REQUEST_LEAVES.get(self._fault)
        if how is None or not self.wire.order(how):
            return
        # Longer than the patience of the thread that does it.
        self._insist(self.wire.gone.wait(2 * PATIENCE))

    def _converse(self) -> Ending:
        ending = self._open()
        while ending is None:
            ending = self._exchange()
        return ending

    def _open(self) -> Ending | None:
        if self._service.via is Via.CONNECT and (ending := self._open_tunnel()) is not None:
            return ending
        # A forward proxy with TLS speaks it itself; a tunnel has it inside.
        return None if self._service.ssl_context is None else self._start_tls(self._service.ssl_context)

    def _start_tls(self, context: ssl.SSLContext) -> Ending | None:
        ending = self.wire.wait_for_handshake()
        if ending is None:
            self.wire.start_tls(context)
        return ending

    def _open_tunnel(self) -> Ending | None:
        if (ending := self.wire.wait_for_request()) is not None:
            return ending
        if self._reader.head().method != "CONNECT":
            return self._refuse_tunnel()
        self._ledger.record_tunnel()
        self._expect_next()
        self.wire.send(_TUNNEL_OPEN)
        return None

    def _exchange(self) -> Ending | None:
        if (ending := self.wire.wait_for_request(in_hand=self._reader.has_bytes)) is not None:
            return ending
        fault = self._fault
        if fault in AS_REQUEST_LEAVES:
            return self._miss_the_instant()
        head = self._reader.head()
        if head.method == "CONNECT":
            return self._refuse_tunnel()
        if fault is Fault.READ_HALF_THEN_RESET:
            self._reader.half_a_body(head)
            return Ending.RESET
        request = self._reader.request(head)
        self._ledger.record(Execution.of(request, connection=self.number))
        return self._DEEDS[fault](self, request)

    def _miss_the_instant(self) -> Ending:
        # A TLS client that leaves may say so with a close_notify, which woke us and is no request.
        if not self._reader.has_bytes and not self.wire.receive(1):
            return Ending.FIN
        raise FaultServerError(
            f"connection {self.number}: a request arrived where {self._fault} was to come first. That fault needs a "
            "client that is built on http.client (urllib3, requests, botocore) and runs in this process"
        )

    def _insist(self, it_happened: bool) -> None:  # noqa: FBT001 - reads as what it asserts
        if not it_happened:
            raise FaultServerError(
                f"connection {self.number}: {self._fault} could not be carried out within {PATIENCE} s: the client "
                "leaves an answer unread, or the machine stands still"
            )

    def _refuse_tunnel(self) -> Ending:
        self.wire.send(_NO_TUNNEL_HERE)
        return Ending.FIN

    def _refuse(self) -> None:
        with contextlib.suppress(OSError):
            self.wire.send(_BAD_REQUEST)

    def _expect_next(self) -> None:
        """Turn to the next request. Comes before the answer that lets the client send it."""
        self._fault = next(self._coming, Fault.NONE)
        self.wire.become_idle()

    # The deeds

    def _answer(self, request: Request, *, followed_by: bytes = b"") -> Ending | None:
        answer, last = self._service.answer(request)
        if not last:
            self._expect_next()
        self.wire.send(render(answer, to=request.method) + followed_by)
        return Ending.FIN if last else None

    def _answer_and_stray(self, request: Request) -> Ending | None:
        return self._answer(request, followed_by=_STRAY)

    def _answer_then_close(self, request: Request) -> Ending:
        answer, _ = self._service.answer(request, closing=True)
        self.wire.send(render(answer, to=request.method))
        return Ending.FIN

    def _announce_close_and_stay(self, request: Request) -> None:
        answer, _ = self._service.answer(request, closing=True)
        self._expect_next()
        self.wire.send(render(answer, to=request.method))

    @contextlib.contextmanager
    def _once_answer_was_read(self, request: Request) -> Iterator[None]:
        # Not earlier: http.client reads ahead, and what it swallows with the answer never shows on
        # the idle socket; and a RST may destroy what was not read.
        answer, _ = self._service.answer(request)
        with self._settling:
            self.wire.send(render(answer, to=request.method))
            self._insist(self.wire.wait_until_read())
            yield

    def _close_while_idle(self, request: Request) -> Ending:
        return self._end_while_idle(request, Ending.FIN)

    def _reset_while_idle(self, request: Request) -> Ending:
        return self._end_while_idle(request, Ending.RESET)

    def _half_close_while_idle(self, request: Request) -> Ending:
        with self._once_answer_was_read(request):
            self.wire.half_close()
            self._insist(self.wire.gone.is_set())
        return Ending.LINGER

    def _time_out_while_idle(self, request: Request) -> Ending:
        return self._end_while_idle(request, Ending.FIN, last_words=_IDLE_408)

    def _end_while_idle(self, request: Request, how: Ending, *, last_words: bytes = b"") -> Ending:
        with self._once_answer_was_read(request):
            if last_words:
                self.wire.send(last_words)
            self.wire.end(how)
            self._insist(self.wire.gone.is_set())
        return how

    def _stray_while_idle(self, request: Request) -> None:
        with self._once_answer_was_read(request):
            self._expect_next()
            self.wire.send(_STRAY)
            self._insist(self.wire.wait_until_arrived())

    def _fall_silent(self, _: Request) -> Ending:
        self.wire.ignore_client()
        return Ending.FIN

    def _corrupt_record(self, _: Request) -> Ending:
        self.wire.send_below_tls(_CORRUPT_RECORD)
        # Stay until the client has seen for itself: the record alone shall be what it meets.
        self.wire.ignore_client()
        return Ending.FIN

    def _cut(self, _: Request) -> Ending:
        self.wire.send(_CUTS[self._fault])
        return Ending.FIN

    def _close_unanswered(self, _: Request) -> Ending:
        return Ending.FIN

    def _reset_unanswered(self, _: Request) -> Ending:
        return Ending.RESET

    # The faults that strike before a request was executed are dealt with in _exchange().
    _DEEDS: ClassVar[Mapping[Fault, Callable[[Conversation, Request], Ending | None]]] = {  # pyright: ignore[reportAssignmentType] - Self in a table of methods
        Fault.NONE: _answer,
        Fault.CLOSE_WHILE_IDLE: _close_while_idle,
        Fault.RESET_WHILE_IDLE: _reset_while_idle,
        Fault.HALF_CLOSE_WHILE_IDLE: _half_close_while_idle,
        Fault.IDLE_408: _time_out_while_idle,
        Fault.STRAY_BYTES_WHILE_IDLE: _stray_while_idle,
        Fault.STRAY_BYTES_AFTER: _answer_and_stray,
        Fault.READ_THEN_CLOSE: _close_unanswered,
        Fault.READ_THEN_RESET: _reset_unanswered,
        Fault.READ_THEN_SILENCE: _fall_silent,
        Fault.CUT_STATUS_LINE: _cut,
        Fault.CUT_HEAD: _cut,
        Fault.CUT_BODY: _cut,
        Fault.CUT_CHUNK: _cut,
        Fault.CORRUPT_TLS_RECORD: _corrupt_record,
        Fault.ANSWER_THEN_CLOSE: _answer_then_close,
        Fault.ANNOUNCE_CLOSE_AND_STAY: _announce_close_and_stay,
    }
