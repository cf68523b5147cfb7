"""One pool, a process of its own: takes a connection out and puts it back, as often as it is told.

    python _takers.py NAME

Each has one connection, to a listener in this process, on which nothing happens. It reads lines "how
many" and prints the seconds that one taking and putting back took. Beside it a thread sleeps, in all of
them: a pool is for programs with threads, and system calls are cheaper in one that never had any.
"""

# ruff: noqa: PLC0415 - a process imports the one pool that it is

from __future__ import annotations

import ipaddress
import select
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

__all__ = ["TAKERS"]

Take = Callable[[int], None]
"""So many times."""
Address = tuple[str, int]


def floor(address: Address) -> Take:
    """The least there is: a stack, and a look by an object that is there already."""
    idle = deque([socket.create_connection(address)])
    poll = select.poll()
    poll.register(idle[0], select.POLLIN | select.POLLRDHUP)
    look = poll.poll

    def take(times: int) -> None:
        for _ in range(times):
            sock = idle.pop()
            if look(0):
                raise AssertionError
            idle.append(sock)

    return take


def holdfast(address: Address) -> Take:
    from holdfast import SocketPool

    return _acquiring(SocketPool(address).acquire)


def holdfast_with(address: Address) -> Take:
    """As it is written, and with a heartbeat, which a connection in steady use does not pay for."""
    from holdfast import Heartbeat, Policy, SocketPool

    heartbeat = Heartbeat(send=b"PING", expect=b"PONG", interval=30)
    acquire = SocketPool(address, policy=Policy(heartbeat=heartbeat)).acquire

    def take(times: int) -> None:
        for _ in range(times):
            with acquire():
                pass

    return take


def holdfast_counting_sleep(address: Address) -> Take:
    """With the clock that it goes by where the kernel can be suspended."""
    from holdfast import Policy, SocketPool

    clock = partial(time.clock_gettime, getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
    return _acquiring(SocketPool(address, policy=Policy(clock=clock)).acquire)


def urllib3(address: Address) -> Take:
    """Looks: is_connection_dropped."""
    import urllib3

    pool = urllib3.HTTPConnectionPool(*address)
    conn = pool._get_conn()
    conn.connect()
    pool._put_conn(conn)

    def take(times: int) -> None:
        for _ in range(times):
            conn = pool._get_conn()
            pool._put_conn(conn)

    return _checked(take, lambda: pool.num_connections == 1)


def redis_py(address: Address) -> Take:
    """Looks: can_read. Told to send nothing when it connects, for there is no Redis."""
    import redis

    host, port = address
    pool = redis.ConnectionPool(host=host, port=port, protocol=2, lib_name=None, lib_version=None)

    def take(times: int) -> None:
        for _ in range(times):
            conn = pool.get_connection()
            pool.release(conn)

    return _checked(take, lambda: len(pool._available_connections) == 1)


def sqlalchemy(address: Address) -> Take:
    """Does not look (pre_ping off), and is told not to roll back either."""
    from sqlalchemy.pool import QueuePool

    pool = QueuePool(lambda: socket.create_connection(address), reset_on_return=None)  # type: ignore[arg-type]

    def take(times: int) -> None:
        for _ in range(times):
            conn = pool.connect()
            conn.close()

    return _checked(take, lambda: pool.checkedin() == 1)


def generic_connection_pool(address: Address) -> Take:
    """Does not look on this way."""
    from generic_connection_pool.contrib.socket import TcpSocketConnectionManager
    from generic_connection_pool.threading import ConnectionPool

    pool = ConnectionPool(TcpSocketConnectionManager())
    endpoint = (ipaddress.ip_address(address[0]), address[1])

    def take(times: int) -> None:
        for _ in range(times):
            conn = pool.acquire(endpoint)
            pool.release(conn, endpoint)

    return _checked(take, lambda: pool.get_size() == 1)


def psycopg_pool(address: Address) -> Take:
    """Does not look (check=None)."""
    from _stub import psycopg_pool_of

    pool = psycopg_pool_of(address, 1)

    def take(times: int) -> None:
        for _ in range(times):
            conn = pool.getconn()
            pool.putconn(conn)

    return _checked(take, lambda: pool.get_stats()["connections_num"] == 1)


TAKERS: dict[str, Callable[[Address], Take]] = {
    "floor": floor,
    "holdfast": holdfast,
    "holdfast, with, heartbeat": holdfast_with,
    "holdfast, counting sleep": holdfast_counting_sleep,
    "urllib3": urllib3,
    "redis-py": redis_py,
    "SQLAlchemy": sqlalchemy,
    "generic-connection-pool": generic_connection_pool,
    "psycopg_pool": psycopg_pool,
}


def _acquiring(acquire: Callable[[], Any]) -> Take:
    def take(times: int) -> None:
        for _ in range(times):
            lease = acquire()
            lease.release()

    return take


def _checked(take: Take, is_sound: Callable[[], bool]) -> Take:
    def checked(times: int) -> None:
        take(times)
        assert is_sound(), "it did not put back what it took, which is not what is measured here"

    return checked


def _main(name: str, lines: Iterable[str]) -> None:
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listener:
        take = TAKERS[name](listener.getsockname())
        for line in lines:
            times = int(line)
            began = time.perf_counter()
            take(times)
            print((time.perf_counter() - began) / times, flush=True)


if __name__ == "__main__":
    _main(sys.argv[1], sys.stdin)
