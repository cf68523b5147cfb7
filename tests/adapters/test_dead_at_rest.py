"""Pooled connections whose peer hangs up are closed at once, without anybody asking for one."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest
import requests
import urllib3
from urllib3.connectionpool import HTTPConnectionPool

import holdfast
from holdfast import CloseReason, Policy, RetryPolicy
from holdfast._threads.watcher import the_watcher
from holdfast.events import ConnectionClosed, Event
from holdfast.testing import Fault, FaultServer
from holdfast.testing.fixtures import StartFaultServer

linux = pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads /proc/net/tcp")
CLOSE_WAIT = "08"
PATIENCE = 5.0


class Closed:
    """A listener that lets a test wait until so many connections were closed."""

    def __init__(self, expected: int) -> None:
        self.reasons: list[CloseReason] = []
        self._expected = expected
        self._all = threading.Event()

    def __call__(self, event: Event) -> None:
        if isinstance(event, ConnectionClosed):
            self.reasons.append(event.reason)
            if len(self.reasons) == self._expected:
                self._all.set()

    def wait(self) -> list[CloseReason]:
        assert self._all.wait(PATIENCE), self.reasons
        return self.reasons


def in_close_wait(server: FaultServer) -> int:
    lines = Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]
    fields = [line.split() for line in lines]
    return sum(row[3] == CLOSE_WAIT and int(row[2].split(":")[1], 16) == server.port for row in fields)


def fill(pool: HTTPConnectionPool, count: int) -> None:
    """So many connections, all idle."""
    answers = [pool.urlopen("GET", f"/{n}", preload_content=False) for n in range(count)]
    for answer in answers:
        answer.read()


@linux
@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
def test_fifty_connections_that_were_hung_up_are_closed_without_a_call(
    fault_server: StartFaultServer, reset: bool
) -> None:
    server, closed = fault_server([]), Closed(50)
    with HTTPConnectionPool(server.host, server.port, maxsize=50) as pool:
        holdfast.wrap(pool, Policy(listener=closed))
        fill(pool, 50)
        assert holdfast.stats(pool).idle == 50
        assert server.hang_up(reset=reset) == 50
        expected = CloseReason.PEER_RESET if reset else CloseReason.PEER_CLOSED
        assert set(closed.wait()) == {expected}
        assert in_close_wait(server) == 0
        stats = holdfast.stats(pool)
        assert (stats.idle, stats.open, stats.closed) == (0, 0, {expected: 50})
        assert pool.request("POST", "/after", body=b"x").status == 200
    assert holdfast.stats(pool).closed[expected] == 50


def test_over_tls_as_well(
    fault_server: StartFaultServer, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    server, closed = fault_server([], ssl_context=server_tls, close_notify=True), Closed(1)
    http = holdfast.wrap(urllib3.PoolManager(ssl_context=client_tls), Policy(listener=closed))
    http.request("GET", server.url)
    server.hang_up()
    assert closed.wait() == [CloseReason.PEER_CLOSED]
    assert http.request("GET", server.url).status == 200
    http.clear()


def test_an_idle_408_is_a_reason_of_its_own(fault_server: StartFaultServer) -> None:
    server, closed = fault_server([Fault.IDLE_408]), Closed(1)
    with holdfast.wrap(HTTPConnectionPool(server.host, server.port), Policy(listener=closed)) as pool:
        pool.request("GET", "/a")
        assert closed.wait() == [CloseReason.STRAY_BYTES]


def test_what_is_in_use_is_left_alone(fault_server: StartFaultServer) -> None:
    server = fault_server([Fault.ANSWER_THEN_CLOSE])
    with holdfast.wrap(HTTPConnectionPool(server.host, server.port)) as pool:
        answer = pool.urlopen("GET", "/a", preload_content=False)
        the_watcher().call_soon(lambda: None)
        assert answer.read() == b"GET /a"


def test_a_hundred_times_between_two_requests(fault_server: StartFaultServer) -> None:
    server = fault_server(*[[Fault.CLOSE_WHILE_IDLE]] * 100)
    with holdfast.wrap(HTTPConnectionPool(server.host, server.port, retries=False)) as pool:
        for number in range(100):
            # No waiting: the watcher and the next request go for the same connection.
            assert pool.request("GET", f"/{number}").status == 200
        stats = holdfast.stats(pool)
    assert sum(stats.closed.values()) == stats.opened - stats.open


def test_threads_and_a_server_that_hangs_up_all_the_time(fault_server: StartFaultServer) -> None:
    server = fault_server([])
    ends, failures = threading.Event(), []
    # A request may meet the next hang-up again and again; that has bounds of its own, not tested here.
    patient = RetryPolicy(attempts=100, base_delay=0.001, max_delay=0.001, budget=None)
    pool = holdfast.wrap(HTTPConnectionPool(server.host, server.port, maxsize=8), Policy(retry=patient))

    def ask() -> None:
        try:
            while not ends.is_set():
                assert pool.request("GET", "/x").data == b"GET /x"
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(100):
        server.hang_up()
    ends.set()
    for thread in threads:
        thread.join()
    pool.close()
    assert failures == []
    stats = holdfast.stats(pool)
    assert (stats.open, sum(stats.closed.values())) == (0, stats.opened)


def test_unwrapping_takes_it_away_from_the_watcher(fault_server: StartFaultServer) -> None:
    server = fault_server([])
    with holdfast.wrap(HTTPConnectionPool(server.host, server.port)) as pool:
        pool.request("GET", "/a")
        holdfast.unwrap(pool)
        the_watcher().join_if_idle()
        assert not [t for t in threading.enumerate() if t.name == "holdfast-watcher"]
        assert pool.request("GET", "/b").status == 200
    assert server.connections == 1


def test_a_connection_that_was_adopted_is_watched_too(fault_server: StartFaultServer) -> None:
    server, closed = fault_server([]), Closed(1)
    with HTTPConnectionPool(server.host, server.port) as pool:
        pool.request("GET", "/a")
        holdfast.wrap(pool, Policy(listener=closed))
        server.hang_up()
        assert closed.wait() == [CloseReason.PEER_CLOSED]


def test_a_pool_that_is_dropped_leaves_no_thread_behind(fault_server: StartFaultServer) -> None:
    server = fault_server([])
    session = holdfast.wrap(requests.Session())
    session.get(server.url)
    session.close()
    del session  # conftest finds a thread that stays


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_the_child_of_a_fork_takes_nothing_from_its_parent(fault_server: StartFaultServer) -> None:
    server = fault_server([])
    with holdfast.wrap(HTTPConnectionPool(server.host, server.port)) as pool:
        pool.request("GET", "/parent")
        child = os.fork()
        if child == 0:
            os._exit(0 if pool.request("GET", "/child").status == 200 else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert pool.request("GET", "/parent").status == 200
        assert holdfast.stats(pool).reused == 1


def test_a_socket_that_cannot_be_watched_works_as_before(fault_server: StartFaultServer) -> None:
    server = fault_server([])

    class NoDescriptor(socket.socket):
        def fileno(self) -> int:
            raise ValueError("none")

    with holdfast.wrap(HTTPConnectionPool(server.host, server.port)) as pool:
        conn: Any = pool._get_conn()
        conn.connect()
        record = conn._holdfast
        record.leave_alone()
        record.parked = record._watched(NoDescriptor())
        assert record.parked is None
        assert record.lie_down()
        pool._put_conn(conn)
        assert pool.request("GET", "/a").status == 200
