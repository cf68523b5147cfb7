"""Many threads, few connections, and a peer that kills connections at random."""

from __future__ import annotations

import random
import socket
import threading

from socket_peer import Peer, reset

from holdfast import Heartbeat, Policy, PoolLimits, SocketPool

THREADS = 32
ROUNDS = 60
NUMBER = 8
"""Bytes of each message: one number, which must come back."""


def killer(conn: socket.socket) -> None:
    chance = random.Random(conn.fileno())
    while data := conn.recv(NUMBER):
        fate = chance.random()
        if fate < 0.03:
            reset(conn)
            return
        if fate < 0.06:
            return
        conn.sendall(data)
        if fate > 0.97:
            conn.shutdown(socket.SHUT_WR)  # as it lies down to rest


class Users:
    """What all threads together see."""

    def __init__(self, pool: SocketPool) -> None:
        self._pool = pool
        self._lock = threading.Lock()
        self._in_use: set[socket.socket] = set()
        self.most = self.served = self.failed = 0
        self.wrong: list[object] = []

    def work(self, number: int) -> None:
        for turn in range(ROUNDS):
            try:
                self._use(number * ROUNDS + turn)
            except OSError:
                with self._lock:
                    self.failed += 1
            except BaseException as error:
                self.wrong.append(error)
                raise

    def _use(self, number: int) -> None:
        message = number.to_bytes(NUMBER, "big")
        with self._pool.acquire(timeout=30) as lease:
            sock = lease.sock
            self._enter(sock)
            try:
                sock.sendall(message)
                answer = sock.recv(NUMBER)
            finally:
                self._leave(sock)
            if answer == b"":
                raise ConnectionResetError
            if answer != message:
                self.wrong.append((message, answer))
        with self._lock:
            self.served += 1

    def _enter(self, sock: socket.socket) -> None:
        with self._lock:
            if sock in self._in_use:
                self.wrong.append("lent twice")
            self._in_use.add(sock)
            self.most = max(self.most, len(self._in_use))

    def _leave(self, sock: socket.socket) -> None:
        with self._lock:
            self._in_use.discard(sock)


def test_nothing_is_lost_leaked_or_lent_twice() -> None:
    policy = Policy(
        limits=PoolLimits(max_uses=40, idle_timeout=0.02),
        heartbeat=Heartbeat(send=b"\xff" * NUMBER, expect=b"\xff" * NUMBER, interval=0.01, timeout=0.01),
    )
    with Peer(killer) as peer, SocketPool(peer.address, policy=policy, maxsize=6, min_idle=1) as pool:
        users = Users(pool)
        threads = [threading.Thread(target=users.work, args=(number,)) for number in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert users.wrong == []
        assert users.served + users.failed == THREADS * ROUNDS
        assert users.served > users.failed
        assert users.most <= 6
        stats = pool.stats()
        assert (stats.leased, stats.waiting, stats.leaked) == (0, 0, 0)
        assert stats.opened == stats.open - stats.opening + sum(stats.closed.values())
