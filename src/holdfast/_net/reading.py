"""Watching what http.client reads, where nothing is laundered yet.

http.client reads a response through ``sock.makefile("rb")``. A :class:`Tap` stands in for the
socket at that moment and makes the same stack, of a raw stream that notes what came: whether any
byte of a response arrived, and whether it ended inside a line. The socket itself stays the real
one, so those who hijack it (docker attach) find what they expect.
"""

from __future__ import annotations

import errno
import io
import os
import select
import socket
import ssl
from http.client import IncompleteRead
from typing import Any

from holdfast._core.delivery import Delivery
from holdfast._net.deadline import Deadline
from holdfast._net.ragged import is_ragged_end
from holdfast._net.tcp_info import End, look_at_end, read
from holdfast._net.witness import check_end, check_first_bytes

__all__ = ["Tap", "WatchedSocketIO"]

_NEWLINE = 0x0A


class WatchedSocketIO(socket.SocketIO):
    _sock: Any
    received = 0
    """Bytes of a response read so far."""
    ends_line = True
    """The last byte read ended a line."""
    at_end = False
    """The peer's end of the stream was read."""
    in_chunks = False
    """It is a body with chunked coding, which ends with a line."""
    muted = False
    """Answer "nothing there" instead of reading from the socket."""
    asked: tuple[bytes, Delivery] | None = None
    """TCP_INFO from before the request went out on a reused connection, and the request."""
    told: bytes | None = None
    """TCP_INFO from when the first bytes came, if it holds until the next request."""
    deadline: Deadline | None = None
    end: End | None = None
    """What the kernel said when the end was read, or reading failed."""

    def readinto(self, buffer: Any) -> int | None:
        if self.muted:
            return None
        if self.at_end:
            # Not asked again: OpenSSL answers each end with an alert, the peer that with a reset, and
            # then the end that was looks like one.
            return 0
        if self.deadline is not None:
            self.deadline.hurry(self._sock)
        try:
            count = self._receive(buffer)
        except OSError:
            self.end = look_at_end(self._sock)
            if self.end is not None and self.end.is_reset:
                self._ask_about_end()
            raise
        if count:
            if self.asked is not None:
                # It refers to the request, whose body need not be kept while an answer is read.
                asked, self.asked = self.asked, None
                self.told = check_first_bytes(self._sock, *asked)
            self.received += count
            self.ends_line = buffer[count - 1] == _NEWLINE
        elif count == 0:
            self._ended()
        return count

    def _ask_about_end(self) -> None:
        if self.asked is not None:
            (before, delivery), self.asked = self.asked, None
            check_end(self._sock, before, self.end, delivery)

    def take_your_time(self, timeout: float | None) -> None:
        """No deadline holds any more, and the caller's timeout as it was."""
        self.deadline = None
        if not self.closed:
            self._sock.settimeout(timeout)

    _receive = socket.SocketIO.readinto

    def _ended(self) -> None:
        self.at_end = True
        end = self.end or look_at_end(self._sock)
        self.end = None if end is None else end._replace(orderly=True)
        self._ask_about_end()
        if self.in_chunks and not self.ends_line:
            # http.client takes what it has of a chunk's size for all of it: "0" of "000a" would be the end.
            raise IncompleteRead(b"")

    def has_leftover(self, reader: Any) -> bool:
        """Whether bytes were read from the socket that no one has asked for. http.client drops
        them with its buffer, and the connection looks clean. Asked last: it reads no more."""
        return self.buffered(reader) > 0

    def buffered(self, reader: Any) -> int:
        """Bytes that were read from the socket and not asked for yet. Reads no more of them."""
        self.muted = True
        try:
            return len(reader.peek(1))
        except ValueError:
            return 0
        finally:
            self.muted = False


class WatchedTlsIO(WatchedSocketIO):
    def _receive(self, buffer: Any) -> int | None:
        """Before Python 3.13 a reset reads as an end of file over TLS, and so do a FIN without a
        close_notify, which many servers send, and silence. Only the kernel can tell them apart."""
        tls = self._sock
        fin_seen = self.asked is not None and self.asked[1].needs_proof and _fin_is_next(tls)
        tls.suppress_ragged_eofs = False
        try:
            return super()._receive(buffer)
        except OSError as error:
            if not is_ragged_end(error):
                raise
            end = look_at_end(tls)
            self.end = end if end is None else end._replace(fin_seen=end.fin_seen or fin_seen)
            if self.end is not None and self.end.is_reset:
                number = errno.ETIMEDOUT if self._met_silence(self.end) else errno.ECONNRESET
                raise OSError(number, os.strerror(number)) from None
            return 0
        finally:
            tls.suppress_ragged_eofs = True

    def _met_silence(self, end: End) -> bool:
        """Not even a reset came since the request went out: this kernel has given the connection up."""
        return self.asked is not None and read(self.asked[0]).segs_in == end.last.segs_in


def _fin_is_next(tls: ssl.SSLSocket) -> bool:
    """Waits for whatever comes and looks at it below TLS: OpenSSL answers an end of file with an alert,
    and so takes the pending error, which tells that a FIN came before the reset."""
    if tls.pending() or not hasattr(select, "poll"):
        return False
    poll, timeout = select.poll(), tls.gettimeout()
    poll.register(tls, select.POLLIN)
    if not poll.poll(None if timeout is None else timeout * 1000):
        raise TimeoutError("timed out")
    try:
        return socket.socket.recv(tls, 1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False


class Tap:
    """Stands in for a socket where http.client makes a stream of it."""

    __slots__ = ("raw", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.raw: WatchedSocketIO | None = None
        """The latest stream."""

    @classmethod
    def into(cls, sock: object) -> Tap | None:
        """None where streams are made in another way (TLS inside TLS, pyOpenSSL, mocks)."""
        if isinstance(sock, socket.socket) and type(sock).makefile is socket.socket.makefile:
            return cls(sock)
        return None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sock, name)

    def makefile(self, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        """As ``socket.makefile("rb")``, which makes a stream that cannot be watched."""
        if mode != "rb" or args or kwargs:
            self.raw = None
            return self.sock.makefile(mode, *args, **kwargs)  # type: ignore[call-overload]
        watched = WatchedTlsIO if isinstance(self.sock, ssl.SSLSocket) else WatchedSocketIO
        self.raw = raw = watched(self.sock, "r")
        # The socket counts its streams, so that close() waits for the last of them.
        self.sock._io_refs += 1  # type: ignore[attr-defined]
        return io.BufferedReader(raw)
