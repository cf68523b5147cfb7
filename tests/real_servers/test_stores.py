"""What holds for pooled connections to Redis, memcached and PostgreSQL alike."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from close_waits import in_close_wait, longest_close_wait
from conversation import Start
from servers import HOST
from starting import start
from stores import STORES, Memcached, Store, StoreError
from typing_extensions import Self

from holdfast import CloseReason, Policy, SocketPool
from holdfast.events import ConnectionClosed, Event

__all__ = ["start"]  # a fixture

pytestmark = pytest.mark.real_servers

SOON = 0.1
"""Seconds within which a connection whose server hung up has to be closed, though nobody calls."""
LONG_IDLE = 3600
GOODBYES = {CloseReason.PEER_CLOSED, CloseReason.STRAY_BYTES}
"""PostgreSQL's is a message: bytes that nobody asked for."""

every_store = pytest.mark.parametrize("kind", STORES, ids=lambda kind: kind.name)


class Closes:
    """A listener that knows how many connections were closed, without a call to the pool."""

    def __init__(self) -> None:
        self.reasons: Counter[CloseReason] = Counter()

    def __call__(self, event: Event) -> None:
        if isinstance(event, ConnectionClosed):
            self.reasons[event.reason] += 1

    @property
    def count(self) -> int:
        return self.reasons.total()


@contextmanager
def pooled(server: Store, policy: Policy | None = None, **settings: Any) -> Iterator[SocketPool]:
    settings = {"on_connect": server.log_in, "timeout": 10.0, **settings}
    with SocketPool((HOST, server.port), policy=policy, **settings) as pool:
        yield pool


def open_and_rest(pool: SocketPool, count: int) -> None:
    """So many connections, all idle."""
    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(pool.acquire())


def ask(pool: SocketPool, server: Store, number: int) -> None:
    with pool.acquire() as lease:
        assert server.ask(lease.sock, number) == number


def started(start: Start, kind: type[Store], idle: int) -> Store:
    server = start(kind, idle)
    assert isinstance(server, Store)
    return server


@every_store
def test_what_the_server_hangs_up_on_is_closed_without_any_call_and_not_lent(
    start: Start, kind: type[Store]
) -> None:
    server = started(start, kind, idle=1)
    closes = Closes()
    with pooled(server, Policy(listener=closes)) as pool:
        open_and_rest(pool, 5)
        waited = longest_close_wait(server.port, until=lambda: closes.count == 5)
        assert waited < SOON
        assert in_close_wait(server.port) == set()
        assert set(closes.reasons) <= GOODBYES
        ask(pool, server, 7)
        assert pool.stats().opened == 6


@every_store
def test_a_heartbeat_keeps_a_connection_beyond_the_servers_idle_limit(
    start: Start, kind: type[Store]
) -> None:
    server = started(start, kind, idle=1)
    heartbeat = kind.heartbeat(interval=0.4, timeout=0.3)
    with pooled(server, Policy(heartbeat=heartbeat)) as pool:
        open_and_rest(pool, 3)
        server.wait_for_hang_up()
        time.sleep(0.5)
        for number in range(3):
            ask(pool, server, number)
        stats = pool.stats()
    assert (stats.opened, dict(stats.closed)) == (3, {})
    assert stats.heartbeats >= 3 * 3


@every_store
def test_a_heartbeat_leaves_nothing_on_the_connection(start: Start, kind: type[Store]) -> None:
    """Questions right after, before and between heartbeats get their own answers."""
    server = started(start, kind, idle=0 if kind is not Memcached else LONG_IDLE)
    heartbeat = kind.heartbeat(interval=0.02, timeout=0.02)
    with pooled(server, Policy(heartbeat=heartbeat), maxsize=2) as pool:
        for number in range(100):
            ask(pool, server, number)
            time.sleep(0.001 * (number % 30))
        stats = pool.stats()
    assert stats.heartbeats > 10
    assert CloseReason.HEARTBEAT_WRONG not in stats.closed
    assert CloseReason.STRAY_BYTES not in stats.closed


@every_store
def test_after_a_restart_the_next_acquire_works(start: Start, kind: type[Store]) -> None:
    server = started(start, kind, idle=LONG_IDLE)
    closes = Closes()
    with pooled(server, Policy(listener=closes)) as pool:
        open_and_rest(pool, 4)
        server.stop()
        waited = longest_close_wait(server.port, until=lambda: closes.count == 4)
        assert waited < SOON
        server.restart()
        ask(pool, server, 1)
        assert pool.stats().opened == 5


class Users:
    """Threads that use a pool as fast as they can, while its server is restarted."""

    def __init__(self, pool: SocketPool, server: Store) -> None:
        self._pool, self._server = pool, server
        self._ending = threading.Event()
        self.right = 0
        self.failed: Counter[str] = Counter()
        self.wrong: list[object] = []
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(4)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def _work(self, number: int) -> None:
        while not self._ending.is_set():
            number += len(self._threads)
            try:
                with self._pool.acquire() as lease:
                    answer = self._server.ask(lease.sock, number)
            except (OSError, StoreError) as error:
                self.failed[type(error).__name__] += 1
                self._ending.wait(0.01)
            except BaseException as error:
                self.wrong.append(error)
                raise
            else:
                self.right += 1
                if answer != number:
                    self.wrong.append((number, answer))


@every_store
def test_a_restart_in_the_middle_of_use_costs_those_in_flight_and_nobody_else(
    start: Start, kind: type[Store]
) -> None:
    server = started(start, kind, idle=LONG_IDLE)
    heartbeat = kind.heartbeat(interval=0.05, timeout=0.05)
    with pooled(server, Policy(heartbeat=heartbeat), maxsize=3) as pool:
        with Users(pool, server) as users:
            time.sleep(0.3)
            server.restart()
            before, began = users.right, time.monotonic()
            ends = began + 15
            while users.right < before + 20:
                assert time.monotonic() < ends, users.failed
                time.sleep(0.01)
            back_after = time.monotonic() - began
        assert users.wrong == []
        failed = users.failed.copy()
        for number in range(20):
            ask(pool, server, number)
        stats = pool.stats()
    assert (stats.leased, stats.waiting) == (0, 0)
    print(kind.name, "right:", users.right, f"back after {back_after:.2f} s; failed:", dict(failed))  # noqa: T201
