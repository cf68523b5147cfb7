"""Does a request arrive? Found out in about a second, by a TCP_USER_TIMEOUT (man 7 tcp; RFC 5482) for the
time until it is acknowledged.

For a request that may be repeated, on a connection that lay idle: if its path is gone, a fresh one is better
soon than after the read timeout. It takes nothing from the time in which a server may *answer*: what arrived
is acknowledged, and then everything is as it was. Nor is a peer punished that takes no more bytes now: a
window that is closed shows after a round trip. Only for requests without a body, which go out in one
segment, for a body may need many times a second on a path that is merely slow.
"""

from __future__ import annotations

import select
import socket
import time
from contextlib import suppress
from typing import Any

from holdfast._core.evidence import TcpSnapshot
from holdfast._net.tcp_info import snapshot
from holdfast._net.tcp_keepalive import tcp_socket

__all__ = ["Hurry"]

_MS = 1000
_DELAYED_ACK = 0.05
"""Seconds. Linux delays an acknowledgement by 40 ms while it waits for an answer to go with it."""


class Hurry:
    """For one request: ``begin``, send it, ``wait``; and ``end``, whatever happens."""

    __slots__ = ("_before", "_old", "_tcp")

    def __init__(self) -> None:
        self._tcp: socket.socket | None = None
        self._old = 0
        self._before: TcpSnapshot | None = None

    def begin(self, sock: Any) -> bool:
        """Before the first byte is sent. False, and nothing is changed, where that cannot be done: not
        Linux, no TCP, older bytes still out, or the user's own TCP_USER_TIMEOUT is as short already."""
        tcp = tcp_socket(sock)
        before = None if tcp is None else snapshot(tcp)
        if tcp is None or before is None or not before.quiet:
            return False
        wanted = round(before.hurried * _MS)
        try:
            old = tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
            if 0 < old <= wanted:
                return False
            self._tcp, self._old, self._before = tcp, old, before
            tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, wanted)
        except OSError:  # a sandbox, or closed meanwhile
            self._tcp = None
            return False
        return True

    def wait(self, timeout: float | None) -> None:
        """Until it is known whether the request arrived, or bytes are here, or ``timeout`` seconds are over;
        then ``end``. Without it the hurry would go on until the answer comes. That ends no connection
        whose request arrived, but the kernel's keepalive takes the same option for its own: a single
        probe that is lost would be enough for it."""
        if self._tcp is None or self._before is None:
            return
        try:
            _await_arrival(self._tcp, self._before, timeout)
        finally:
            self.end()

    def end(self) -> None:
        """As it was before. Harmless at any time, and as often as one likes."""
        tcp, self._tcp = self._tcp, None
        if tcp is not None:
            with suppress(OSError):  # closed meanwhile
                tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, self._old)


def _await_arrival(tcp: socket.socket, before: TcpSnapshot, timeout: float | None) -> None:
    # The kernel probes the tail first, and counts from the first retransmission, which comes after that.
    longest = before.hurried + 3 * before.rto
    until = time.monotonic() + (longest if timeout is None else min(timeout, longest))
    poll = select.poll()
    poll.register(tcp, select.POLLIN)
    wait = before.rtt + _DELAYED_ACK
    # An acknowledgement wakes nobody, so it is looked for. Most answers come before the first look.
    while (left := until - time.monotonic()) > 0 and not poll.poll(min(wait, left) * _MS):
        now = snapshot(tcp)
        if now is None or now.unacked == 0:
            return  # it arrived; or the peer takes nothing now, and what is left will be sent when it does
        wait *= 2
