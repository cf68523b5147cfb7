"""Connections that are kept open to see when their peer hangs up: who owns them, and what ends them."""

from __future__ import annotations

import gc
import json
import os
import re
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
import urllib3
from urllib3 import HTTPConnectionPool

import holdfast
from holdfast import CloseReason, Policy, PoolLimits
from holdfast._threads.origins import Origins, the_origins
from holdfast.adapters.urllib3 import _outpost
from holdfast.events import Event
from holdfast.testing import FakeClock, FaultServer
from holdfast.testing.fixtures import StartFaultServer

PATIENCE = 10.0
LIMIT = 20.0
"""Seconds of a clock that the tests set."""


def knowledge(*names: str, seconds: float = LIMIT) -> str:
    idle = {"seconds": seconds, "spread": 0.0, "samples": 1000, "age": 0.0}
    return json.dumps(
        {
            "format": "holdfast learned limits",
            "version": 1,
            "origins": {name: {"idle": idle} for name in names},
        }
    )


def name_of(server: FaultServer) -> str:
    return f"{server.url} at 127.0.0.1"


def make_pool(server: FaultServer, clock: FakeClock, **settings: Any) -> HTTPConnectionPool:
    """One that knows when its server hangs up."""
    listener = settings.pop("listener", None)
    limits = settings.pop("limits", PoolLimits())
    pool = HTTPConnectionPool(server.host, server.port, retries=False, **settings)
    holdfast.wrap(pool, Policy(clock=clock, limits=limits, listener=listener))
    know(pool, server)
    return pool


def know(pool: Any, *servers: FaultServer) -> None:
    pool._holdfast.origins.load(knowledge(*map(name_of, servers)))


def park(pool: HTTPConnectionPool, clock: FakeClock) -> None:
    """It has reached the limit when it is wanted the next time."""
    assert pool.request("GET", "/a").status == 200
    clock.advance(LIMIT)
    assert pool.request("GET", "/b").status == 200


def eventually(condition: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def adds_up(pool: Any) -> None:
    stats = holdfast.stats(pool)
    assert stats.opened + stats.adopted == stats.open + sum(stats.closed.values())
    assert stats.open >= stats.idle + stats.parked


def test_one_is_kept_and_counted_as_open(fault_server: StartFaultServer, fake_clock: FakeClock) -> None:
    server = fault_server([])
    with make_pool(server, fake_clock, maxsize=2) as pool:
        park(pool, fake_clock)
        park(pool, fake_clock)
        stats = holdfast.stats(pool)
        assert (stats.parked, stats.open, stats.idle) == (1, 2, 1)
        assert stats.closed == {CloseReason.LEARNED_LIMIT: 1}
        adds_up(pool)
    assert holdfast.stats(pool).open == holdfast.stats(pool).parked == 0


def test_closing_the_pool_gives_it_up(fault_server: StartFaultServer, fake_clock: FakeClock) -> None:
    server = fault_server([])
    pool = make_pool(server, fake_clock)
    park(pool, fake_clock)
    pool.close()
    stats = holdfast.stats(pool)
    assert (stats.parked, stats.open) == (0, 0)
    assert sum(stats.closed.values()) == 2
    adds_up(pool)


def test_unwrapping_the_pool_gives_it_up(fault_server: StartFaultServer, fake_clock: FakeClock) -> None:
    server = fault_server([])
    with make_pool(server, fake_clock) as pool:
        park(pool, fake_clock)
        context: Any = pool._holdfast  # type: ignore[attr-defined]
        holdfast.unwrap(pool)
        assert not context.outposts


def test_it_goes_with_its_pool_and_the_manager_still_adds_up(
    fault_server: StartFaultServer, fake_clock: FakeClock
) -> None:
    server = fault_server([])
    manager = holdfast.wrap(urllib3.PoolManager(num_pools=1, retries=False), Policy(clock=fake_clock))
    manager.request("GET", server.url)
    know(manager, server)
    fake_clock.advance(LIMIT)
    manager.request("GET", server.url)
    assert holdfast.stats(manager).parked == 1
    manager.clear()
    gc.collect()
    eventually(lambda: not server_connections(server))
    eventually(lambda: not holdfast.stats(manager).open)
    stats = holdfast.stats(manager)
    assert (stats.pools, stats.parked, stats.idle) == (0, 0, 0)


def server_connections(server: FaultServer) -> int:
    return len(server._live())


def test_a_closed_connection_is_told_with_the_origin_that_all_others_have(
    fault_server: StartFaultServer, fake_clock: FakeClock
) -> None:
    server, events = fault_server([]), list[Event]()
    with make_pool(server, fake_clock, listener=events.append) as pool:
        park(pool, fake_clock)
    assert {event.origin for event in events} == {server.url}


def test_without_parking_it_is_closed(fault_server: StartFaultServer, fake_clock: FakeClock) -> None:
    server = fault_server([])
    with make_pool(server, fake_clock, limits=PoolLimits(park=False)) as pool:
        park(pool, fake_clock)
        stats = holdfast.stats(pool)
        assert (stats.parked, stats.open, stats.closed) == (0, 1, {CloseReason.LEARNED_LIMIT: 1})


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
def test_when_its_peer_hangs_up_that_is_learned(
    fault_server: StartFaultServer, fake_clock: FakeClock, reset: bool
) -> None:
    server = fault_server([])
    with make_pool(server, fake_clock) as pool:
        park(pool, fake_clock)
        assert server.hang_up(reset=reset) == 2
        eventually(lambda: not holdfast.stats(pool).open)
        assert not holdfast.stats(pool).parked
        adds_up(pool)


def test_bytes_that_come_to_it_harm_nobody(fault_server: StartFaultServer, fake_clock: FakeClock) -> None:
    server = fault_server([])
    with make_pool(server, fake_clock) as pool:
        assert pool.request("GET", "/a").status == 200
        fake_clock.advance(LIMIT)
        assert pool.request("GET", "/b").status == 200
        (parked,) = pool._holdfast.outposts  # type: ignore[attr-defined]
        port = parked._sock.getsockname()[1]
        (wire,) = [one.wire for one in server._live() if one.wire.client[1] == port]
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray")
        for number in range(20):
            assert pool.request("GET", f"/{number}").data == f"GET /{number}".encode()
        assert holdfast.stats(pool).parked == 1


def test_there_are_at_most_64(fault_server: StartFaultServer, fake_clock: FakeClock) -> None:
    servers = [fault_server([]) for _ in range(_outpost.MOST + 3)]
    manager = holdfast.wrap(urllib3.PoolManager(num_pools=200, retries=False), Policy(clock=fake_clock))
    know(manager, *servers)
    for _ in range(2):
        for server in servers:
            assert manager.request("GET", server.url).status == 200
        fake_clock.advance(LIMIT)
    stats = holdfast.stats(manager)
    assert (stats.parked, stats.open) == (_outpost.MOST, len(servers) + _outpost.MOST)
    adds_up(manager)
    for pool in list(manager.pools._container.values()):
        pool.close()
    assert holdfast.stats(manager).open == 0


def test_a_pool_that_is_closed_while_one_is_set_up_leaves_none(
    fault_server: StartFaultServer, fake_clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = fault_server([])
    pool = make_pool(server, fake_clock)
    assert pool.request("GET", "/a").status == 200
    fake_clock.advance(LIMIT)
    looks, goes_on = threading.Event(), threading.Event()
    may = _outpost.claim

    def may_later(origin: Any) -> bool:
        looks.set()
        assert goes_on.wait(PATIENCE)
        return may(origin)

    monkeypatch.setattr("holdfast.adapters.urllib3._foresight.claim", may_later)
    asks = threading.Thread(target=pool.request, args=("GET", "/b"))
    asks.start()
    assert looks.wait(PATIENCE)
    pool.close()
    goes_on.set()
    asks.join()
    assert not pool._holdfast.outposts  # type: ignore[attr-defined]
    adds_up(pool)


def test_many_threads_set_up_one(fault_server: StartFaultServer, fake_clock: FakeClock) -> None:
    server = fault_server([])
    origin = Origins(fake_clock).of(name_of(server))
    together, claims = threading.Barrier(8), list[bool]()

    def claim() -> None:
        together.wait(PATIENCE)
        claims.append(_outpost.claim(origin))

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claims) == [False] * 7 + [True]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_has_none_and_may_set_up_its_own(
    fault_server: StartFaultServer, fake_clock: FakeClock
) -> None:
    server = fault_server([])
    with make_pool(server, fake_clock) as pool:
        park(pool, fake_clock)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            said = "died"
            try:
                before = holdfast.stats(pool).parked
                park(pool, fake_clock)
                said = f"{before} {holdfast.stats(pool).parked}"
            finally:
                os.write(writing, said.encode())
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as told:
            heard = told.read()
        os.waitpid(child, 0)
        assert heard == b"0 1"
        # The parent's is still there, and still sees its end.
        assert holdfast.stats(pool).parked == 1
        server.hang_up()
        eventually(lambda: not holdfast.stats(pool).parked)


def test_a_program_may_end_while_one_is_kept(fault_server: StartFaultServer) -> None:
    server = fault_server([])
    program = f"""
        import time, urllib3, holdfast
        pool = holdfast.wrap(urllib3.HTTPConnectionPool({server.host!r}, {server.port}))
        pool.request("GET", "/a")
        holdfast.learned().load_json({knowledge(name_of(server), seconds=0.2)!r})
        time.sleep(0.25)
        pool.request("GET", "/b")
        assert holdfast.stats(pool).parked == 1
        print("done")
    """
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", textwrap.dedent(program)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout) == (0, "done\n")
    # The connection that lies in the pool is an unclosed socket to Python, with and without holdfast.
    ignored = r"Exception ignored (in:|while finalizing socket) <socket"
    assert "Exception" not in re.sub(ignored, "", ended.stderr), ended.stderr


def test_a_limit_that_is_no_longer_true_is_refuted(fault_server: StartFaultServer) -> None:
    server = fault_server([])
    with holdfast.wrap(HTTPConnectionPool(server.host, server.port, retries=False)) as pool:
        pool.request("GET", "/a")
        holdfast.learned().load_json(knowledge(name_of(server), seconds=0.2))
        time.sleep(0.25)
        pool.request("GET", "/b")
        assert holdfast.stats(pool).parked == 1
        # It stays below what the others are allowed, and sees that nobody hangs up.
        eventually(lambda: not holdfast.learned().limits())


class OneAtATime(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_a_server_that_serves_one_connection_at_a_time_is_not_kept_from_the_next(
    fake_clock: FakeClock,
) -> None:
    server = HTTPServer(("127.0.0.1", 0), OneAtATime)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    pool = holdfast.wrap(HTTPConnectionPool("127.0.0.1", server.server_port), Policy(clock=fake_clock))
    pool._holdfast.origins.load(knowledge(f"http://127.0.0.1:{server.server_port} at 127.0.0.1"))  # type: ignore[attr-defined]
    try:
        for _ in range(4):
            # It would be in the way for a minute.
            assert pool.request("GET", "/", retries=False, timeout=PATIENCE).status == 200
            fake_clock.advance(LIMIT)
        eventually(lambda: holdfast.stats(pool).open == 1)
        stats = holdfast.stats(pool)
        assert (stats.parked, stats.closed) == (0, {CloseReason.LEARNED_LIMIT: 3})
        adds_up(pool)
    finally:
        pool.close()
        server.shutdown()
        server.server_close()
        thread.join()


def test_the_knowledge_of_the_process_is_nobodys_business_who_has_a_clock_of_his_own(
    fault_server: StartFaultServer, fake_clock: FakeClock
) -> None:
    server = fault_server([])
    with make_pool(server, fake_clock) as pool:
        park(pool, fake_clock)
        assert pool._holdfast.origins is not the_origins()  # type: ignore[attr-defined]
    assert holdfast.learned().limits() == {}
