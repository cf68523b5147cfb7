"""Is anybody there? A round trip on an idle TCP connection without one byte for the application.

The kernel is made to send the probe of its keepalive at once (man 7 tcp; RFC 9293, 3.8.4): an empty
segment that repeats the byte before the next. Whoever still knows the connection has to acknowledge it,
whoever has forgotten it answers RST, and a path that lost the flow says nothing.

What answers is the kernel at the other end of TCP: that of a balancer, where there is one. It says that
the path is whole and the connection known, not that an application is going to read from it.
"""

from __future__ import annotations

import math
import select
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from enum import Enum, auto
from typing import Any

from holdfast._core.evidence import ESTABLISHED, TcpSnapshot
from holdfast._net.tcp_info import snapshot
from holdfast._net.tcp_keepalive import tcp_socket

__all__ = ["IDLE_ENOUGH", "Reply", "probe"]

IDLE_ENOUGH = 1.0
"""Seconds of silence after which the kernel asks: TCP_KEEPIDLE knows whole ones, and none is shorter."""

_ENABLED = (socket.SOL_SOCKET, socket.SO_KEEPALIVE)
_SOONEST = 0.001
"""Seconds that poll can wait at the least."""
_ENDS = getattr(select, "POLLRDHUP", 0)


class Reply(Enum):
    """What came of it."""

    ANSWERED = auto()
    """The peer's kernel is there and knows the connection."""
    ENDED = auto()
    """A FIN, a reset or another error is here."""
    SILENT = auto()
    """It was asked and has said nothing for as long as that was waited for."""
    UNKNOWN = auto()
    """It could not be asked."""


def probe(sock: Any, *, patience: float | None = None, at_most: float | None = None) -> Reply:
    """Asks, and waits for the answer: ``patience`` seconds, by default what
    :attr:`~holdfast._core.evidence.TcpSnapshot.probe_patience` reckons from the connection's own round trip;
    before that as long at the most until the kernel may ask; and ``at_most`` so many seconds for both,
    whatever the patience, if somebody's time is running out.

    ``sock``: plain, TLS or urllib3's TLS inside TLS. Nobody else may use it meanwhile. Nothing is read from
    it: bytes that come are somebody else's to find.

    ``UNKNOWN`` where the kernel will not ask: not Linux, or one that is older than 4.6 or only pretends to
    be Linux; no TCP; something was heard within the last second, unless that second is over before
    ``patience`` is; bytes are out that nobody acknowledged; less time than a round trip."""
    tcp = tcp_socket(sock)
    before = None if tcp is None else snapshot(tcp)
    if tcp is None or before is None:
        return Reply.UNKNOWN
    patience = before.probe_patience if patience is None else patience
    try:
        return _ask(tcp, before, patience, math.inf if at_most is None else at_most)
    except (OSError, ValueError):
        # Closed meanwhile, or a sandbox that does not let its options be set.
        return Reply.UNKNOWN


def _ask(tcp: socket.socket, before: TcpSnapshot, patience: float, at_most: float) -> Reply:
    poll = select.poll()
    poll.register(tcp, _ENDS)  # POLLHUP and POLLERR come unasked
    if poll.poll(0):
        return Reply.ENDED
    if before.state != ESTABLISHED or not before.quiet:
        return Reply.UNKNOWN
    # The kernel has asked by itself and waits. To hurry it would end the connection, if it has been
    # idle for TCP_USER_TIMEOUT: that counts from the last sign of life, and spares the first probe only.
    asked = before.probes > 0
    asks_in = 0.0 if asked else max(0.0, IDLE_ENOUGH - before.unheard_for)
    patience = min(patience, at_most - asks_in)
    if asks_in > patience or patience <= before.rtt:
        return Reply.UNKNOWN
    with nullcontext() if asked else _asking(tcp):
        return _await_answer(tcp, poll, before, asks_in, patience)


@contextmanager
def _asking(tcp: socket.socket) -> Iterator[None]:
    """As soon as the kernel can, which is at once if nothing was heard for a second.

    In this order: only of a socket that has keepalive does a change of the idle time start the timer
    from the last sign of life. The way back starts it for the old time again."""
    with _set(tcp, _ENABLED, 1), _set(tcp, (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE), 1):
        yield


@contextmanager
def _set(tcp: socket.socket, option: tuple[int, int], value: int) -> Iterator[None]:
    old = tcp.getsockopt(*option)
    try:
        tcp.setsockopt(*option, value)
        yield
    finally:
        with suppress(OSError):  # closed meanwhile
            tcp.setsockopt(*option, old)


def _await_answer(
    tcp: socket.socket, poll: select.poll, before: TcpSnapshot, asks_in: float, patience: float
) -> Reply:
    """An acknowledgement wakes nobody, so it is looked for: when it may be here at the soonest, and from
    then on so often that it is found at most an eighth late."""
    began = time.monotonic() + asks_in
    wait = asks_in + min(before.rtt, before.min_rtt)
    while not poll.poll(max(_SOONEST, min(wait, began + patience - time.monotonic())) * 1000):
        now = snapshot(tcp)
        if now is None:
            return Reply.UNKNOWN
        if _is_answered(before, now):
            return Reply.ANSWERED
        waited = time.monotonic() - began
        if waited >= patience:
            asked = before.probes or now.segs_out != before.segs_out
            return Reply.SILENT if asked else Reply.UNKNOWN
        wait = waited / 8
    return Reply.ENDED


def _is_answered(before: TcpSnapshot, now: TcpSnapshot) -> bool:
    """Something came that is no data: that may have been on its way before the question was."""
    data = (now.data_segs_in or 0) - (before.data_segs_in or 0)
    return (now.segs_in - before.segs_in - data) % 2**32 > 0
