"""Has the network changed? The kernel tells whoever listens (man 7 rtnetlink), Linux only.

A connection from an address that is gone, or over a way that is, is dead, and nothing on it shows that. What
tells more than it means does little harm: connections that would have been trusted have to prove themselves.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator

__all__ = ["Ears", "prick_up"]

# Multicast groups, kinds of messages and their heads, from linux/rtnetlink.h and linux/netlink.h.
_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400  # links; addresses and routes of IPv4; the same of IPv6
_NEW_LINK, _DEL_LINK, _GET_LINK = 16, 17, 18
_DEL_ADDRESS = 21
_NEW_ROUTE, _DEL_ROUTE = 24, 25
_HEAD = struct.Struct("=IHHII")
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
_REQUEST_DUMP = 0x1 | 0x300
_RUNNING = 0x40
_CLONED = 0x200
_SCOPE_LINK = 253
_MOST = 65_536
_HALF = 1
"""Some VPNs lay two routes that are half the world each over the default route."""


class Ears:
    """To be polled for reading, then asked what it was."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._running: set[int] = set()
        """Links, by their index. That one lost its carrier is told like any other of its news, so one
        has to know that it had one."""

    def fileno(self) -> int:
        return self._sock.fileno()

    def heard(self) -> bool:
        """Takes all that is there, and does not block. True if an own address is gone, if a default route
        is gone, or came or was replaced, which takes the way from the one before; if a link went down; or if
        so much happened that the kernel could not keep it all.

        What is only valid on one link, and new addresses, are nobody's loss."""
        changed = False
        while True:
            try:
                data, (sender, _) = self._sock.recvfrom(_MOST)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    return changed  # nothing more, or closed
                changed = True
                continue
            if sender == 0:  # the kernel
                for kind, body in _messages(data):
                    changed |= self._is_loss(kind, body)

    def close(self) -> None:
        self._sock.close()

    def _is_loss(self, kind: int, body: memoryview) -> bool:
        try:
            return self._reads_as_loss(kind, body)
        except struct.error:
            return True  # a kernel that says something else than we know may have said anything

    def _reads_as_loss(self, kind: int, body: memoryview) -> bool:
        if kind == _NEW_LINK:
            _, _, index, flags, _ = _LINK.unpack_from(body)
            return self._is_link_lost(index, running=bool(flags & _RUNNING))
        if kind == _DEL_LINK:
            return self._is_link_lost(_LINK.unpack_from(body)[2], running=False)
        if kind == _DEL_ADDRESS:
            scope: int = _ADDRESS.unpack_from(body)[3]
            return scope < _SCOPE_LINK
        if kind in {_NEW_ROUTE, _DEL_ROUTE}:
            _, size, *_, flags = _ROUTE.unpack_from(body)
            return size <= _HALF and not flags & _CLONED
        return False

    def _is_link_lost(self, index: int, *, running: bool) -> bool:
        if running:
            self._running.add(index)
            return False
        lost = index in self._running
        self._running.discard(index)
        return lost


def prick_up() -> Ears | None:
    """None where there is no netlink, or it is not permitted."""
    if not hasattr(socket, "AF_NETLINK"):
        return None
    try:
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    except OSError:
        return None
    ears = Ears(sock)
    try:
        sock.setblocking(False)
        sock.bind((0, _GROUPS))
        # Which links are up to begin with is told as if it were news.
        sock.send(_HEAD.pack(_HEAD.size + _LINK.size, _GET_LINK, _REQUEST_DUMP, 1, 0) + bytes(_LINK.size))
        ears.heard()
    except OSError:
        ears.close()
        return None
    return ears


def _messages(data: bytes) -> Iterator[tuple[int, memoryview]]:
    """Each with its kind. They are aligned to four bytes, and what is cut off is left out."""
    left = memoryview(data)
    while len(left) >= _HEAD.size:
        size, kind, *_ = _HEAD.unpack_from(left)
        if not _HEAD.size <= size <= len(left):
            return
        yield kind, left[_HEAD.size : size]
        left = left[(size + 3) & ~3 :]
