"""What a second pair of eyes broke once. Each stays broken in its own way if it comes back."""

from __future__ import annotations

import copy
import http.client
import io
import logging
import signal
import socket
import ssl
import threading
from collections import deque
from typing import Any, ClassVar
from unittest import mock

import pytest
import requests
import requests.adapters
import urllib3
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import MaxRetryError, ProtocolError, UnrewindableBodyError
from urllib3.util.retry import Retry

import holdfast
import holdfast.adapters.requests
import holdfast.adapters.urllib3 as drop_in
from holdfast import CloseReason, NotWrappableError, Policy, PoolLimits, Progress, Verdict, WrapConflictError
from holdfast._threads.tally import Tally
from holdfast.testing import FakeClock, Fault, Request, Response, Via, on_reuse
from holdfast.testing.fixtures import StartFaultServer

STALE = on_reuse(Fault.READ_THEN_RESET)


# -- executed twice


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers here")
@pytest.mark.parametrize("kind", [OSError, TimeoutError, ConnectionError])
def test_what_a_signal_handler_raises_says_nothing_about_the_bytes(
    fault_server: StartFaultServer, kind: type[OSError]
) -> None:
    """Python runs handlers inside of sendall, after the kernel took everything."""

    class Alarm(kind):  # type: ignore[misc, valid-type]
        pass

    sent: list[Any] = []

    def send(self: Any, data: Any) -> None:
        plain_send(self, data)
        if sent:
            raise Alarm("my deadline")
        sent.append(data)

    plain_send = http.client.HTTPConnection.send
    server = fault_server()
    with holdfast.wrap(HTTPConnectionPool(server.host, server.port, retries=False)) as pool:
        with mock.patch.object(http.client.HTTPConnection, "send", send):
            pool.request("GET", "/warm")
            with pytest.raises(ProtocolError) as caught:
                pool.request("POST", "/pay", body=b"x")
        report = holdfast.report(caught.value)
        assert report is not None
        assert report.progress is Progress.MAYBE_PROCESSED
        assert holdfast.stats(pool).repeated == {}


def test_a_closed_connection_that_lies_in_the_pool_is_guarded_too(fault_server: StartFaultServer) -> None:
    server = fault_server([Fault.ANSWER_THEN_CLOSE], *[[Fault.READ_THEN_RESET]] * 6, via=Via.FORWARD)
    manager = urllib3.ProxyManager(server.proxy_url)
    manager.request("GET", server.url + "/a")
    holdfast.wrap(manager)
    with pytest.raises(ProtocolError):
        manager.request("POST", server.url + "/pay", body=b"x")
    assert server.ledger.count("POST", "/pay") == 1


@pytest.mark.parametrize(
    "counts", [{"total": 3, "read": False}, {"total": 3, "read": 0}, {"total": 0}, {"total": False}]
)
def test_a_method_that_is_listed_for_status_codes_is_not_repeated_against_the_counts(
    fault_server: StartFaultServer, counts: Any
) -> None:
    server = fault_server(STALE)
    retries = Retry(status_forcelist=[503], allowed_methods={"POST"}, **counts)
    with holdfast.wrap(HTTPConnectionPool(server.host, server.port)) as pool:
        pool.request("GET", "/warm")
        with pytest.raises((ProtocolError, MaxRetryError)):
            pool.request("POST", "/pay", body=b"x", retries=retries)
    assert server.ledger.count("POST", "/pay") == 1


def test_a_connection_that_is_being_read_is_not_adopted_as_idle(fault_server: StartFaultServer) -> None:
    body = b"x" * 300_000
    server = fault_server(respond=lambda request: Response(body=body if request.method == "GET" else b"paid"))
    pool = HTTPConnectionPool(server.host, server.port)
    response = pool.urlopen("GET", "/a", preload_content=False)
    first = response.read(1)
    response.release_conn()
    with holdfast.wrap(pool):
        assert pool.request("POST", "/pay", body=b"x", retries=Retry(3, allowed_methods=None)).data == b"paid"
        assert first + response.read() == body
    assert server.ledger.count("POST", "/pay") == 1


# -- locks


def test_counting_inside_of_counting_does_not_wait_for_itself() -> None:
    """The garbage collector may run a pool's finalizer anywhere, also in here."""
    tally = Tally()
    done = threading.Event()

    def nested() -> None:
        with tally._family.lock:
            tally.count("closed")
            tally.snapshot()
        done.set()

    thread = threading.Thread(target=nested, daemon=True)
    thread.start()
    assert done.wait(5)
    thread.join()


@pytest.mark.parametrize("kind", [HTTPConnectionPool, requests.Session])
def test_many_threads_wrap_the_same_object(kind: Any) -> None:
    for _ in range(50):
        target = kind("127.0.0.1") if kind is HTTPConnectionPool else kind()
        start = threading.Barrier(4)

        def work(target: Any = target, start: threading.Barrier = start) -> None:
            start.wait()
            holdfast.wrap(target)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert holdfast.stats(target).requests == 0
        target.close()


# -- works bare, must work wrapped


def test_a_pool_that_keeps_an_eye_on_its_connections_sees_the_ones_in_use(
    fault_server: StartFaultServer,
) -> None:
    seen: list[Any] = []

    class Watching(HTTPConnectionPool):
        def _new_conn(self) -> Any:
            conn: Any = super()._new_conn()
            connect = conn.connect

            def watched() -> None:
                connect()
                seen.append(conn.sock)

            conn.connect = watched
            return conn

    server = fault_server()
    with holdfast.wrap(Watching(server.host, server.port)) as pool:
        assert pool.request("GET", "/a").status == 200
    assert len(seen) == 1


class OddResponse(http.client.HTTPResponse):
    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        self.peer = sock.getpeername()
        super().__init__(sock, *args, **kwargs)
        self.fp = sock.makefile("rb", 0)


def test_a_response_class_may_do_with_its_socket_what_it_likes(fault_server: StartFaultServer) -> None:
    class Odd(urllib3.connection.HTTPConnection):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.response_class = OddResponse

    server = fault_server()
    pool = HTTPConnectionPool(server.host, server.port)
    pool.ConnectionCls = Odd
    with holdfast.wrap(pool):
        response: Any = pool.request("GET", "/a")
        assert response.data == b"GET /a"
        assert response._original_response.peer == server.address


def test_a_connection_may_answer_with_a_kind_of_its_own(fault_server: StartFaultServer) -> None:
    class Plain:
        status, version_string, length_remaining = 200, "HTTP/1.1", 0
        headers: ClassVar[dict[str, str]] = {}

        def get_redirect_location(self) -> bool:
            return False

    class Odd(urllib3.connection.HTTPConnection):
        def getresponse(self) -> Any:
            super().getresponse()
            return Plain()

    server = fault_server()
    pool = HTTPConnectionPool(server.host, server.port)
    pool.ConnectionCls = Odd
    with holdfast.wrap(pool):
        assert pool.request("GET", "/a").status == 200


def test_a_connection_class_that_cannot_be_derived_from_goes_on_as_it_is(
    fault_server: StartFaultServer, caplog: pytest.LogCaptureFixture
) -> None:
    class Final(urllib3.connection.HTTPConnection):
        def __init_subclass__(cls, **kwargs: Any) -> None:
            raise TypeError("final")

    server = fault_server()
    pool = HTTPConnectionPool(server.host, server.port)
    pool.ConnectionCls = Final
    with caplog.at_level(logging.WARNING), holdfast.wrap(pool):
        assert pool.request("GET", "/a").status == 200
    assert "goes on as it is: final" in caplog.text


@pytest.mark.parametrize("body", [deque([b"on", b"ce"]), [b"on", b"ce"], bytearray(b"once")])
def test_what_can_be_read_again_is_sent_again(fault_server: StartFaultServer, body: Any) -> None:
    answers = iter([503, 200])
    server = fault_server(respond=lambda request: Response(status=next(answers)))
    with holdfast.wrap(HTTPConnectionPool(server.host, server.port)) as pool:
        assert pool.request("PUT", "/a", body=body, retries=Retry(2, status_forcelist=[503])).status == 200
    assert [entry.body for entry in server.ledger] == [b"once", b"once"]


def test_an_iterable_of_unknown_make_is_not(fault_server: StartFaultServer) -> None:
    class PassesOn:
        def __init__(self) -> None:
            self.source = iter([b"on", b"ce"])

        def __iter__(self) -> Any:
            yield from self.source

    server = fault_server(respond=lambda request: Response(status=503))
    with (
        holdfast.wrap(HTTPConnectionPool(server.host, server.port)) as pool,
        pytest.raises(UnrewindableBodyError),
    ):
        pool.request("PUT", "/a", body=PassesOn(), retries=Retry(2, status_forcelist=[503]))
    assert len(server.ledger) == 1


def test_a_pools_own_handler_still_sees_the_errors(fault_server: StartFaultServer) -> None:
    class Translating(HTTPConnectionPool):
        def urlopen(self, *args: Any, **kwargs: Any) -> Any:
            try:
                return super().urlopen(*args, **kwargs)
            except ProtocolError as error:
                raise RuntimeError("mine") from error

    server = fault_server(STALE)
    with holdfast.wrap(Translating(server.host, server.port)) as pool:
        pool.request("GET", "/warm")
        with pytest.raises(RuntimeError, match="mine"):
            pool.request("POST", "/a", body=b"x")


def test_a_request_within_a_request_fails_in_its_own_right(fault_server: StartFaultServer) -> None:
    inner, outer = fault_server([Fault.READ_THEN_RESET]), fault_server()
    errors: list[BaseException] = []
    with holdfast.wrap(HTTPConnectionPool(inner.host, inner.port)) as inner_pool:
        conn: Any = inner_pool._new_conn()

        def body() -> Any:
            try:
                conn.request("POST", "/inner", body=b"x")
                conn.getresponse()
            except Exception as error:
                errors.append(error)
            yield b"outer"

        with holdfast.wrap(HTTPConnectionPool(outer.host, outer.port)) as outer_pool:
            assert outer_pool.request("POST", "/outer", body=body(), retries=3).status == 200
        conn.close()
    assert [type(error) for error in errors] == [ConnectionResetError]


def test_after_a_recovery_each_read_of_the_body_has_the_whole_timeout(fault_server: StartFaultServer) -> None:
    server = fault_server(STALE)
    with holdfast.wrap(HTTPConnectionPool(server.host, server.port, timeout=5)) as pool:
        pool.request("GET", "/warm")
        response = pool.urlopen("GET", "/a", preload_content=False, retries=False)
        conn: Any = response.connection
        assert (conn.timeout, conn.sock.gettimeout()) == (5, 5)
        response.read()


def test_a_copied_session_shares_the_listener() -> None:
    policy = Policy(listener=lambda event: None)
    assert copy.deepcopy(policy) is policy
    with requests.Session() as session:
        again = copy.deepcopy(holdfast.wrap(session, policy))
        assert holdfast.wrap(again, policy) is again


# -- wrap and unwrap


def test_a_mock_is_not_what_it_pretends_to_be() -> None:
    for kind in (requests.Session, urllib3.PoolManager, HTTPConnectionPool):
        with pytest.raises(NotWrappableError):
            holdfast.wrap(mock.MagicMock(spec=kind))


def test_a_manager_with_a_pool_that_cannot_be_wrapped_stays_as_it_was() -> None:
    class Final(HTTPConnectionPool):
        def __init_subclass__(cls, **kwargs: Any) -> None:
            raise TypeError("final")

    manager = urllib3.PoolManager()
    manager.pool_classes_by_scheme = {"http": Final, "https": HTTPSConnectionPool}
    good, bad = (manager.connection_from_url(url) for url in ("https://127.0.0.1", "http://127.0.0.1"))
    with pytest.raises(NotWrappableError, match="final"):
        holdfast.wrap(manager)
    assert [type(one) for one in (manager, good, bad)] == [urllib3.PoolManager, HTTPSConnectionPool, Final]


def test_an_adapter_of_a_test_suite_need_not_be_complete() -> None:
    class Bare(requests.adapters.HTTPAdapter):
        def __init__(self) -> None:
            pass

        def close(self) -> None:
            pass

    with requests.Session() as session:
        session.mount("mock://", Bare())
        holdfast.wrap(session).mount("other://", Bare())


def test_a_drop_in_that_cannot_be_unwrapped_is_left_whole(fault_server: StartFaultServer) -> None:
    server = fault_server(STALE)
    with drop_in.PoolManager(retries=False) as manager:
        manager.request("GET", server.url)
        with pytest.raises(WrapConflictError):
            holdfast.unwrap(manager)
        assert manager.request("GET", server.url + "/a").status == 200
        manager.connection_from_url(server.url).close()
    with pytest.raises(WrapConflictError):
        holdfast.unwrap(holdfast.adapters.requests.HTTPAdapter())


def test_wrap_looks_for_what_was_unwrapped_below(fault_server: StartFaultServer) -> None:
    server = fault_server()
    manager = holdfast.wrap(urllib3.PoolManager())
    pool = manager.connection_from_url(server.url)
    holdfast.unwrap(pool)
    holdfast.wrap(manager)
    assert holdfast.stats(pool).requests == 0


def test_an_unwrapped_connection_that_was_closed_is_plain_again(fault_server: StartFaultServer) -> None:
    server = fault_server([Fault.ANSWER_THEN_CLOSE], [Fault.ANSWER_THEN_CLOSE])
    events: list[Any] = []
    pool = holdfast.wrap(HTTPConnectionPool(server.host, server.port), Policy(listener=events.append))
    response = pool.urlopen("GET", "/a", preload_content=False)
    holdfast.unwrap(pool)
    response.read()
    before = len(events)
    pool.request("GET", "/b")
    assert len(events) == before
    assert "Connection" not in server.ledger[-1].headers
    pool.close()


# -- numbers and words


def test_a_connection_that_never_came_to_be_is_not_counted_as_closed(
    fault_server: StartFaultServer, server_tls: ssl.SSLContext
) -> None:
    server = fault_server(ssl_context=server_tls)
    with holdfast.wrap(HTTPSConnectionPool(server.host, server.port, retries=False)) as pool:
        for _ in range(3):
            with pytest.raises(urllib3.exceptions.SSLError):
                pool.request("GET", "/a")
        stats = holdfast.stats(pool)
    assert (stats.opened, stats.open, stats.closed) == (0, 0, {})


def test_a_response_that_was_dropped_half_read_is_called_so(fault_server: StartFaultServer) -> None:
    server = fault_server(respond=lambda request: Response(body=b"x" * 100_000))
    with holdfast.wrap(HTTPConnectionPool(server.host, server.port)) as pool:
        response = pool.urlopen("GET", "/a", preload_content=False)
        response.read(10)
        response.close()
        assert holdfast.stats(pool).closed == {CloseReason.UNREAD_RESPONSE: 1}


def test_a_report_knows_how_long_the_connection_was_idle(
    fault_server: StartFaultServer, fake_clock: FakeClock
) -> None:
    server = fault_server(STALE, on_reuse(Fault.READ_HALF_THEN_RESET))
    unasked = Policy(clock=fake_clock, limits=PoolLimits(learn=False, probe_unsafe_after=None))
    with holdfast.wrap(HTTPConnectionPool(server.host, server.port), unasked) as pool:
        for body in (b"x", b"x" * 40_000_000):
            pool.request("GET", "/warm")
            fake_clock.advance(7)
            with pytest.raises(ProtocolError) as caught:
                pool.request("POST", "/a", body=body)
            report = holdfast.report(caught.value)
            assert report is not None
            assert (report.idle, report.age) == (7, 7)


def test_a_report_does_not_repeat_what_the_peer_sent() -> None:

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.recv(65_536)
                sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nsecret-token\r\n")
                sock.recv(65_536)

        thread = threading.Thread(target=serve)
        thread.start()
        with holdfast.wrap(HTTPConnectionPool("127.0.0.1", listener.getsockname()[1], retries=False)) as pool:
            with pytest.raises(ProtocolError) as caught:
                pool.request("GET", "/a")
        thread.join()
    report = holdfast.report(caught.value)
    assert report is not None
    assert "secret" not in str(report)


def test_nothing_of_a_failed_request_stays_with_the_connection(fault_server: StartFaultServer) -> None:
    server = fault_server(STALE)
    with holdfast.wrap(HTTPConnectionPool(server.host, server.port)) as pool:
        pool.request("GET", "/warm")
        with pytest.raises(ProtocolError):
            pool.request("POST", "/a", body=io.BytesIO(b"x"), headers={"Authorization": "hush"})
        pool.request("GET", "/b")
        conn: Any = pool.pool.queue[-1]  # type: ignore[union-attr]
        with mock.patch.object(type(conn), "getresponse", side_effect=ConnectionResetError(104, "x")):
            with pytest.raises(MaxRetryError):
                pool.request("GET", "/c", headers={"Authorization": "hush"}, retries=0)
        assert conn._holdfast.exchange is None


def test_a_request_that_the_caller_interrupts_is_not_taken_for_stale(fault_server: StartFaultServer) -> None:
    def respond(request: Request) -> Response:
        return Response()

    class Alarm(OSError):  # noqa: N818
        pass

    server = fault_server(respond=respond)
    with holdfast.wrap(HTTPConnectionPool(server.host, server.port, retries=False)) as pool:
        pool.request("GET", "/warm")
        with mock.patch.object(http.client.HTTPConnection, "getresponse", side_effect=Alarm):
            with pytest.raises(ProtocolError) as caught:
                pool.request("GET", "/a")
    report = holdfast.report(caught.value)
    assert report is not None
    assert report.verdict is Verdict.REFUSED_INTERRUPTED
