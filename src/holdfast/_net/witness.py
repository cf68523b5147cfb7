"""Watching one request on a reused connection through the kernel's eyes.

Costs one look at TCP_INFO at the first bytes of what comes back, which serves as the one before the next
request.
"""

from __future__ import annotations

import ssl
import struct
from typing import Any

from holdfast._core.delivery import Delivery
from holdfast._core.evidence import TcpSnapshot, is_stray, who_closed_first
from holdfast._net.tcp_info import TICK, End, ask, await_ending, look_at_end, read
from holdfast.errors import StrayAnswerError
from holdfast.vocabulary import Evidence

__all__ = ["check_end", "check_first_bytes"]

# For the path of every request: what usually decides, without making sense of the rest.
_UNACKED, _ACKED, _NOT_SENT = slice(24, 28), slice(120, 128), slice(144, 148)
_NONE = bytes(4)
_min_rtt_us = struct.Struct("=148x I").unpack_from
_SO_LONG_US = 4 * TICK * 1_000_000
"""Below this round trip, the ticks are too coarse to say that an answer came too soon."""


def check_first_bytes(sock: Any, before: bytes, delivery: Delivery) -> bytes | None:
    """Raises :class:`StrayAnswerError` if the first bytes that came left the peer before it had the
    request. ``before``: TCP_INFO from before the first byte of the request.

    Answers with TCP_INFO of now if nothing is left to be acknowledged. Until more is sent nothing can be
    acknowledged, so it is what TCP_INFO would say before the next request as well, which may be one that needs
    proof. Bytes that somebody else has sent in between lead to no wrong claim: once one of them is acknowledged
    the count has moved, and a FIN that acknowledges none of them left before the request behind them came."""
    now = ask(sock)
    if now is None:
        return None
    quiet = now if now[_UNACKED] == now[_NOT_SENT] == _NONE else None
    if now[_ACKED] != before[_ACKED] and _min_rtt_us(now)[0] < _SO_LONG_US:
        return quiet
    was = read(before)
    if not is_stray(was, read(now), one_send=delivery.sends == 1, tick=TICK):
        return quiet
    delivery.evidence = Evidence.STRAY
    end = look_at_end(sock)
    if end is not None and _closed_first(sock, was, end, delivery) is Evidence.FIN_BEFORE_REQUEST:
        delivery.evidence = Evidence.FIN_BEFORE_REQUEST
    raise StrayAnswerError("what came left the peer before it had the request, so it is not its answer")


def check_end(sock: Any, before: bytes, end: End | None, delivery: Delivery) -> None:
    """Notes what the kernel proves if the end of the stream came in place of an answer."""
    if end is None:
        delivery.evidence = Evidence.UNKNOWN_HERE
    elif delivery.needs_proof and delivery.complete:
        delivery.evidence = _closed_first(sock, read(before), end, delivery)


def _closed_first(sock: Any, before: TcpSnapshot, end: End, delivery: Delivery) -> Evidence:
    ending = await_ending(sock, before, end)
    plain = not isinstance(sock, ssl.SSLSocket)
    return who_closed_first(before, ending, delivery.handed_over, exact=plain)
