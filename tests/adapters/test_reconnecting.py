"""A server that takes no connections: for a moment, which nobody notices, or for longer."""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import pickle
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests
import urllib3
from scripted import Peer, abort, read_request
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, NameResolutionError, NewConnectionError
from urllib3.util.retry import Retry
from urllib3.util.timeout import Timeout

import holdfast
from holdfast import Cause, EndedBy, Phase, Policy, Progress, RetryBudget, RetryPolicy, Verdict
from holdfast.testing import FakeClock, Fault, FaultServer, Via, on_reuse
from holdfast.testing.fixtures import StartFaultServer

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SILENT: list[Any] = [None, False, 0, Retry(0, read=False)]


@contextmanager
def away(server: FaultServer, tries: int) -> Iterator[tuple[FakeClock, Callable[[float], None]]]:
    """The server is away until somebody has waited so often. Clock and sleep of the policy."""
    clock, waits = FakeClock(), [0]
    with _Away(server) as door:

        def sleep(seconds: float) -> None:
            clock.advance(seconds)
            waits[0] += 1
            if waits[0] == tries:
                door.back()

        yield clock, sleep


class _Away:
    def __init__(self, server: FaultServer) -> None:
        self._context = server.refusing()
        self._is_away = False

    def __enter__(self) -> Any:
        self._context.__enter__()
        self._is_away = True
        return self

    def back(self) -> None:
        if self._is_away:
            self._is_away = False
            self._context.__exit__(None, None, None)

    def __exit__(self, *_: object) -> None:
        self.back()


# -- for a moment


@pytest.mark.parametrize("retries", SILENT)
@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
def test_a_server_that_was_away_for_a_moment_is_not_noticed(
    fault_server: StartFaultServer, method: str, retries: Any
) -> None:
    server = fault_server()
    with away(server, tries=3) as (clock, sleep):
        with holdfast.wrap(
            HTTPConnectionPool(server.host, server.port), Policy(clock=clock, sleep=sleep)
        ) as pool:
            body = b"paid" if method in ("POST", "PATCH") else None
            assert pool.request(method, "/r/1", body=body, retries=retries).status == 200
            assert holdfast.stats(pool).repeated == {Verdict.RECONNECTED: 3}
            assert holdfast.stats(pool).refused == {}
    assert server.ledger.count(method, "/r/1") == 1
    if body:
        assert server.ledger[-1].body == body


def test_the_same_over_tls(
    fault_server: StartFaultServer, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    server = fault_server(ssl_context=server_tls)
    with away(server, tries=2) as (clock, sleep):
        policy = Policy(clock=clock, sleep=sleep)
        with holdfast.wrap(
            HTTPSConnectionPool(server.host, server.port, ssl_context=client_tls), policy
        ) as pool:
            assert pool.request("POST", "/r/1", body=b"x").status == 200
    assert server.ledger.count("POST", "/r/1") == 1


@pytest.mark.parametrize("via", [Via.FORWARD, Via.CONNECT])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_same_for_a_proxy(
    fault_server: StartFaultServer, client: Any, server_tls: ssl.SSLContext, via: Via, method: str
) -> None:
    server = fault_server(via=via, ssl_context=server_tls if via is Via.CONNECT else None)
    with away(server, tries=2) as (clock, sleep):
        manager = client(server, Policy(clock=clock, sleep=sleep))
        assert manager.request(method, server.url + "/r/1", body=b"x").status == 200
    assert server.ledger.count(method, "/r/1") == 1
    assert server.tunnels == (via is Via.CONNECT)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_same_for_requests(fault_server: StartFaultServer, method: str) -> None:
    server = fault_server()
    with away(server, tries=2) as (clock, sleep), requests.Session() as session:
        holdfast.wrap(session, Policy(clock=clock, sleep=sleep))
        assert session.request(method, server.url + "/r/1", data=b"x").status_code == 200
    assert server.ledger.count(method, "/r/1") == 1


@pytest.mark.parametrize("plan", [[Fault.CLOSE_WHILE_IDLE], on_reuse(Fault.CLOSE_AS_REQUEST_LEAVES)])
def test_a_restart_takes_the_connection_and_then_the_server(
    fault_server: StartFaultServer, plan: Any
) -> None:
    server, clock = fault_server(plan), FakeClock()
    door = _Away(server)

    def sleep(seconds: float) -> None:
        clock.advance(seconds)
        door.back()

    with holdfast.wrap(
        HTTPConnectionPool(server.host, server.port), Policy(clock=clock, sleep=sleep)
    ) as pool:
        pool.request("GET", "/warm")
        server.settle()
        with door:
            assert pool.request("POST", "/r/1", body=b"x").status == 200
    assert server.ledger.count("POST", "/r/1") == 1


def test_a_generator_body_is_sent_whole_after_reconnecting(fault_server: StartFaultServer) -> None:
    server = fault_server()
    with away(server, tries=2) as (clock, sleep):
        with holdfast.wrap(
            HTTPConnectionPool(server.host, server.port), Policy(clock=clock, sleep=sleep)
        ) as pool:
            assert pool.request("POST", "/r/1", body=iter([b"on", b"ce"])).status == 200
    assert [entry.body for entry in server.ledger] == [b"once"]


def test_who_uses_http_clients_own_steps_may_do_so(fault_server: StartFaultServer) -> None:
    """putrequest() and endheaders(): the connection opens in the middle of them."""
    server = fault_server()
    clock, door = FakeClock(), _Away(server)

    def sleep(seconds: float) -> None:
        clock.advance(seconds)
        door.back()

    pool = holdfast.wrap(HTTPConnectionPool(server.host, server.port), Policy(clock=clock, sleep=sleep))
    with pool:
        conn: Any = pool._new_conn()
        with door, contextlib.suppress(NewConnectionError):
            conn.putrequest("GET", "/r/1")
            conn.endheaders()
            # As urllib3's own does not go without urllib3's request().
            response = http.client.HTTPConnection.getresponse(conn)
            assert (response.status, response.read()) == (200, b"GET /r/1")
        conn.close()
    assert server.ledger.count("GET", "/r/1") <= 1


# Before 3.11 ssl does not close its socket if the reset is there before the handshake begins.
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning"
)
def test_a_handshake_that_is_reset_is_tried_again(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """A balancer without a server behind it."""
    served: list[bytes] = []

    def handler(sock: Any, number: int) -> None:
        if number <= 2:
            abort(sock)
            return
        with server_tls.wrap_socket(sock, server_side=True) as secure:
            served.append(read_request(secure))
            secure.sendall(ANSWER)
            secure.recv(1)

    policy = Policy(retry=RetryPolicy(base_delay=0.001, max_delay=0.001))
    with Peer(handler) as peer:
        with holdfast.wrap(
            HTTPSConnectionPool("localhost", peer.port, ssl_context=client_tls), policy
        ) as pool:
            assert pool.request("POST", "/", body=b"x").data == b"ok"
            assert holdfast.stats(pool).repeated == {Verdict.RECONNECTED: 2}
    assert len(served) == 1


# -- for longer: the errors are the library's


def outcome(target: Any, method: str, retries: Any) -> Any:
    try:
        target.request(method, "/", body=b"x", retries=retries)
    except Exception as error:
        return shape(error)
    return "an answer"


def shape(error: BaseException | None) -> Any:
    if error is None:
        return None
    inside = [getattr(error, name, None) for name in ("reason", "original_error")]
    inside += [arg for arg in error.args if isinstance(arg, BaseException)]
    return type(error), [shape(one) for one in inside if isinstance(one, BaseException)][:1]


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


RETRIES = [None, False, 0, 2, Retry(0, read=False), Retry(2, connect=0), Retry(2, allowed_methods=None)]


@pytest.mark.parametrize("retries", RETRIES)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_who_is_refused_for_longer_gets_the_error_of_bare_urllib3(method: str, retries: Any) -> None:
    port, clock = free_port(), FakeClock()
    policy = Policy(clock=clock, sleep=clock.sleep)
    with HTTPConnectionPool("127.0.0.1", port) as bare:
        expected = outcome(bare, method, retries)
    with holdfast.wrap(HTTPConnectionPool("127.0.0.1", port), policy) as pool:
        assert outcome(pool, method, retries) == expected
    assert NewConnectionError in (expected[0], *[inner[0] for inner in expected[1]])


# Before 3.11 http.client leaves the half answer of a proxy open, bare or wrapped, where urllib3 (2.0, say)
# lets it read that.
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.parametrize("retries", RETRIES)
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("kind", ["tls", "forward proxy", "tunnel", "tls proxy"])
def test_so_does_who_is_cut_off_while_opening(
    kind: str, method: str, retries: Any, client_tls: ssl.SSLContext
) -> None:
    """Reset at once; a forward proxy is refused, for a reset is one of the request there."""

    def make() -> Any:
        if kind == "tls":
            return HTTPSConnectionPool("localhost", port, ssl_context=client_tls)
        scheme = "https" if kind == "tls proxy" else "http"
        return urllib3.ProxyManager(
            f"{scheme}://localhost:{port}", ssl_context=client_tls, proxy_ssl_context=client_tls
        )

    def ask(target: Any) -> Any:
        url = {"tls": "/", "forward proxy": "http://a.invalid/"}.get(kind, "https://a.invalid/")
        try:
            target.request(method, url, body=b"x", retries=retries)
        except Exception as error:
            report = holdfast.report(error)
            return shape(error), None if report is None else report.progress
        return "an answer", None

    def refuse(sock: Any, number: int) -> None:
        if kind == "tunnel":
            read_request(sock)
        else:
            sock.recv(1)
        abort(sock)

    clock = FakeClock()
    policy = Policy(clock=clock, sleep=clock.sleep, retry=RetryPolicy(budget=None))
    with Peer(refuse) as peer:
        port = free_port() if kind == "forward proxy" else peer.port
        with make() as bare:
            expected, _ = ask(bare)
        with holdfast.wrap(make(), policy) as target:
            assert ask(target) == (expected, Progress.NOT_SENT)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_requests_users_still_catch_a_connection_error(method: str) -> None:
    clock = FakeClock()
    with requests.Session() as session:
        holdfast.wrap(session, Policy(clock=clock, sleep=clock.sleep))
        with pytest.raises(requests.ConnectionError) as caught:
            session.request(method, f"http://127.0.0.1:{free_port()}/")
    assert type(caught.value) is requests.ConnectionError
    assert isinstance(caught.value.args[0], MaxRetryError)
    report = holdfast.report(caught.value)
    assert report is not None
    assert report.progress is Progress.NOT_SENT


@pytest.mark.parametrize("retries", [None, False])
def test_a_name_that_is_not_resolved_is_reported_as_such(
    monkeypatch: pytest.MonkeyPatch, retries: Any
) -> None:
    asked = []

    def resolve(*args: Any) -> Any:
        asked.append(args)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    clock = FakeClock()
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with holdfast.wrap(HTTPConnectionPool("nowhere", 80), Policy(clock=clock, sleep=clock.sleep)) as pool:
        with pytest.raises((MaxRetryError, NameResolutionError)) as caught:
            pool.request("GET", "/", retries=retries)
    assert len(asked) > 2
    report = holdfast.report(caught.value)
    assert report is not None
    assert (report.phase, report.cause, report.errno) == (Phase.RESOLVE, Cause.UNRESOLVED, None)


def test_a_name_that_is_resolved_again_in_a_moment_is_not_noticed(
    fault_server: StartFaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, clock = fault_server(), FakeClock()
    resolve = socket.getaddrinfo
    failed: list[Any] = []

    def sometimes(*args: Any) -> Any:
        if len(failed) < 3:
            failed.append(args)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return resolve("127.0.0.1", *args[1:])

    monkeypatch.setattr(socket, "getaddrinfo", sometimes)
    with holdfast.wrap(
        HTTPConnectionPool("nowhere", server.port), Policy(clock=clock, sleep=clock.sleep)
    ) as pool:
        assert pool.request("POST", "/r/1", body=b"x").status == 200


# -- how long


def test_it_is_tried_for_as_long_as_the_policy_says_and_then_fails_fast() -> None:
    clock, waits = FakeClock(), []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        clock.advance(seconds)

    policy = Policy(clock=clock, sleep=sleep, retry=RetryPolicy(reconnect=5, budget=None))
    with holdfast.wrap(HTTPConnectionPool("127.0.0.1", free_port(), retries=False), policy) as pool:
        began = clock()
        with pytest.raises(NewConnectionError):
            pool.request("GET", "/")
        assert clock() - began <= 5
        assert clock() - began >= 3
        assert all(0 <= wait <= 2 for wait in waits)
        tries = holdfast.stats(pool).repeated[Verdict.RECONNECTED]
        # An outage: who comes later finds it known.
        for _ in range(3):
            before = clock()
            with pytest.raises(NewConnectionError):
                pool.request("POST", "/")
            assert clock() - before <= 0.1
        assert holdfast.stats(pool).repeated[Verdict.RECONNECTED] <= tries + 1


def test_when_it_is_back_the_next_outage_is_waited_for_again(fault_server: StartFaultServer) -> None:
    server = fault_server()
    clock = FakeClock()
    with holdfast.wrap(
        HTTPConnectionPool(server.host, server.port, retries=False), Policy(clock=clock, sleep=clock.sleep)
    ) as pool:
        for _ in range(2):
            with server.refusing():
                began = clock()
                with pytest.raises(NewConnectionError):
                    pool.request("GET", "/r/1")
                assert clock() - began >= 3
            # The refusing itself leaves the pool's connection to the next request.
            assert pool.request("GET", "/r/2").status == 200
            server.hang_up()


def test_the_callers_connect_timeout_ends_it_sooner() -> None:
    clock = FakeClock()
    policy = Policy(clock=clock, sleep=clock.sleep)
    with holdfast.wrap(HTTPConnectionPool("127.0.0.1", free_port(), retries=False), policy) as pool:
        began = clock()
        with pytest.raises(NewConnectionError) as caught:
            pool.request("GET", "/", timeout=Timeout(connect=0.7, read=99))
        assert clock() - began <= 0.7
    report = holdfast.report(caught.value)
    assert report is not None
    assert report.cause is Cause.REFUSED


def test_a_connect_timeout_is_the_callers_patience_and_not_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried = []

    def never(*args: Any, **kwargs: Any) -> Any:
        tried.append(args)
        raise TimeoutError("timed out")

    monkeypatch.setattr(urllib3.util.connection, "create_connection", never)
    clock = FakeClock()
    with holdfast.wrap(
        HTTPConnectionPool("127.0.0.1", 9, retries=False), Policy(clock=clock, sleep=clock.sleep)
    ) as pool:
        with pytest.raises(ConnectTimeoutError) as caught:
            pool.request("GET", "/", timeout=1)
    assert len(tried) == 1
    report = holdfast.report(caught.value)
    assert report is not None
    assert (report.cause, report.progress) == (Cause.NOT_REACHED_IN_TIME, Progress.NOT_SENT)


def test_a_certificate_that_does_not_fit_is_not_tried_again(
    fault_server: StartFaultServer, server_tls: ssl.SSLContext
) -> None:
    server, clock = fault_server(ssl_context=server_tls), FakeClock()
    with holdfast.wrap(
        HTTPSConnectionPool(server.host, server.port, retries=False), Policy(clock=clock, sleep=clock.sleep)
    ) as pool:
        with pytest.raises(urllib3.exceptions.SSLError) as caught:
            pool.request("GET", "/")
    assert server.connections == 1
    report = holdfast.report(caught.value)
    assert report is not None
    assert (report.cause, report.ended_by, report.phase) == (
        Cause.TLS_FAILED,
        EndedBy.PROTOCOL,
        Phase.TLS,
    )


@pytest.mark.parametrize("retries", [2, Retry(2, connect=1)])
def test_a_retry_of_the_callers_is_left_alone(retries: Any) -> None:
    waits: list[float] = []
    policy = Policy(clock=FakeClock(), sleep=waits.append)
    with holdfast.wrap(HTTPConnectionPool("127.0.0.1", free_port()), policy) as pool:
        with pytest.raises(MaxRetryError):
            pool.request("GET", "/", retries=retries)
        refused = holdfast.stats(pool).refused
    assert waits == []
    assert list(refused) == [Verdict.LEFT_UNSENT]


def test_it_can_be_switched_off() -> None:
    waits: list[float] = []
    policy = Policy(sleep=waits.append, retry=RetryPolicy(reconnect=0))
    with holdfast.wrap(HTTPConnectionPool("127.0.0.1", free_port(), retries=False), policy) as pool:
        with pytest.raises(NewConnectionError):
            pool.request("GET", "/")
        assert holdfast.stats(pool).repeated == {}
    assert waits == []


def test_a_clock_that_stands_still_does_not_make_it_endless() -> None:
    class Endless(BaseException):
        pass

    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) > 2_000:
            raise Endless

    policy = Policy(clock=FakeClock(), sleep=sleep, retry=RetryPolicy(budget=None))
    with holdfast.wrap(HTTPConnectionPool("127.0.0.1", free_port(), retries=False), policy) as pool:
        with pytest.raises(NewConnectionError):
            pool.request("GET", "/")
    assert sum(waits) < 20


# -- the load


def test_many_threads_do_not_run_down_a_server_that_is_not_there() -> None:
    """Each try after a wait takes from the budget of the pool."""
    tried, lock = [0], threading.Lock()

    class Counting(HTTPConnectionPool):
        def _new_conn(self) -> Any:
            conn: Any = super()._new_conn()
            make = conn._new_conn

            def counted() -> Any:
                with lock:
                    tried[0] += 1
                return make()

            conn._new_conn = counted
            return conn

    budget = RetryBudget(ratio=0, per_second=0, most=10)
    quick = RetryPolicy(base_delay=0.001, max_delay=0.002, reconnect=0.3, budget=budget)
    threads = 32
    start = threading.Barrier(threads)
    errors: list[Any] = []
    with holdfast.wrap(
        Counting("127.0.0.1", free_port(), maxsize=threads, retries=False), Policy(retry=quick)
    ) as pool:

        def work() -> None:
            start.wait()
            try:
                pool.request("GET", "/")
            except NewConnectionError as error:
                errors.append(holdfast.report(error))

        workers = [threading.Thread(target=work) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        stats = holdfast.stats(pool)
    assert len(errors) == threads
    assert stats.repeated == {Verdict.RECONNECTED: 10}
    assert stats.refused.keys() <= {Verdict.REFUSED_BUDGET, Verdict.LEFT_UNSENT}
    assert stats.refused[Verdict.REFUSED_BUDGET] > 0


def test_the_attempts_are_in_the_report_with_their_waits() -> None:
    clock, waits = FakeClock(), list[float]()

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        clock.advance(seconds)

    policy = Policy(clock=clock, sleep=sleep, retry=RetryPolicy(reconnect=0.4, max_delay=0.2))
    with holdfast.wrap(HTTPConnectionPool("127.0.0.1", free_port(), retries=False), policy) as pool:
        with pytest.raises(NewConnectionError) as caught:
            pool.request("GET", "/?token=hush")
    report = holdfast.report(caught.value)
    assert report is not None
    attempts = report.attempts
    assert attempts[0].waited == 0
    assert [one.waited for one in attempts[1:]] == pytest.approx(waits[: len(attempts) - 1])
    assert {one.verdict for one in attempts[:-1]} == {Verdict.RECONNECTED}
    assert {one.errno for one in attempts} == {errno.ECONNREFUSED}
    assert {one.method for one in attempts} == {"GET"}
    assert "hush" not in str(report) + repr(report) + json.dumps(report.as_dict())


def test_a_long_wait_for_a_server_makes_a_report_that_can_be_told() -> None:
    clock = FakeClock()
    hour = RetryPolicy(reconnect=3_600, budget=None)
    with holdfast.wrap(
        HTTPConnectionPool("127.0.0.1", free_port(), retries=False),
        Policy(clock=clock, sleep=clock.sleep, retry=hour),
    ) as pool:
        with pytest.raises(NewConnectionError) as caught:
            pool.request("GET", "/")
    report = holdfast.report(caught.value)
    assert report is not None
    assert 2 < len(report.attempts) < 100
    assert report.attempts[0].waited == 0
    assert sum(one.left_out for one in report.attempts) > 1_000
    assert str(report)
    assert json.dumps(report.as_dict())
    assert pickle.loads(pickle.dumps(report)) == report


def test_the_wait_is_a_real_one_by_default(fault_server: StartFaultServer) -> None:
    """1.5 s is what the issue asks for; here a fifth of it, which several waits fit in."""
    server = fault_server()
    context = server.refusing()
    context.__enter__()
    timer = threading.Timer(0.3, context.__exit__, (None, None, None))
    timer.start()
    with holdfast.wrap(HTTPConnectionPool(server.host, server.port)) as pool:
        began = time.monotonic()
        assert pool.request("POST", "/r/1", body=b"x").status == 200
        assert 0.2 < time.monotonic() - began < 4
    timer.join()
    assert server.ledger.count("POST", "/r/1") == 1
