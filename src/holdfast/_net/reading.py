"""Watching what http.client reads, where nothing is laundered yet.

http.client reads a response through ``sock.makefile("rb")``. A :class:`Tap` stands in for the
socket at that moment and makes the same stack, of a raw stream that notes what came: whether any
byte of a response arrived, and whether it ended inside a line. The socket itself stays the real
one, so those who hijack it (docker attach) find what they expect.
"""

from __future__ import annotations

import io
import socket
from typing import Any

__all__ = ["Tap", "WatchedSocketIO"]

_NEWLINE = 0x0A


class WatchedSocketIO(socket.SocketIO):
    received = 0
    """Bytes read so far."""
    ends_line = True
    """The last byte read ended a line."""
    at_end = False
    """The peer's end of the stream was read."""
    muted = False
    """Answer "nothing there" instead of reading from the socket."""

    def readinto(self, buffer: Any) -> int | None:
        if self.muted:
            return None
        count = super().readinto(buffer)
        if count:
            self.received += count
            self.ends_line = buffer[count - 1] == _NEWLINE
        elif count == 0:
            self.at_end = True
        return count

    def has_leftover(self, reader: Any) -> bool:
        """Whether bytes were read from the socket that no one has asked for. http.client drops
        them with its buffer, and the connection looks clean. Asked last: it reads no more."""
        self.muted = True
        try:
            return bool(reader.peek(1))
        except ValueError:
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
        self.raw = raw = WatchedSocketIO(self.sock, "r")
        # The socket counts its streams, so that close() waits for the last of them.
        self.sock._io_refs += 1  # type: ignore[attr-defined]
        return io.BufferedReader(raw)
