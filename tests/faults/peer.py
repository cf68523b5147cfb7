"""The server's end of one connection: bytes, TLS, the exact ways to end it, and the ledger.

A request is *executed* when it was read to its last byte; the ledger says so before anything else
happens to it.
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["Gone", "Ledger", "Peer", "Request"]

_PATIENCE = 60.0
"""Seconds. More than any client of ours has."""
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_LAST_CHUNK = b"0\r\n\r\n"


class Gone(Exception):  # noqa: N818 - no error, the client may
    """The client has left."""


class Request(NamedTuple):
    method: str
    target: str
    """The path alone, also where a proxy gets a whole URL."""

    @property
    def words(self) -> list[str]:
        return self.target.strip("/").split("/")

    @property
    def number(self) -> int:
        """Every target ends in it."""
        return int(self.words[-1])


@dataclass
class Ledger:
    executed: list[tuple[int, int, str]] = field(default_factory=list)
    """The request's number, the client's port, the method."""
    acts: list[tuple[int, float]] = field(default_factory=list)
    """The number of the trial, and when the server had done what it announced for T."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def execute(self, request: Request, client_port: int) -> None:
        with self.lock:
            self.executed.append((request.number, client_port, request.method))

    def acted(self, number: int) -> None:
        with self.lock:
            self.acts.append((number, time.monotonic()))


class Peer:
    def __init__(self, sock: socket.socket, client_port: int, ledger: Ledger, *, close_notify: bool) -> None:
        sock.settimeout(_PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.client_port = client_port
        self.ledger = ledger
        self._sock = sock
        self._close_notify = close_notify
        self._read = b""

    # -- bytes

    def start_tls(self, context: ssl.SSLContext) -> None:
        self._sock = context.wrap_socket(self._sock, server_side=True)

    def send(self, data: bytes) -> None:
        self._sock.sendall(data)

    def quiet_until(self, moment: float) -> bool:
        """True at that moment, if no request has begun to arrive by then."""
        if self._has_read():
            return False
        # Not poll: it rounds up to milliseconds.
        readable, _, _ = select.select([self._sock], [], [], max(0.0, moment - time.monotonic()))
        return not readable

    def wait_for_bytes(self) -> None:
        """Until some are there; they stay where they are, in the kernel."""
        select.select([self._sock], [], [], _PATIENCE)

    def _has_read(self) -> bool:
        return bool(self._read) or (isinstance(self._sock, ssl.SSLSocket) and self._sock.pending() > 0)

    def _read_more(self) -> None:
        data = self._sock.recv(65536)
        if not data:
            raise Gone
        self._read += data

    # -- requests

    def read_head(self) -> tuple[Request, int | None]:
        """The request, and how much body it has; None: chunked."""
        while (end := self._read.find(b"\r\n\r\n")) < 0:
            self._read_more()
        lines = self._read[:end].decode("latin-1").split("\r\n")
        self._read = self._read[end + 4 :]
        method, target, _ = lines[0].split(" ")
        fields = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])
        }
        length = None if "transfer-encoding" in fields else int(fields.get("content-length", 0))
        return Request(method, _path_of(target)), length

    def read_body(self, length: int | None) -> None:
        if length is None:
            while not self._read.endswith(_LAST_CHUNK):
                self._read_more()
            self._read = b""
            return
        while len(self._read) < length:
            self._read_more()
        self._read = self._read[length:]

    def execute(self) -> Request:
        """Reads a whole request and enters it."""
        request, length = self.read_head()
        self.read_body(length)
        self.ledger.execute(request, self.client_port)
        return request

    def read_half(self) -> None:
        """Of the body; of the head if there is none."""
        _, length = self.read_head()
        if length:
            self.read_body(length // 2)

    # -- endings

    def half_close(self) -> None:
        """FIN; over TLS the connection goes on below it, unread."""
        with suppress(OSError):
            self._notify_close()
            socket.socket.shutdown(self._sock, socket.SHUT_WR)

    def fin(self) -> None:
        """FIN; but RST if anything is unread. That is what a kernel does."""
        with suppress(OSError):
            self._notify_close()
        self._sock.close()

    def rst(self) -> None:
        with suppress(OSError):
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._sock.close()

    def shut(self) -> None:
        """By another thread: whoever reads it reads its end."""
        with suppress(OSError):
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)

    def _notify_close(self) -> None:
        if self._close_notify and isinstance(self._sock, ssl.SSLSocket):
            # Not blocking: unwrap() sends our close_notify, then would wait for the client's.
            self._sock.settimeout(0)
            with suppress(ssl.SSLError):
                self._sock.unwrap()
            self._sock.settimeout(_PATIENCE)


def _path_of(target: str) -> str:
    return "/" + target.split("/", 3)[3] if "://" in target else target
