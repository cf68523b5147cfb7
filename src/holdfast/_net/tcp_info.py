"""Asking the kernel about a TCP connection: TCP_INFO, the send queue, the pending error (man 7 tcp,
man 7 socket). Linux only; elsewhere every answer is None, which means "unknown".

macOS could tell a part of it by TCP_CONNECTION_INFO and SO_NWRITE, Windows by SIO_TCP_INFO. Neither
has been tried, so neither is used: a wrong claim made from it would execute a request twice.
"""

from __future__ import annotations

import errno
import select
import socket
import struct
import sys
import time
from socket import IPPROTO_TCP
from typing import Any, NamedTuple

from holdfast._core.evidence import CLOSE, CLOSE_WAIT, Ending, TcpSnapshot

if sys.platform != "win32":
    import fcntl
    import termios

__all__ = ["LEAST", "TICK", "End", "ask", "await_ending", "idle_for", "look_at_end", "read", "snapshot"]

# struct tcp_info of linux/tcp.h. It only ever grows at its end: the first part is what kernels from 4.6
# on have, the second came with 4.19. A kernel that is older than that, or a sandbox that pretends to be
# one, tells less, and is taken for one that tells nothing.
_LAYOUT = struct.Struct("=Bx B 5x I 12x I 16x I 4x I 12x I 28x I 16x Q 16x I I")
_LATER = struct.Struct("=152x I 44x Q")
_UNKNOWN_LATER = (None, None)
_PROBING = struct.Struct("=3x B 52x I 12x I 60x I I")
"""What only the kernel's probe asks about; as old as the first part."""
LEAST = _LAYOUT.size
SIZE = _LATER.size
_TCP_INFO = getattr(socket, "TCP_INFO", None) if sys.platform == "linux" else None
_QUEUE = struct.Struct("i")

TICK = time.clock_getres(time.CLOCK_MONOTONIC_COARSE) if hasattr(time, "CLOCK_MONOTONIC_COARSE") else 0.010
"""Seconds between the ticks in which the kernel notes when data came and went."""


def ask(sock: Any) -> bytes | None:
    """TCP_INFO as it comes, for the path of every request; ``read`` makes sense of it. None where the
    kernel cannot tell: another platform or an old kernel, no TCP socket, one that is closed."""
    try:
        answer: bytes = sock.getsockopt(IPPROTO_TCP, _TCP_INFO, SIZE)
    except (OSError, AttributeError, TypeError):
        return None
    return answer if len(answer) >= LEAST else None


def read(answer: bytes) -> TcpSnapshot:
    later = _LATER.unpack_from(answer) if len(answer) >= SIZE else _UNKNOWN_LATER
    return TcpSnapshot(*_LAYOUT.unpack_from(answer), *later, *_PROBING.unpack_from(answer))


def snapshot(sock: Any) -> TcpSnapshot | None:
    answer = ask(sock)
    return None if answer is None else read(answer)


def idle_for(sock: Any, idle: float) -> float:
    """Seconds since its last data came in. ``idle``: since it was read, which is later by what its reader had
    to wait for, and all there is where the kernel cannot tell. A FIN is no data."""
    told = snapshot(sock)
    return idle if told is None else max(idle, told.quiet_for)


class End(NamedTuple):
    """What the kernel said when the end of a connection was read. To be asked once: the pending error
    is gone when it was read."""

    fin_seen: bool
    last: TcpSnapshot
    orderly: bool = False
    """The end of the stream was read, as opposed to an error."""

    @property
    def is_reset(self) -> bool:
        """It is over, and no FIN came before."""
        return self.last.state == CLOSE and not self.fin_seen


def look_at_end(sock: Any) -> End | None:
    """None where the kernel cannot tell."""
    last = snapshot(sock)
    if last is None:
        return None
    return End(
        last.state == CLOSE_WAIT or (last.state == CLOSE and _pending_error(sock) == errno.EPIPE), last
    )


def await_ending(sock: Any, before: TcpSnapshot, end: End) -> Ending:
    """Waits, as long as an answer of the peer's kernel may take, for the final state of a connection
    whose end was read. ``before``: taken before the request went out.

    Over TLS the end may be read before the FIN is here: a close_notify comes ahead of it."""
    fin_seen, last = end.fin_seen, end.last
    poll = select.poll()
    poll.register(sock, 0)  # POLLHUP and POLLERR come unasked
    until = time.monotonic() + last.patience
    while last.state != CLOSE and last.bytes_acked == before.bytes_acked:
        left = until - time.monotonic()
        if left <= 0:
            break
        # In slices: a FIN, or an acknowledgement (which ends the wait as well), is no such event.
        poll.poll(max(1.0, min(left, last.rtt, 0.02) * 1000))
        now = look_at_end(sock)
        if now is None:
            break
        fin_seen, last = fin_seen or now.fin_seen, now.last
    return Ending(fin_seen, last, _send_queue(sock))


def _pending_error(sock: Any) -> int:
    try:
        return int(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
    except OSError:
        return 0


def _send_queue(sock: Any) -> int | None:
    """Bytes written and not acknowledged; Linux keeps the count also after a reset."""
    if sys.platform == "win32":
        return None
    try:
        return int(_QUEUE.unpack(fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, _QUEUE.pack(0)))[0])
    except (OSError, ValueError):
        return None
