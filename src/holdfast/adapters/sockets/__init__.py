"""Raw sockets: a pool for clients, and a guard for servers."""

from __future__ import annotations

from holdfast._threads.lease import Lease
from holdfast.adapters.sockets._pool import SocketPool
from holdfast.adapters.sockets._stats import PoolStats

__all__ = ["Lease", "PoolStats", "SocketPool"]
