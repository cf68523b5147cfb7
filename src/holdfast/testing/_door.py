"""The listening port: lets connections in, can be shut so that it refuses them, and opens again.

A second socket stays bound to the port and never listens: while the door is shut, nobody else gets
the port, not even a client's kernel as the source port of its own connect().
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import sys
import threading
from collections.abc import Callable

from holdfast.testing._loopback import Address

__all__ = ["Door"]

_BACKLOG = 1024


class Door:
    """A loopback port and the thread that accepts on it."""

    def __init__(self, admit: Callable[[socket.socket, Address], None]) -> None:
        self._admit = admit
        self._placeholder = _bound(0)
        self.address: Address = self._placeholder.getsockname()
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None

    def open(self) -> None:
        """Listen, and admit whoever comes."""
        self._listener = _bound(self.address[1])
        self._listener.listen(_BACKLOG)
        self._listener.setblocking(False)
        self._bell, self._pull = socket.socketpair()
        self._keeper = threading.Thread(
            target=self._keep, name=f"fault-server-{self.address[1]}-door", daemon=True
        )
        self._keeper.start()

    def shut(self) -> None:
        """Refuse from now on. Whoever had connected before is let in."""
        if self._listener is None:
            return
        self._pull.close()
        self._keeper.join()
        self._bell.close()
        with self._lock:
            self._admit_waiting_locked(self._listener)
            self._listener.close()
            self._listener = None

    def close(self) -> None:
        """Shut for good and give the port back."""
        self.shut()
        self._placeholder.close()

    def admit_waiting(self) -> None:
        """Let in, now and in this thread, whoever has connected already."""
        # The lock also keeps the numbers of connections in the order in which they came.
        with self._lock:
            if self._listener is not None:
                self._admit_waiting_locked(self._listener)

    def _admit_waiting_locked(self, listener: socket.socket) -> None:
        # BSD reports a connection that died in the queue; Linux hands it over.
        with contextlib.suppress(BlockingIOError, ConnectionAbortedError):
            while True:
                sock, client = listener.accept()
                # On some systems it inherits the listener's mode.
                sock.setblocking(True)
                self._admit(sock, client)

    def _keep(self) -> None:
        assert self._listener is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._bell, selectors.EVENT_READ)
            while not any(key.fileobj is self._bell for key, _ in selector.select()):
                self.admit_waiting()


def _bound(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if sys.platform == "darwin":
        # There, SO_REUSEADDR alone does not let two sockets share an address.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("127.0.0.1", port))
    return sock
