"""Raw sockets: a pool for clients, and a guard for servers."""

from __future__ import annotations

from holdfast._core.sieve import Frames, Lines
from holdfast._threads.lease import Lease
from holdfast.adapters.sockets import heartbeats
from holdfast.adapters.sockets._guard import Gone, Guard, GuardStats
from holdfast.adapters.sockets._guarded import GuardedSocket
from holdfast.adapters.sockets._pool import SocketPool
from holdfast.adapters.sockets._stats import PoolStats

__all__ = [
    "Frames",
    "Gone",
    "Guard",
    "GuardStats",
    "GuardedSocket",
    "Lease",
    "Lines",
    "PoolStats",
    "SocketPool",
    "heartbeats",
]
