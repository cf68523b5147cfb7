"""One accepted connection below HTTP: bytes, TLS, and the exact ways a connection ends.

Only the connection's own thread reads, writes and closes; a close while another thread sits in
recv() would send nothing. Others leave an *order* and wake the thread with shutdown(SHUT_RD),
of which the client sees nothing.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import sys
import threading
from enum import Enum

from holdfast.testing import _loopback
from holdfast.testing._loopback import Address

__all__ = ["Ending", "Wire"]

_RESET_ON_CLOSE = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)

# The methods of the TCP socket also for a TLS one, whose own would encrypt, refuse flags or forget
# the session.
_raw_send = socket.socket.sendall
_raw_receive = socket.socket.recv
_raw_shutdown = socket.socket.shutdown


class Ending(Enum):
    """How our end of a connection goes away."""

    FIN = "FIN: the client reads an orderly end of file"
    RESET = "RST: the client's next call fails with ECONNRESET"
    LINGER = "FIN, while everything the client still sends is acknowledged and thrown away: no RST ever"


class Wire:
    """The server's end of one TCP connection."""

    def __init__(self, sock: socket.socket, client: Address, *, close_notify: bool) -> None:
        # Two small writes must be two segments at once; Nagle would hold the second for 40 ms.
        # macOS refuses options on a connection that the client has reset already.
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.client = client
        self.server: Address = sock.getsockname()
        # Set once the client's kernel knows that we are gone.
        self.gone = threading.Event()
        self._sock = sock
        self._close_notify = close_notify
        self._lock = threading.Lock()
        self._order: Ending | None = None
        self._busy = False
        self._waiting = False
        self._aborted = False
        self._closed = False

    # Called by the connection's own thread

    def start_tls(self, context: ssl.SSLContext) -> None:
        """Put TLS on top and shake hands."""
        with self._lock:
            tls = context.wrap_socket(self._sock, server_side=True, do_handshake_on_connect=False)
            self._sock = tls
        tls.do_handshake()

    def wait_for_request(self, *, in_hand: bool = False) -> Ending | None:
        """Wait for the first byte of a request and leave it there; an order comes first.

        `in_hand`: that byte was read along with the last request already.
        """
        return self._wait(in_hand=in_hand, then_busy=True)

    def wait_for_handshake(self) -> Ending | None:
        """Wait for the first byte of a TLS handshake.

        The connection takes orders all through the handshake, because the client may be done with it
        before we are; they are carried out after it.
        """
        return self._wait(in_hand=False, then_busy=False)

    def become_idle(self) -> None:
        """Accept orders from now on. Comes before the answer leaves, so that whoever has it may order."""
        with self._lock:
            self._busy = False

    def receive(self, limit: int) -> bytes:
        """Return up to `limit` bytes, none at the end of the stream."""
        return self._sock.recv(limit)

    def send(self, data: bytes) -> None:
        """Send all of it, as one segment if it is small."""
        self._sock.sendall(data)

    def send_below_tls(self, data: bytes) -> None:
        """Send bytes the client's TLS has to make sense of."""
        _raw_send(self._sock, data)

    def ignore_client(self) -> None:
        """Swallow whatever comes until the client leaves or the server stops."""
        while _raw_receive(self._sock, 65536):
            pass

    def wait_until_read(self) -> bool:
        """Wait until the client has taken all we sent out of its kernel; False: it did not."""
        return _loopback.until(
            lambda: self._aborted or _loopback.was_read(self._sock, self.client, self.server)
        )

    def wait_until_arrived(self) -> bool:
        """Wait until all we sent is in the client's kernel; False: it did not get there."""
        return _loopback.until(
            lambda: self._aborted or _loopback.has_arrived(self._sock, self.client, self.server)
        )

    def half_close(self) -> None:
        """Send FIN and go on reading; return when the client's kernel has it."""
        with self._lock:
            if self._closed:
                return
            self._shut(socket.SHUT_WR)
        self._wait_until_gone()

    def end(self, how: Ending) -> None:
        """Close, and return when the client's kernel knows; lingering, when the client has left as well."""
        if how is Ending.LINGER:
            self.half_close()
            with contextlib.suppress(OSError):
                self.ignore_client()
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._close(how)
        self._wait_until_gone()

    # Called by other threads

    def order(self, how: Ending) -> bool:
        """Have an idle connection ended; False if it is busy, or already on its way out."""
        with self._lock:
            if self._busy or self._closed or self._order is not None:
                return False
            self._order = how
            waiting = self._waiting
            if waiting and how is not Ending.LINGER:
                self._shut(socket.SHUT_RD)
        if waiting and how is Ending.LINGER:
            # Needs no waking: a FIN leaves while the thread sits in recv(), and what wakes it is the
            # client's next byte, to be swallowed. After SHUT_RD the kernel would answer that with RST.
            self.half_close()
        return True

    def abort(self) -> None:
        """Wake the connection's thread wherever it is, to end: the server stops."""
        with self._lock:
            self._aborted = True
            if not self._closed:
                self._shut(socket.SHUT_RDWR)

    def _wait_until_gone(self) -> None:
        if _loopback.until(lambda: self._aborted or _loopback.is_over(self.client, self.server)):
            self.gone.set()

    def _wait(self, *, in_hand: bool, then_busy: bool) -> Ending | None:
        with self._lock:
            if self._order is not None:
                return self._order
            self._waiting = True
        something = in_hand or self._peek()
        with self._lock:
            self._waiting = False
            if self._order is not None:
                return self._order
            self._busy = then_busy
        return None if something else Ending.FIN

    def _peek(self) -> bool:
        try:
            return bool(_raw_receive(self._sock, 1, socket.MSG_PEEK))
        except OSError:
            return False  # reset by the client: gone as well

    def _shut(self, how: int) -> None:
        # The client may have reset the connection meanwhile; then its thread is awake already.
        with contextlib.suppress(OSError):
            _raw_shutdown(self._sock, how)

    def _close(self, how: Ending) -> None:
        if how is Ending.RESET:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        elif self._close_notify and isinstance(self._sock, ssl.SSLSocket):
            self._notify_close(self._sock)
        self._sock.close()

    def _notify_close(self, tls: ssl.SSLSocket) -> None:
        # Not blocking: unwrap() sends our close_notify, then would wait for the client's.
        with contextlib.suppress(OSError, ValueError):
            tls.settimeout(0)
            tls.unwrap()
