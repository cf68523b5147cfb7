"""One heartbeat on an idle socket, without blocking: bytes out, then whatever comes in, in pieces."""

from __future__ import annotations

import socket
import ssl

from holdfast._core.heartbeat import Answer, Exchange
from holdfast.policy import Heartbeat
from holdfast.vocabulary import CloseReason

__all__ = ["Beating"]

CHUNK = 4096
_NOT_YET = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Beating:
    """Holds the socket in non-blocking mode from ``start`` to the end, whatever the end is."""

    __slots__ = ("_exchange", "_send", "_sock", "_timeout", "over")

    def __init__(self, sock: socket.socket, heartbeat: Heartbeat) -> None:
        assert heartbeat.send is not None
        self._sock = sock
        self._send = heartbeat.send
        self._timeout = sock.gettimeout()
        self._exchange = Exchange(heartbeat)
        self.over = False

    def start(self) -> CloseReason | None:
        """Sends. A reason to close the connection, or None."""
        try:
            self._sock.settimeout(0.0)
            sent = self._sock.send(self._send)
        except _NOT_YET:
            # Its send buffer is full though nobody has used it: the peer does not read.
            return CloseReason.HEARTBEAT_MISSED
        except (OSError, ValueError):
            return CloseReason.PEER_RESET
        # The beginning of a message is on its way, and the rest would have to follow at some time.
        return None if sent == len(self._send) else CloseReason.HEARTBEAT_MISSED

    def read(self) -> tuple[Answer, CloseReason | None]:
        """Reads all that is there. With GOOD the socket is as it was before."""
        answer = Answer.PENDING
        while True:
            try:
                data = self._sock.recv(CHUNK)
            except _NOT_YET:
                break
            except (OSError, ValueError):
                return Answer.WRONG, CloseReason.PEER_RESET
            if not data:
                return Answer.WRONG, CloseReason.PEER_CLOSED
            answer = self._exchange.feed(data)
            if answer is Answer.WRONG:
                return answer, CloseReason.HEARTBEAT_WRONG
        if answer is Answer.GOOD:
            self._sock.settimeout(self._timeout)
        return answer, None
