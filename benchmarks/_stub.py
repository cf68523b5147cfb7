"""psycopg_pool's pool of sockets that pass for connections to PostgreSQL."""

from __future__ import annotations

import socket
from typing import Any

from psycopg.pq import TransactionStatus
from psycopg_pool import ConnectionPool
from typing_extensions import Self

__all__ = ["psycopg_pool_of"]


class _PgConn:
    transaction_status = TransactionStatus.IDLE


class _Connection:
    """All of a connection that the pool looks at."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.pgconn = _PgConn()
        self.sock = socket.create_connection(address)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.settimeout(60)

    @classmethod
    def connect(cls, conninfo: str, **_: object) -> Self:
        host, port = conninfo.split(":")
        return cls((host, int(port)))

    def close(self) -> None:
        self.sock.close()


def psycopg_pool_of(address: tuple[str, int], size: int) -> Any:
    host, port = address
    kind: Any = _Connection
    pool: Any = ConnectionPool(f"{host}:{port}", connection_class=kind, min_size=size, open=True)
    pool.wait()
    return pool
