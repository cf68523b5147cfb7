"""What the client's kernel already knows: asked, not guessed, so that no test has to sleep.

Both ends of a loopback connection live in one kernel, and Linux tells anyone about any socket
(sock_diag(7), the interface behind `ss`). An acknowledgement would tell the same some 40 ms later:
the kernel delays those. Where the question cannot be asked, `GRACE` seconds pass instead.
"""

from __future__ import annotations

import errno
import functools
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

__all__ = ["PATIENCE", "Address", "has_arrived", "is_over", "until", "was_read"]

Address = tuple[str, int]

# How long anything that must happen may take. Only a bug, or a machine that stands still, gets there.
PATIENCE = 5.0
GRACE = 0.02
_PACE = 0.0001

_SOCK_DIAG_BY_FAMILY = 20
_NLMSG_ERROR = 2
_NLM_F_REQUEST = 1
_NETLINK_SOCK_DIAG = 4
_INET_DIAG_INFO = 2
_ANY_STATE = 0xFFFFFFFF
_NO_COOKIE = (0xFFFFFFFF, 0xFFFFFFFF)
_ESTABLISHED = 1

# Offsets: struct nlmsghdr is 16 bytes, struct inet_diag_msg 72 with idiag_state at 1 and
# idiag_rqueue at 56; attributes follow. In struct tcp_info: see linux/tcp.h.
_STATE = 16 + 1
_UNREAD = 16 + 56
_ATTRIBUTES = 16 + 72
_TCPI_NOTSENT_BYTES = 144
_TCPI_BYTES_RECEIVED = 128
_TCPI_BYTES_SENT = 200
_TCPI_BYTES_RETRANS = 208
_TCP_INFO_SIZE = 232


class Sight(NamedTuple):
    """What the kernel tells about one socket: TCP state, bytes not yet read, bytes ever received."""

    state: int
    unread: int
    received: int


def until(condition: Callable[[], bool]) -> bool:
    """Wait until `condition`, one of those below, holds; False after PATIENCE."""
    if not _can_look():
        time.sleep(GRACE)
        return True
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_PACE)
    return True


def is_over(client: Address, server: Address) -> bool:
    """Whether the client's kernel has our FIN or RST. A client that left counts, here and below."""
    sight = _look(client, server)
    return sight is None or sight.state != _ESTABLISHED


def has_arrived(sock: socket.socket, client: Address, server: Address) -> bool:
    """Whether all we sent over `sock` is in the client's kernel, read or not."""
    sight = _look(client, server)
    return sight is None or sight.state != _ESTABLISHED or sight.received >= _handed_over(sock)


def was_read(sock: socket.socket, client: Address, server: Address) -> bool:
    """Whether the client has taken all we sent over `sock` out of its kernel."""
    sight = _look(client, server)
    if sight is None or sight.state != _ESTABLISHED:
        return True
    return sight.unread == 0 and sight.received >= _handed_over(sock)


def _handed_over(sock: socket.socket) -> int:
    assert sys.platform == "linux"
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE)
    (waiting,) = struct.unpack_from("=I", info, _TCPI_NOTSENT_BYTES)
    sent, sent_again = struct.unpack_from("=QQ", info, _TCPI_BYTES_SENT)
    return int(waiting + sent - sent_again)


@functools.lru_cache(maxsize=1)
def _can_look() -> bool:
    """Try it on a connection of our own: other systems lack it, and a sandbox may forbid it."""
    if sys.platform != "linux":
        return False
    try:
        with (
            socket.create_server(("127.0.0.1", 0)) as listener,
            socket.create_connection(listener.getsockname()) as end,
        ):
            return _look(end.getsockname(), listener.getsockname()) is not None and _handed_over(end) == 0
    except (OSError, struct.error):
        return False


def _look(own: Address, peer: Address) -> Sight | None:
    """Ask about the socket at `own` that talks to `peer`; None: the kernel has none such any more."""
    assert sys.platform == "linux"
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as diag:
        diag.send(_question(own, peer))
        return _sight(diag.recv(8192))


def _question(own: Address, peer: Address) -> bytes:
    sockid = struct.pack(
        "!HH4s12x4s12x", own[1], peer[1], socket.inet_aton(own[0]), socket.inet_aton(peer[0])
    ) + struct.pack("=III", 0, *_NO_COOKIE)
    wanted = 1 << (_INET_DIAG_INFO - 1)
    body = struct.pack("=BBBxI", socket.AF_INET, socket.IPPROTO_TCP, wanted, _ANY_STATE) + sockid
    return struct.pack("=IHHII", 16 + len(body), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0) + body


def _sight(answer: bytes) -> Sight | None:
    length, kind = struct.unpack_from("=IH", answer)
    if kind == _NLMSG_ERROR:
        (error,) = struct.unpack_from("=i", answer, 16)
        if -error == errno.ENOENT:
            return None
        raise OSError(-error, "the kernel does not tell about sockets")
    (unread,) = struct.unpack_from("=I", answer, _UNREAD)
    return Sight(answer[_STATE], unread, _bytes_received(answer[:length]))


def _bytes_received(answer: bytes) -> int:
    at = _ATTRIBUTES
    while at < len(answer):
        length, kind = struct.unpack_from("=HH", answer, at)
        if kind == _INET_DIAG_INFO:
            return int(struct.unpack_from("=Q", answer, at + 4 + _TCPI_BYTES_RECEIVED)[0])
        at += (length + 3) & ~3
    # A socket in TIME_WAIT has no tcp_info any more; nobody asks how much it received.
    return 0
