"""Eight threads that want four connections, a process of its own with one kind of pool.

    python _crowd.py NAME PORT

reads lines "how many" and prints the seconds from one return to the next, all threads together, and
the longest that a thread waited for its turn.
"""

# ruff: noqa: PLC0415 - a process imports the one pool that it is

from __future__ import annotations

import queue
import select
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["CONNECTIONS", "CROWDS", "THREADS"]

THREADS, CONNECTIONS = 8, 4
MESSAGE = b"x" * 100

Turn = Callable[[], float]
"""Takes a connection, uses it and puts it back. Returns the seconds it took to get one."""
Use = Callable[[socket.socket], object]
Connection = tuple[socket.socket, Callable[[int], Any]]
"""With the way to look at it."""


def holdfast(address: tuple[str, int], use: Use) -> Turn:
    from holdfast import SocketPool

    acquire = SocketPool(address, maxsize=CONNECTIONS).acquire

    def turn() -> float:
        began = time.perf_counter()
        with acquire() as lease:
            got = time.perf_counter()
            use(lease.sock)
        return got - began

    return turn


class LifoPool:
    """As they are written: a queue of connections, each looked at before it is lent."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._queue: queue.LifoQueue[Connection] = queue.LifoQueue()
        for _ in range(CONNECTIONS):
            self._queue.put(_connection(address))

    def turn(self, use: Use) -> float:
        began = time.perf_counter()
        sock, look = item = self._queue.get(timeout=30)
        try:
            assert not look(0)
            got = time.perf_counter()
            use(sock)
        finally:
            self._queue.put(item)
        return got - began


def lifo(address: tuple[str, int], use: Use) -> Turn:
    pool = LifoPool(address)
    return lambda: pool.turn(use)


class FairPool:
    """The least that serves in the order of coming: one lock, the idle ones, and those who wait."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._lock = threading.Lock()
        self._idle = [_connection(address) for _ in range(CONNECTIONS)]
        self._waiting: deque[tuple[threading.Lock, list[Connection]]] = deque()

    def turn(self, use: Use) -> float:
        began = time.perf_counter()
        sock, look = item = self._take()
        try:
            assert not look(0)
            got = time.perf_counter()
            use(sock)
        finally:
            self._put(item)
        return got - began

    def _take(self) -> Connection:
        with self._lock:
            if self._idle:
                return self._idle.pop()
            wake, given = threading.Lock(), list[Connection]()
            wake.acquire()
            self._waiting.append((wake, given))
        wake.acquire(timeout=30)
        return given[0]

    def _put(self, item: Connection) -> None:
        with self._lock:
            if not self._waiting:
                self._idle.append(item)
                return
            wake, given = self._waiting.popleft()
            given.append(item)
            wake.release()


def fair(address: tuple[str, int], use: Use) -> Turn:
    pool = FairPool(address)
    return lambda: pool.turn(use)


def psycopg_pool(address: tuple[str, int], use: Use) -> Turn:
    """Serves in the order of coming as well. It does not look."""
    from _stub import psycopg_pool_of

    pool = psycopg_pool_of(address, CONNECTIONS)

    def turn() -> float:
        began = time.perf_counter()
        conn = pool.getconn(30)
        got = time.perf_counter()
        try:
            use(conn.sock)
        finally:
            pool.putconn(conn)
        return got - began

    return turn


def nothing(sock: socket.socket) -> None:
    pass


def exchange(sock: socket.socket) -> None:
    """With a process on the same machine."""
    sock.sendall(MESSAGE)
    assert len(sock.recv(len(MESSAGE))) == len(MESSAGE)


def millisecond(sock: socket.socket) -> None:  # noqa: ARG001
    """As an answer that takes a while."""
    time.sleep(0.001)


CROWDS: dict[str, tuple[Callable[[tuple[str, int], Use], Turn], Use]] = {
    f"{pool.__name__}, {use.__name__}": (pool, use)
    for use in (nothing, exchange, millisecond)
    for pool in (holdfast, lifo, fair, psycopg_pool)
}


def _connection(address: tuple[str, int]) -> Connection:
    sock = socket.create_connection(address)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.settimeout(60)
    poll = select.poll()
    poll.register(sock, select.POLLIN | select.POLLRDHUP)
    return sock, poll.poll


def _block(turn: Turn, times: int) -> tuple[float, float]:
    start = threading.Barrier(THREADS + 1)
    waits: list[float] = []

    def work() -> None:
        start.wait()
        waits.append(max(turn() for _ in range(times // THREADS)))

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    start.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    assert len(waits) == THREADS
    return seconds / times, max(waits)


def _main(name: str, port: str, lines: Iterable[str]) -> None:
    pool, use = CROWDS[name]
    turn = pool(("127.0.0.1", int(port)), use)
    for line in lines:
        print(*_block(turn, int(line)), flush=True)


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2], sys.stdin)
