"""One heartbeat on an idle connection: a request goes out, and its answer is read to the end.

It is read as the answer to a request is (``_response``), by an entry of its own: what it finds out is for
whoever has the connection to take in. It blocks, for its timeout at the most.
"""

from __future__ import annotations

import http.client
import ssl
import time
from typing import Any, NamedTuple

from holdfast._core.delivery import Delivery
from holdfast._core.entry import Entry
from holdfast._core.http_heartbeat import MOST, is_answer
from holdfast._net.deadline import Deadline
from holdfast._net.reading import Tap
from holdfast._net.tcp_info import ask
from holdfast.adapters.urllib3._context import PoolContext
from holdfast.adapters.urllib3._response import ResilientResponse, resilient_response_class
from holdfast.errors import StrayAnswerError
from holdfast.vocabulary import CloseReason

__all__ = ["Answer", "beat"]

# Bound here: tools that record traffic put another class in its place for a while.
_RESPONSE = resilient_response_class(http.client.HTTPResponse)


class Answer(NamedTuple):
    """What a good answer said of the connection."""

    version: int
    connection: str | None
    keep_alive: str | None


def beat(tap: Tap, method: str, head: bytes, timeout: float, context: PoolContext) -> Answer | CloseReason:
    """A reason: the connection is of no use any more. Else it is as it was before.

    ``timeout``: seconds for all of it."""
    sock, response = tap.sock, None
    granted = sock.gettimeout()
    # In real time, for it is the socket that waits; the clock of the policy may be a test's.
    deadline = Deadline(timeout, time.monotonic)
    try:
        delivery, before = _send(sock, head, deadline)
        response = _RESPONSE(tap, method=method)  # type: ignore[arg-type]
        response._holdfast_raw = raw = tap.raw
        assert raw is not None
        raw.deadline = deadline
        if before is not None:
            # An idle 408 that crosses the heartbeat is not its answer.
            raw.asked = (before, delivery)
        outcome = _read(response, context)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return _why(error, response)
    finally:
        if response is not None:
            response.close()
    sock.settimeout(granted)
    return outcome


def _send(sock: Any, head: bytes, deadline: Deadline) -> tuple[Delivery, bytes | None]:
    delivery, before = Delivery(), ask(sock)
    deadline.hurry(sock)
    sock.sendall(head)
    delivery.sends, delivery.handed_over, delivery.complete = 1, len(head), True
    return delivery, before


def _read(response: ResilientResponse, context: PoolContext) -> Answer | CloseReason:
    response._holdfast_context = context
    response._holdfast_entry = noted = Entry(context.clock())
    response.begin()
    if not is_answer(response.status):
        return CloseReason.HEARTBEAT_WRONG
    if noted.doomed is None:
        body = response.read(MOST + 1)
        if len(body) > MOST or not response.isclosed():
            return CloseReason.HEARTBEAT_WRONG  # too long, or cut
    if noted.doomed is not None:
        # What came with the answer, or in its place, belongs to it.
        strays = noted.doomed is CloseReason.STRAY_BYTES
        return CloseReason.HEARTBEAT_WRONG if strays else noted.doomed
    headers = response.headers
    return Answer(response.version, headers.get("connection"), headers.get("keep-alive"))


def _why(error: Exception, response: ResilientResponse | None) -> CloseReason:
    if isinstance(error, TimeoutError):
        return CloseReason.HEARTBEAT_MISSED
    if isinstance(error, StrayAnswerError):
        return CloseReason.STRAY_BYTES
    if isinstance(error, http.client.RemoteDisconnected) and response is not None and not response.received:
        return CloseReason.PEER_CLOSED
    if isinstance(error, (http.client.HTTPException, ssl.SSLError, ValueError)):
        return CloseReason.HEARTBEAT_WRONG
    return CloseReason.PEER_RESET
