"""What ends a poller's wait from another thread."""

from __future__ import annotations

import socket
from contextlib import suppress

__all__ = ["Waker"]

_MOST_BYTES = 4096


class Waker:
    def __init__(self) -> None:
        self._receiver, self._sender = socket.socketpair()
        self._receiver.setblocking(False)
        self._sender.setblocking(False)

    def fileno(self) -> int:
        return self._receiver.fileno()

    def wake(self) -> None:
        # Full, or closed this moment: it is awake, then.
        with suppress(OSError):
            self._sender.send(b"\0")

    def drain(self) -> None:
        with suppress(OSError):
            self._receiver.recv(_MOST_BYTES)

    def close(self) -> None:
        self._receiver.close()
        self._sender.close()
