"""When did the last data come in on this socket? The kernel knows, whoever has read it."""

from __future__ import annotations

import socket
import struct
import sys

__all__ = ["seconds_since_data"]

_TCP_INFO = getattr(socket, "TCP_INFO", None)
_LAST_DATA_RECV = struct.Struct("@52xI")
"""``tcpi_last_data_recv`` in ``struct tcp_info`` (linux/tcp.h), in milliseconds."""
_FAMILIES = (socket.AF_INET, socket.AF_INET6)


def seconds_since_data(sock: socket.socket) -> float | None:
    """Since the connection was established if there was none. None where nobody knows."""
    if _TCP_INFO is None or sys.platform != "linux" or sock.family not in _FAMILIES:
        return None
    try:
        answer = sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _LAST_DATA_RECV.size)
        return float(_LAST_DATA_RECV.unpack(answer)[0]) / 1000
    except (OSError, struct.error):
        return None
