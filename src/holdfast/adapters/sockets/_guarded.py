"""A client's socket on a server, guarded: it reads and writes as before, and leaves quietly."""

from __future__ import annotations

import errno
import io
import socket
import ssl
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any

from typing_extensions import Self

from holdfast._core.sieve import Sieve
from holdfast._core.silence import Silence
from holdfast._net.ragged import is_ragged_end

if TYPE_CHECKING:
    from holdfast.adapters.sockets._guard import Guard

__all__ = ["GuardedSocket", "is_departure"]

_DEPARTED = {
    errno.ETIMEDOUT,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.ENOTCONN,
    errno.EBADF,
}


def is_departure(error: OSError) -> bool:
    """Whether an error means that the other end is gone. A timeout of the server's own, which has no
    errno, does not."""
    kinds = (ConnectionError, ssl.SSLZeroReturnError)
    return isinstance(error, kinds) or is_ragged_end(error) or error.errno in _DEPARTED


class GuardedSocket:
    """Stands in for the socket where it is read and written; everything else is the socket's own.

    A client that has left looks like one that has finished: ``recv`` answers ``b""``, and ``sendall``
    answers False. Neither raises, so a broadcast needs no ``try``.
    """

    def __init__(self, guard: Guard, sock: socket.socket, silence: Silence, sieve: Sieve | None) -> None:
        self._guard = guard
        self.sock = sock
        """The real socket."""
        self._silence = silence
        self._sieve = sieve
        self._ready = b""
        self._send_lock = threading.Lock()
        self.departed = False
        """It is gone; ``on_dead`` has been, or is being, told."""

    def recv(self, size: int) -> bytes:
        """Up to ``size`` bytes, heartbeats taken out; ``b""`` at the end, whatever the end was."""
        while not self._ready:
            try:
                data = self.sock.recv(size)
            except OSError as error:
                if not is_departure(error):
                    raise
                self._guard._departed(self, error)
                return b""
            if not data:
                return b"" if self._sieve is None else self._sieve.rest()
            self._ready = self._take_in(data)
        answer, self._ready = self._ready[:size], self._ready[size:]
        return answer

    def recv_into(self, buffer: Any, size: int = 0) -> int:
        """As ``socket.recv_into``."""
        view = memoryview(buffer)
        data = self.recv(size or len(view))
        view[: len(data)] = data
        return len(data)

    def sendall(self, data: Any) -> bool:
        """Whether the kernel took it. False once the client is gone, which is counted."""
        if self.departed:
            self._guard._dropped_write()
            return False
        try:
            with self._send_lock:
                self.sock.sendall(data)
        except OSError as error:
            if not is_departure(error):
                raise
            self._guard._dropped_write()
            self._guard._departed(self, error)
            return False
        return True

    def send(self, data: Any) -> int:
        """All of it, or, once the client is gone, none of it, which looks the same."""
        self.sendall(data)
        return len(memoryview(data).cast("B"))

    def makefile(self, mode: str = "r", buffering: int = -1, **settings: Any) -> Any:
        """As ``socket.makefile``."""
        stream: Any = _Stream(self)
        if buffering == 0:
            return stream
        size = buffering if buffering > 1 else io.DEFAULT_BUFFER_SIZE
        if "w" in mode:
            stream = (
                io.BufferedRWPair(stream, stream, size) if "r" in mode else io.BufferedWriter(stream, size)
            )
        else:
            stream = io.BufferedReader(stream, size)
        return stream if "b" in mode else io.TextIOWrapper(stream, **settings)

    def fileno(self) -> int:
        return self.sock.fileno()

    def close(self) -> None:
        """Closes the socket, which is guarded no more."""
        self._guard.forget(self)
        self.sock.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sock, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take_in(self, data: bytes) -> bytes:
        self._silence.heard(self._guard._now())
        if self._sieve is None:
            return data
        passed, heartbeats = self._sieve.feed(data)
        for heartbeat in heartbeats:
            self._guard._answer(self, heartbeat)
        return passed


class _Stream(io.RawIOBase):
    """For ``makefile``."""

    def __init__(self, client: GuardedSocket) -> None:
        self._client = client

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._client.recv_into(buffer)

    def write(self, data: Any) -> int:
        return self._client.send(data)

    def fileno(self) -> int:
        return self._client.fileno()
