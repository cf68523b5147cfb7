"""A server for raw sockets that does on each connection what a test tells it to."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType

from typing_extensions import Self

Handler = Callable[[socket.socket], object]

PATIENCE = 10.0
"""Seconds that a test waits for what must happen. Only one that fails takes so long."""


def echo(conn: socket.socket) -> None:
    """Answers each piece with itself; ``PING`` with ``PONG``."""
    while data := conn.recv(4096):
        conn.sendall(data.replace(b"PING", b"PONG"))


def silent(conn: socket.socket) -> None:
    while conn.recv(4096):
        pass


def reset(conn: socket.socket) -> None:
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    conn.close()


class Peer:
    """Each connection gets the next handler; the last one stays for all that follow."""

    def __init__(
        self, *handlers: Handler, family: int = socket.AF_INET, address: str | tuple[str, int] | None = None
    ) -> None:
        self._handlers = list(handlers or (echo,))
        self.listener = socket.socket(family)
        if family != getattr(socket, "AF_UNIX", None):
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(address or ("127.0.0.1", 0))
        self.listener.listen(256)
        self.connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._changed = threading.Condition()
        self._acceptor = threading.Thread(target=self._accept, name="peer")
        self._acceptor.start()

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.listener.getsockname()[:2]
        return (host, port)

    def wait_for(self, count: int) -> None:
        """Until so many connections were accepted."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.connections) >= count, PATIENCE)

    def hang_up(self, *, by_reset: bool = False) -> None:
        """Ends every connection there is."""
        for conn in self.connections:
            if by_reset:
                conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            with contextlib.suppress(OSError):
                # The handler's recv, in its thread, sees the end.
                conn.shutdown(socket.SHUT_RD)
            conn.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self._acceptor.join(PATIENCE)
        for conn in self.connections:
            with contextlib.suppress(OSError):
                conn.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
        for conn in self.connections:
            conn.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                conn, _ = self.listener.accept()
            except OSError:
                return
            handler = self._handlers.pop(0) if len(self._handlers) > 1 else self._handlers[0]
            thread = threading.Thread(target=self._handle, args=(handler, conn), name="peer-connection")
            self._threads.append(thread)
            with self._changed:
                self.connections.append(conn)
                self._changed.notify_all()
            thread.start()

    def _handle(self, handler: Handler, conn: socket.socket) -> None:
        with contextlib.suppress(OSError), conn:
            handler(conn)
