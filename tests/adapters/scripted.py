"""A server whose every connection is a function of the test's, where the fault server has no fault for it."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Peer", "abort", "read_request"]


class Peer:
    """`with Peer(handler) as peer:` — `handler(sock, number)` for each connection, counted from 1."""

    def __init__(
        self, handler: Callable[[Any, int], None], *, ssl_context: ssl.SSLContext | None = None
    ) -> None:
        self.connections = 0
        self._handler = handler
        self._tls = ssl_context
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self.host = "127.0.0.1" if ssl_context is None else "localhost"
        self.url = f"{'http' if ssl_context is None else 'https'}://{self.host}:{self.port}"
        self._threads: list[threading.Thread] = []
        self._open: set[socket.socket] = set()
        self._acceptor = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._acceptor.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A connection of our own wakes the acceptor: close() would not.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join(5)
        self._listener.close()
        for sock in list(self._open):
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
            assert not thread.is_alive()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(sock, self.connections), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket, number: int) -> None:
        sock.settimeout(20)
        try:
            with contextlib.suppress(OSError):
                if self._tls is not None:
                    sock = self._tls.wrap_socket(sock, server_side=True)
                self._open.add(sock)
                self._handler(sock, number)
        finally:
            self._open.discard(sock)
            sock.close()


def abort(sock: socket.socket) -> None:
    """RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def read_request(sock: Any) -> bytes:
    """Head and body (Content-Length); b"" at the end."""
    got = b""
    while b"\r\n\r\n" not in got:
        data = sock.recv(65_536)
        if not data:
            return b""
        got += data
    head, _, body = got.partition(b"\r\n\r\n")
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    while len(body) < length:
        body += sock.recv(65_536)
    return head + b"\r\n\r\n" + body
