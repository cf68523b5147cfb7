"""One deadline over all that holdfast does for a request: connecting, waiting, sending, reading."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import requests
from scripted import Peer, abort, read_request
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    MaxRetryError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
)
from urllib3.util.retry import Retry

import holdfast
from holdfast import Cause, Policy, RetryPolicy, Verdict
from holdfast.testing import FakeClock, Fault, Response, on_reuse
from holdfast.testing.fixtures import StartFaultServer

SILENT: list[Any] = [None, False, 0, Retry(0, read=False)]
DEADLINE = 0.3


def pool_for(server: Any, policy: Policy, **settings: Any) -> HTTPConnectionPool:
    return holdfast.wrap(HTTPConnectionPool(server.host, server.port, **settings), policy)


def with_deadline(**settings: Any) -> Policy:
    return Policy(retry=RetryPolicy(deadline=DEADLINE, **settings))


def took(what: Callable[[], object]) -> float:
    began = time.monotonic()
    what()
    return time.monotonic() - began


def failing(pool: HTTPConnectionPool, **options: Any) -> BaseException:
    with pytest.raises(HTTPError) as caught:
        pool.request("GET", "/r/1", **options)
    return caught.value


def test_it_ends_the_waiting_for_an_answer(fault_server: StartFaultServer) -> None:
    server = fault_server(*[[Fault.READ_THEN_SILENCE]] * 4)
    with pool_for(server, with_deadline(), timeout=30) as pool:
        began = time.monotonic()
        error = failing(pool, retries=False)
        assert DEADLINE - 0.05 < time.monotonic() - began < DEADLINE + 2
    assert isinstance(error, ReadTimeoutError)
    report = holdfast.report(error)
    assert report is not None
    assert report.verdict in (Verdict.REFUSED_DEADLINE, Verdict.REFUSED_TIMED_OUT)
    assert report.cause is Cause.NO_ANSWER_IN_TIME


@pytest.mark.parametrize("retries", SILENT)
def test_urllib3s_own_retry_does_not_go_on_after_it(fault_server: StartFaultServer, retries: Any) -> None:
    server = fault_server(*[[Fault.READ_THEN_SILENCE]] * 9)
    with pool_for(server, with_deadline(), timeout=30) as pool:
        began = time.monotonic()
        error = failing(pool, retries=retries)
        assert time.monotonic() - began < DEADLINE + 2
    assert server.ledger.count("GET", "/r/1") == 1
    assert holdfast.report(error) is not None


def test_it_is_over_all_attempts_together(fault_server: StartFaultServer) -> None:
    server = fault_server(*[[Fault.READ_THEN_SILENCE]] * 20)
    with pool_for(server, with_deadline(attempts=9), timeout=DEADLINE / 3) as pool:
        began = time.monotonic()
        error = failing(pool)  # urllib3's default Retry repeats after read timeouts
        assert time.monotonic() - began < DEADLINE + 2
    assert 1 < server.ledger.count("GET", "/r/1") <= 4
    assert holdfast.report(error) is not None


def test_a_body_that_trickles_is_bounded_where_holdfast_reads_it() -> None:
    def trickle(sock: Any, number: int) -> None:
        if read_request(sock):
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            for _ in range(1_000):
                sock.sendall(b"x")
                time.sleep(0.02)

    with Peer(trickle) as peer:
        with pool_for(peer, with_deadline(), timeout=30, retries=False) as pool:
            began = time.monotonic()
            error = failing(pool)
            assert DEADLINE - 0.05 < time.monotonic() - began < DEADLINE + 2
    assert isinstance(error, ReadTimeoutError)
    assert holdfast.report(error) is not None


@pytest.mark.parametrize("size", [b"Content-Length: 2\r\n", b""])
def test_a_body_that_the_caller_reads_is_read_at_his_pace(size: bytes) -> None:
    def slow(sock: Any, number: int) -> None:
        if read_request(sock):
            sock.sendall(b"HTTP/1.1 200 OK\r\n" + size + b"\r\n")
            go.wait(5)
            time.sleep(DEADLINE)
            sock.sendall(b"ok")
            if size:
                sock.recv(1)

    go = threading.Event()
    with Peer(slow) as peer:
        with pool_for(peer, with_deadline(), timeout=30) as pool:
            response = pool.urlopen("GET", "/", preload_content=False)
            go.set()
            assert response.read() == b"ok"


def test_nor_does_it_stay_with_the_connection(fault_server: StartFaultServer) -> None:
    server = fault_server()
    with pool_for(server, Policy(), timeout=30) as pool:
        with holdfast.request_options(deadline=5):
            pool.request("GET", "/a")
        conn: Any = pool.pool.queue[-1]  # type: ignore[union-attr]
        pool.request("GET", "/b")
        assert conn.sock.gettimeout() == 30
        response = pool.urlopen("GET", "/c", preload_content=False)
        assert conn.sock.gettimeout() == 30
        response.read()


def test_the_sending_is_bounded_too() -> None:
    """A server that reads nothing of a long upload."""

    def deaf(sock: Any, number: int) -> None:
        over.wait(10)

    over = threading.Event()
    with Peer(deaf) as peer:
        with pool_for(peer, with_deadline(), timeout=30, retries=False) as pool:
            began = time.monotonic()
            with pytest.raises(HTTPError) as caught:
                pool.request("POST", "/", body=b"x" * 40_000_000)
            assert time.monotonic() - began < DEADLINE + 2
        over.set()
    assert holdfast.report(caught.value) is not None


def test_a_server_that_is_away_is_waited_for_no_longer_than_that(fault_server: StartFaultServer) -> None:
    server, clock = fault_server(), FakeClock()
    policy = Policy(clock=clock, sleep=clock.sleep, retry=RetryPolicy(deadline=1, reconnect=60))
    with pool_for(server, policy) as pool, server.refusing():
        for retries in SILENT:
            began = clock()
            error = failing(pool, retries=retries)
            assert clock() - began <= 1
            report = holdfast.report(error)
            assert report is not None
            assert report.verdict is Verdict.REFUSED_DEADLINE
            inner = error.reason if isinstance(error, MaxRetryError) else error
            assert isinstance(inner, NewConnectionError)


@pytest.mark.parametrize("retries", SILENT)
@pytest.mark.parametrize("refused", [False, True])
def test_a_wait_that_takes_longer_than_it_should_has_a_report_all_the_same(
    fault_server: StartFaultServer, retries: Any, refused: bool
) -> None:
    """The machine was busy: when the wait is over, so is the time."""
    server, clock = fault_server(*[[Fault.READ_THEN_RESET]] * 9), FakeClock()
    policy = Policy(clock=clock, sleep=lambda seconds: clock.advance(9), retry=RetryPolicy(deadline=1))
    with pool_for(server, policy) as pool:
        if refused:
            with server.refusing():
                error = failing(pool, retries=retries)
        else:
            error = failing(pool, retries=retries)
    assert server.ledger.count("GET", "/r/1") <= 1
    report = holdfast.report(error)
    assert report is not None
    assert report.verdict is Verdict.REFUSED_DEADLINE
    assert report.earlier is not None


def test_after_a_stale_connection_there_is_only_what_is_left(fault_server: StartFaultServer) -> None:
    server = fault_server(on_reuse(Fault.READ_THEN_RESET), [Fault.READ_THEN_SILENCE])
    with pool_for(server, with_deadline(), timeout=30, retries=False) as pool:
        pool.request("GET", "/warm")
        began = time.monotonic()
        error = failing(pool)
        assert time.monotonic() - began < DEADLINE + 2
    report = holdfast.report(error)
    assert report is not None
    assert report.earlier is not None


def test_a_retry_after_that_is_longer_is_not_waited_for(fault_server: StartFaultServer) -> None:
    waits: list[float] = []
    server = fault_server(respond=lambda request: Response(status=503, headers={"Retry-After": "10"}))
    retry = RetryPolicy(deadline=5, statuses=frozenset({503}))
    clock = FakeClock()
    for retries in SILENT:
        with pool_for(server, Policy(clock=clock, sleep=waits.append, retry=retry)) as pool:
            began = time.monotonic()
            assert pool.request("GET", "/r/1", retries=retries).status == 503
            assert time.monotonic() - began < 5
    assert waits == []


def test_requests_gets_its_own_kind_of_timeout() -> None:
    def mute(sock: Any, number: int) -> None:
        read_request(sock)
        sock.recv(1)

    with Peer(mute) as peer, requests.Session() as session:
        holdfast.wrap(session, with_deadline())
        began = time.monotonic()
        with pytest.raises(requests.exceptions.ReadTimeout) as caught:
            session.get(peer.url, timeout=30)
        assert time.monotonic() - began < DEADLINE + 2
        assert peer.connections == 1
    assert holdfast.report(caught.value) is not None


def test_one_that_is_over_before_anything_began_is_a_timeout(fault_server: StartFaultServer) -> None:
    server, clock = fault_server(), FakeClock()

    class Slow(HTTPConnectionPool):
        def _get_conn(self, *args: Any, **kwargs: Any) -> Any:
            clock.advance(5)  # waited for a free connection
            return super()._get_conn(*args, **kwargs)

    policy = Policy(clock=clock, sleep=clock.sleep, retry=RetryPolicy(deadline=1))
    with holdfast.wrap(Slow(server.host, server.port), policy) as pool:
        for retries in SILENT:
            with pytest.raises(HTTPError) as caught:
                pool.request("GET", "/r/1", retries=retries)
            error = caught.value.reason if isinstance(caught.value, MaxRetryError) else caught.value
            assert isinstance(error, (ReadTimeoutError, ConnectTimeoutError, ProtocolError))
            assert holdfast.report(caught.value) is not None
    assert len(server.ledger) == 0


def test_the_time_for_connecting_counts(fault_server: StartFaultServer) -> None:
    """Two resets and then silence: what is left shrinks with each."""

    def handler(sock: Any, number: int) -> None:
        if read_request(sock):
            if number <= 2:
                time.sleep(DEADLINE / 4)
                abort(sock)
            else:
                sock.recv(1)

    with Peer(handler) as peer:
        policy = with_deadline(base_delay=0.001, max_delay=0.001)
        with pool_for(peer, policy, timeout=30) as pool:
            seconds = took(lambda: failing(pool))
    assert DEADLINE / 2 < seconds < DEADLINE + 2
