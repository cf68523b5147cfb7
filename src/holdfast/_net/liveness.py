"""Is anything on this idle socket? A look says "dead" or "nothing known against it", never "alive".

Between a look and the first byte of the request the peer may still hang up. No look closes that
gap; recovery deals with what falls into it.
"""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Callable
from enum import Enum, auto
from typing import Protocol

from holdfast._net.ragged import is_ragged_end
from holdfast._net.timeouts import timeout_of

__all__ = ["Look", "Sight"]


class Sight(Enum):
    """What a look found."""

    QUIET = auto()
    """Nothing known against it."""
    ENDED = auto()
    """FIN, or close_notify over TLS."""
    RESET = auto()
    """RST, or another error the kernel holds for it."""
    BYTES = auto()
    """Bytes that nobody asked for."""
    UNKNOWN = auto()
    """The socket cannot be looked at this way."""


class PooledSocket(Protocol):
    """What a look needs: ``socket.socket``, ``ssl.SSLSocket`` and their stand-ins have it."""

    def fileno(self) -> int: ...
    def recv(self, bufsize: int, flags: int = ..., /) -> bytes: ...
    def settimeout(self, value: float | None, /) -> None: ...


# A half-closed peer shows as POLLRDHUP where there is one (Linux); elsewhere EOF shows as POLLIN.
_EVENTS = getattr(select, "POLLIN", 0) | getattr(select, "POLLPRI", 0) | getattr(select, "POLLRDHUP", 0)
_PEEK = socket.MSG_PEEK | getattr(socket, "MSG_DONTWAIT", 0)
_DEAF = (BlockingIOError, InterruptedError, TimeoutError, ssl.SSLWantReadError)


class Look:
    """Looks at one socket, as often as wanted; made once, when it was connected.

    The poll object is kept: making and registering one costs several times the system call."""

    __slots__ = ("_sock", "pending", "poll")

    def __init__(self, sock: PooledSocket) -> None:
        self._sock = sock
        self.poll: Callable[[int], object] | None = _poller(sock)
        """Called with 0 (milliseconds): truthy if anything happened on the descriptor. None if there is no
        way to tell. The poll's own method, as it is called for each lease, and what is around it costs, too."""
        self.pending: Callable[[], int] | None = getattr(sock, "pending", None)
        """Bytes that OpenSSL has decrypted already do not show on the descriptor."""

    def __call__(self) -> Sight:
        """Never blocks and takes nothing off a plain socket. From a TLS socket it takes what is
        no application data (session tickets); after anything but QUIET the socket must be closed."""
        if self.poll is None:
            return Sight.UNKNOWN
        try:
            if self.poll(0):
                return self._inspect()
            if self.pending is not None and self.pending():
                return Sight.BYTES
        except (OSError, ValueError):
            return Sight.RESET
        return Sight.QUIET

    def _inspect(self) -> Sight:
        if type(self._sock) is socket.socket:
            return _sight(self._sock.recv(1, _PEEK))
        return self._read_through_tls()

    def _read_through_tls(self) -> Sight:
        """A readable TLS socket may hold no data at all: TLS 1.3 session tickets arrive after the
        handshake and poll cannot tell them from an answer. Reading is the only way to know."""
        sock = self._sock
        timeout = timeout_of(sock)
        sock.settimeout(0.0)
        try:
            return _sight(sock.recv(1))
        except _DEAF:
            return Sight.QUIET
        except OSError as error:
            return Sight.ENDED if is_ragged_end(error) else Sight.RESET
        finally:
            sock.settimeout(timeout)


def _sight(data: bytes) -> Sight:
    return Sight.BYTES if data else Sight.ENDED


def _poller(sock: PooledSocket) -> Callable[[int], object] | None:
    try:
        descriptor = sock.fileno()
        if not hasattr(select, "poll"):
            return _SelectPoll(descriptor)
        poll = select.poll()
        poll.register(descriptor, _EVENTS)
    except (AttributeError, OSError, TypeError, ValueError):
        # A stand-in without a descriptor: ssh channels, named pipes, mocks.
        return None
    return poll.poll


class _SelectPoll:
    """Windows has select only, and there it takes any number of a socket."""

    __slots__ = ("_watched",)

    def __init__(self, descriptor: int) -> None:
        self._watched = [descriptor]

    def __call__(self, milliseconds: int) -> object:
        readable, _, broken = select.select(self._watched, [], self._watched, milliseconds / 1000)
        return readable or broken
