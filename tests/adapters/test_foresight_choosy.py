"""A request that must not be executed twice is choosier about its connection, and takes nothing from others."""

from __future__ import annotations

import random
import select
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from test_foresight_outposts import LIMIT, know, make_pool
from urllib3 import HTTPConnectionPool
from urllib3.exceptions import ProtocolError

import holdfast
from holdfast import CloseReason, Policy, PoolLimits, Reply
from holdfast._threads import origins
from holdfast.adapters import _network_news
from holdfast.adapters.urllib3 import _pool
from holdfast.testing import FakeClock, Fault, Request, Response
from holdfast.testing.fixtures import StartFaultServer

NEAR = LIMIT - 0.08
"""Too near to the limit for a POST, good enough for a GET."""
PATIENCE = 10.0
HEARD_OF = 1.1
"""Seconds after which a kernel can be asked; it counts them itself."""


def places(pool: HTTPConnectionPool) -> list[Any]:
    assert pool.pool is not None
    return list(pool.pool.queue)


def test_a_get_rides_what_a_post_does_not(fault_server: StartFaultServer, fake_clock: FakeClock) -> None:
    server = fault_server([])
    with make_pool(server, fake_clock, maxsize=2) as pool:
        pool.request("GET", "/a")
        fake_clock.advance(NEAR)
        pool.request("GET", "/b")
        assert holdfast.stats(pool).opened == 1
        fake_clock.advance(NEAR)
        pool.request("POST", "/c", body=b"x")
        assert holdfast.stats(pool).opened == 2
        assert holdfast.stats(pool).closed == {}


@pytest.mark.parametrize("maxsize", [2, 3, 10])
def test_what_a_post_leaves_is_lent_to_the_next_get_while_the_post_is_out(
    fault_server: StartFaultServer, fake_clock: FakeClock, maxsize: int
) -> None:
    opened: list[int] = []

    def respond(request: Request) -> Response:
        if request.method == "POST":
            pool.request("GET", "/meanwhile")
            opened.append(holdfast.stats(pool).opened)
        return Response(body=b"ok")

    server = fault_server([], respond=respond)
    with make_pool(server, fake_clock, maxsize=maxsize) as pool:
        pool.request("GET", "/a")
        fake_clock.advance(NEAR)
        pool.request("POST", "/b", body=b"x")
        assert opened == [2]
        assert len(places(pool)) == maxsize
        assert holdfast.stats(pool).idle == 2


@pytest.mark.parametrize("maxsize", [1, 3])
def test_without_a_free_place_it_is_closed(
    fault_server: StartFaultServer, fake_clock: FakeClock, maxsize: int
) -> None:
    server = fault_server([])
    with make_pool(server, fake_clock, maxsize=maxsize, block=True) as pool:
        answers = [pool.urlopen("GET", f"/{n}", preload_content=False) for n in range(maxsize)]
        for answer in answers:
            answer.read()
        fake_clock.advance(NEAR)
        pool.request("POST", "/c", body=b"x", timeout=5, pool_timeout=5)
        stats = holdfast.stats(pool)
        assert stats.closed == {CloseReason.DOUBTFUL: 1}
        assert (stats.opened, stats.idle, len(places(pool))) == (maxsize + 1, maxsize, maxsize)


def test_one_that_has_died_meanwhile_is_not_laid_back(
    fault_server: StartFaultServer, fake_clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = fault_server([])
    leave = _pool._leave_to_others

    def leave_dead(pool: Any, conn: Any) -> bool:
        server.hang_up()
        deadline = time.monotonic() + 5
        while not conn._holdfast.parked._ended and time.monotonic() < deadline:
            time.sleep(0.001)
        return leave(pool, conn)

    monkeypatch.setattr(_pool, "_leave_to_others", leave_dead)
    with make_pool(server, fake_clock, maxsize=2) as pool:
        pool.request("GET", "/a")
        fake_clock.advance(NEAR)
        assert pool.request("POST", "/b", body=b"x").status == 200
        stats = holdfast.stats(pool)
        assert (stats.opened, stats.open, len(places(pool))) == (2, 1, 2)


def test_a_pool_that_is_closed_at_that_moment_keeps_nothing(
    fault_server: StartFaultServer, fake_clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = fault_server([])
    leave = _pool._leave_to_others

    def leave_closed(pool: Any, conn: Any) -> bool:
        pool.close()
        return leave(pool, conn)

    monkeypatch.setattr(_pool, "_leave_to_others", leave_closed)
    pool = make_pool(server, fake_clock, maxsize=2)
    pool.request("GET", "/a")
    fake_clock.advance(NEAR)
    assert pool.request("POST", "/b", body=b"x").status == 200
    assert holdfast.stats(pool).open == 0


@pytest.mark.parametrize("block", [False, True])
def test_no_place_is_lost_or_won(fault_server: StartFaultServer, fake_clock: FakeClock, block: bool) -> None:
    server = fault_server([])
    with make_pool(server, fake_clock, maxsize=5, block=block) as pool:

        def act(chance: random.Random, target: str) -> None:
            share = chance.random()
            if share < 0.3:
                fake_clock.advance(NEAR)
                know(pool, server)
            elif share < 0.6:
                pool.request("GET", target, pool_timeout=20)
            elif share < 0.95:
                pool.request("POST", target, body=b"x", pool_timeout=20)
            elif share < 0.97:
                server.hang_up()
            else:
                with pool.urlopen("GET", target, preload_content=False, pool_timeout=20) as answer:
                    answer.read()

        def work(seed: int) -> None:
            chance = random.Random(seed)
            for number in range(125):
                # The server hangs up in the middle of some, and of their repeats.
                with suppress(ProtocolError):
                    act(chance, f"/{seed}-{number}")

        with ThreadPoolExecutor(8) as threads:
            for done in [threads.submit(work, seed) for seed in range(8)]:
                done.result()
        stats = holdfast.stats(pool)
        assert len(places(pool)) == 5
        assert len({id(conn) for conn in places(pool) if conn is not None}) == sum(
            conn is not None for conn in places(pool)
        )
        assert stats.opened == stats.open + sum(stats.closed.values())
        assert stats.open == stats.idle + stats.parked
    assert holdfast.stats(pool).open == 0
    assert [one for one in server.ledger.executed_twice() if one[0] == "POST"] == []


# -- who is asked


@pytest.fixture
def wrapped(fault_server: StartFaultServer) -> Iterator[HTTPConnectionPool]:
    server = fault_server([])
    with holdfast.wrap(HTTPConnectionPool(server.host, server.port, maxsize=4, retries=False)) as pool:
        yield pool


def fill(pool: HTTPConnectionPool, count: int) -> None:
    for answer in [pool.urlopen("GET", f"/{n}", preload_content=False) for n in range(count)]:
        answer.read()


def test_when_the_network_has_changed_everybody_is_asked_once(wrapped: HTTPConnectionPool) -> None:
    fill(wrapped, 3)
    time.sleep(HEARD_OF)
    _network_news._tell()
    fill(wrapped, 3)
    assert holdfast.stats(wrapped).probes == {Reply.ANSWERED: 3}
    fill(wrapped, 3)
    stats = holdfast.stats(wrapped)
    assert (stats.probes, stats.opened) == ({Reply.ANSWERED: 3}, 3)


def test_nobody_is_asked_where_that_is_switched_off(fault_server: StartFaultServer) -> None:
    server = fault_server([])
    unasked = Policy(limits=PoolLimits(probe_after=None, probe_unsafe_after=None))
    with holdfast.wrap(HTTPConnectionPool(server.host, server.port, maxsize=3), unasked) as pool:
        fill(pool, 2)
        time.sleep(HEARD_OF)
        _network_news._tell()
        pool.request("GET", "/safe")
        assert holdfast.stats(pool).opened == 2
        _network_news._tell()
        pool.request("POST", "/unsafe", body=b"x")  # goes out on one that is beyond doubt
        stats = holdfast.stats(pool)
        assert (stats.probes, stats.opened) == ({}, 3)


def test_after_a_suspension_everybody_is_asked(
    wrapped: HTTPConnectionPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(wrapped, 2)
    asleep = origins._asleep()
    time.sleep(HEARD_OF)
    monkeypatch.setattr(origins, "_asleep", lambda: asleep + 100.0)
    fill(wrapped, 2)
    assert holdfast.stats(wrapped).probes == {Reply.ANSWERED: 2}
    monkeypatch.undo()
    origins.the_origins()._asleep = asleep


def test_the_siblings_of_one_that_was_dead_are_asked(fault_server: StartFaultServer) -> None:
    server = fault_server([], [Fault.NONE, Fault.CLOSE_AS_REQUEST_LEAVES])
    # Who learns does not lend them at all.
    policy = Policy(limits=PoolLimits(learn=False))
    pool = HTTPConnectionPool(server.host, server.port, maxsize=4, retries=False)
    with holdfast.wrap(pool, policy):
        fill(pool, 2)
        time.sleep(HEARD_OF)
        pool.request("GET", "/dead")
        fill(pool, 2)
        stats = holdfast.stats(pool)
        assert (stats.probes, stats.opened) == ({Reply.ANSWERED: 1}, 3)


def test_an_address_of_no_network_is_not_asked(
    fault_server: StartFaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr("holdfast.adapters.urllib3._foresight.tcp_socket", lambda _sock: None)
    monkeypatch.setattr("holdfast.adapters.urllib3._foresight.probe", asked.append)
    server = fault_server([])
    with holdfast.wrap(HTTPConnectionPool(server.host, server.port, retries=False)) as pool:
        pool.request("GET", "/a")
        time.sleep(HEARD_OF)
        _network_news._tell()
        pool.request("POST", "/b", body=b"x")
        assert asked == []
        assert holdfast.stats(pool).opened == 1


def test_who_does_not_want_to_learn_is_not_held_to_what_others_learned(
    fault_server: StartFaultServer, fake_clock: FakeClock
) -> None:
    server = fault_server([])
    limits = PoolLimits(learn=False, probe_after=None, probe_unsafe_after=None)
    with make_pool(server, fake_clock, limits=limits) as pool:
        pool.request("GET", "/a")
        fake_clock.advance(2 * LIMIT)
        pool.request("POST", "/b", body=b"x")
        stats = holdfast.stats(pool)
        assert (stats.opened, stats.parked, stats.probes) == (1, 0, {})


# -- clocks


class Clock:
    def __init__(self) -> None:
        self.now = 1e6

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("step", [-3600.0, -1.0, 1e7], ids=str)
def test_a_clock_that_steps_costs_connections_at_the_most(
    fault_server: StartFaultServer, step: float
) -> None:
    server, clock = fault_server([]), Clock()
    pool = HTTPConnectionPool(server.host, server.port, maxsize=4, retries=False)
    with holdfast.wrap(pool, Policy(clock=clock)):
        know(pool, server)
        for number in range(5):
            fill(pool, 3)
            server.hang_up()
            clock.now += step
            fill(pool, 3)
            clock.now += 1.0
            assert pool.request("POST", f"/{number}", body=b"x").status == 200
        stats = holdfast.stats(pool)
        assert stats.opened == stats.open + sum(stats.closed.values())


# -- a hint that is followed by silence


def test_no_request_goes_out_at_an_age_that_the_peer_has_excluded(
    fault_server: StartFaultServer, fake_clock: FakeClock
) -> None:
    server = fault_server([], headers={"Keep-Alive": "timeout=1"})
    with make_pool(server, fake_clock) as pool:
        for idle in (1.0, 1.001, 0.9999, 5.0, 1.0):
            for method in ("GET", "POST"):
                before = holdfast.stats(pool).reused
                pool.request(method, "/x")
                fake_clock.advance(idle)
                pool.request(method, "/y")
                fake_clock.advance(idle)
                assert holdfast.stats(pool).reused == before


def test_what_comes_while_a_kernel_does_not_answer_is_seen_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ends: list[socket.socket] = []

    def serve() -> None:
        for _ in range(2):
            end, _ = listener.accept()
            ends.append(end)
            end.recv(65_536)
            end.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    def cannot_ask(sock: socket.socket) -> Reply:
        ends[0].sendall(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        assert select.select([sock], [], [], PATIENCE)[0]
        return Reply.UNKNOWN

    monkeypatch.setattr("holdfast.adapters.urllib3._foresight.probe", cannot_ask)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        port: int = listener.getsockname()[1]
        pool = HTTPConnectionPool("127.0.0.1", port, retries=False, timeout=PATIENCE)
        with holdfast.wrap(pool):
            pool.request("GET", "/a")
            _network_news._tell()
            assert pool.request("GET", "/b").status == 200
            assert holdfast.stats(pool).closed == {CloseReason.STRAY_BYTES: 1}
        thread.join(PATIENCE)
    for end in ends:
        end.close()
