"""What the kernel counts on a TCP connection: proof that nothing was sent, or that something came.

Fields of ``struct tcp_info`` (linux/tcp.h): ``tcpi_unacked`` (u32 at 24), ``tcpi_notsent_bytes`` (u32 at
144), ``tcpi_data_segs_in`` (u32 at 152) and, from Linux 4.19, ``tcpi_bytes_sent`` (u64 at 200). One call
gives all of them as of one moment. ``tcpi_bytes_received`` will not do: it counts a FIN as a byte.
"""

from __future__ import annotations

import socket
import struct
import sys
from dataclasses import dataclass
from typing import Any

from holdfast.vocabulary import Progress

__all__ = ["Transferred", "progress_since", "transferred"]

_FIELDS = struct.Struct("=24xI116xI4xI44xQ")
_TCP_INFO = getattr(socket, "TCP_INFO", None)
_FAMILIES = (socket.AF_INET, socket.AF_INET6)


@dataclass(frozen=True)
class Transferred:
    """Since the connection was opened."""

    sent: int
    """Bytes handed to the network, those that were sent again counted again."""
    queued: int
    """Handed to the kernel, and not yet to the network, or not yet acknowledged."""
    received: int
    """Segments with data that came in."""


def transferred(sock: Any) -> Transferred | None:
    """None where the kernel does not tell: other platforms, other sockets, closed ones."""
    if _TCP_INFO is None or sys.platform != "linux" or not isinstance(sock, socket.socket):
        return None
    if sock.family not in _FAMILIES:
        return None
    try:
        answer = sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _FIELDS.size)
        unacked, unsent, received, sent = _FIELDS.unpack(answer)
    except (OSError, struct.error):
        return None
    return Transferred(sent=sent, queued=unsent + unacked, received=received)


def progress_since(before: Transferred | None, after: Transferred | None) -> Progress:
    """How far a request got, seen from the socket alone. A doubt is ``MAYBE_PROCESSED``.

    Nothing was sent, and nothing can be any more, if the count of sent bytes stands where it stood and
    nothing is queued: a queue that a reset has emptied is lost for good, but one that still holds bytes may
    deliver them yet, even after the socket was closed.
    """
    if before is None or after is None:
        return Progress.MAYBE_PROCESSED
    if after.received > before.received:
        return Progress.RESPONSE_STARTED
    if after.sent == before.sent and after.queued == 0 and before.queued == 0:
        return Progress.NOT_SENT
    return Progress.MAYBE_PROCESSED
