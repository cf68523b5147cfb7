"""Repeats after a wait: attempts, budget, and whose Retry has the say."""

from __future__ import annotations

import io
import ssl
import threading
from typing import Any

import pytest
import requests
import urllib3
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
from botocore.exceptions import ConnectionClosedError  # type: ignore[import-untyped]
from botocore.httpsession import URLLib3Session  # type: ignore[import-untyped]
from scripted import Peer, abort, read_request
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.exceptions import MaxRetryError, ProtocolError, ReadTimeoutError, SSLError, UnrewindableBodyError
from urllib3.util.retry import Retry

import holdfast
from holdfast import Policy, RetryBudget, RetryPolicy, Verdict
from holdfast.adapters.urllib3._caller import in_progress
from holdfast.events import RepeatDecided
from holdfast.testing import FakeClock, Fault, Via, on_reuse
from holdfast.testing.fixtures import StartFaultServer

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BROKEN = [[Fault.READ_THEN_RESET]] * 12
SILENT: list[Any] = [None, False, 0, Retry(0, read=False)]


def quick(**settings: Any) -> Policy:
    return Policy(retry=RetryPolicy(base_delay=0.0005, max_delay=0.001, **settings))


def pool_for(server: Any, policy: Policy, **settings: Any) -> HTTPConnectionPool:
    return holdfast.wrap(HTTPConnectionPool(server.host, server.port, **settings), policy)


# -- attempts


@pytest.mark.parametrize("attempts", [1, 2, 3, 7])
@pytest.mark.parametrize("retries", SILENT)
def test_a_safe_request_is_sent_as_often_as_the_policy_says(
    fault_server: StartFaultServer, retries: Any, attempts: int
) -> None:
    server = fault_server(*BROKEN)
    with pool_for(server, quick(attempts=attempts)) as pool:
        with pytest.raises((ProtocolError, MaxRetryError)) as caught:
            pool.request("GET", "/r/1", retries=retries)
    assert server.ledger.count("GET", "/r/1") == attempts
    report = holdfast.report(caught.value)
    assert report is not None
    assert (len(report.attempts), report.verdict) == (attempts, Verdict.REFUSED_ATTEMPTS)


@pytest.mark.parametrize(
    ("retries", "kinds"),
    [
        (None, (MaxRetryError, ProtocolError)),
        (0, (MaxRetryError, ProtocolError)),
        (False, (ProtocolError, ConnectionResetError)),
        (Retry(0, read=False), (ProtocolError, ConnectionResetError)),
    ],
)
def test_the_error_is_then_the_one_that_urllib3_would_raise(
    fault_server: StartFaultServer, retries: Any, kinds: tuple[type, type]
) -> None:
    with HTTPConnectionPool(*fault_server(*BROKEN).address) as bare, pytest.raises(kinds[0]):
        bare.request("GET", "/r/1", retries=retries)
    server = fault_server(*BROKEN)
    with pool_for(server, quick()) as pool, pytest.raises(kinds[0]) as caught:
        pool.request("GET", "/r/1", retries=retries)
    assert type(caught.value) is kinds[0]
    inner = caught.value.reason if isinstance(caught.value, MaxRetryError) else caught.value.args[1]
    assert isinstance(inner, kinds[1])


def test_requests_users_catch_what_they_always_did(fault_server: StartFaultServer) -> None:
    server = fault_server(*BROKEN)
    with requests.Session() as session:
        holdfast.wrap(session, quick())
        with pytest.raises(requests.ConnectionError) as caught:
            session.get(server.url + "/r/1")
    assert type(caught.value) is requests.ConnectionError
    assert server.ledger.count("GET", "/r/1") == 3


def test_the_waits_grow_and_are_in_the_report(fault_server: StartFaultServer) -> None:
    clock, waits = FakeClock(), []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        clock.advance(seconds)

    server = fault_server(*BROKEN)
    with pool_for(server, Policy(clock=clock, sleep=sleep, retry=RetryPolicy(attempts=5))) as pool:
        with pytest.raises(ProtocolError) as caught:
            pool.request("GET", "/r/1", retries=False)
    report = holdfast.report(caught.value)
    assert report is not None
    assert [one.waited for one in report.attempts] == [0, *waits]
    assert all(0 <= wait <= 0.1 * 2**number for number, wait in enumerate(waits))
    assert len(waits) == 4


def test_many_attempts_do_not_run_out_of_stack(fault_server: StartFaultServer) -> None:
    def handler(sock: Any, number: int) -> None:
        if read_request(sock):
            abort(sock)

    most = 0
    for attempts in (100, 1_000):
        try:
            policy = Policy(sleep=lambda seconds: None, retry=RetryPolicy(attempts=attempts, budget=None))
        except holdfast.PolicyError:
            continue  # a limit is an answer as well
        most = attempts
        with Peer(handler) as peer:
            with pool_for(peer, policy) as pool, pytest.raises(ProtocolError) as caught:
                pool.request("GET", "/", retries=False)
            assert peer.connections == attempts
        report = holdfast.report(caught.value)
        assert report is not None
        assert str(report)
    assert most


@pytest.mark.parametrize("fault", [Fault.CUT_STATUS_LINE, Fault.CUT_HEAD, Fault.CUT_BODY, Fault.CUT_CHUNK])
def test_an_answer_that_broke_off_is_asked_for_again(fault_server: StartFaultServer, fault: Fault) -> None:
    server = fault_server([fault])
    with pool_for(server, quick()) as pool:
        assert pool.request("GET", "/r/1").data == b"GET /r/1"
        assert holdfast.stats(pool).repeated == {Verdict.REPEATED_AFTER_WAIT: 1}


def test_but_not_if_the_caller_has_seen_a_part_of_it(fault_server: StartFaultServer) -> None:
    server = fault_server([Fault.CUT_BODY])
    with pool_for(server, quick()) as pool:
        response = pool.urlopen("GET", "/r/1", preload_content=False)
        with pytest.raises(ProtocolError) as caught:
            response.read()
    assert server.ledger.count("GET", "/r/1") == 1
    report = holdfast.report(caught.value)
    assert report is not None
    assert report.verdict is Verdict.REFUSED_RESPONSE_STARTED


@pytest.mark.parametrize("method", ["POST", "PATCH"])
@pytest.mark.parametrize("retries", [*SILENT, 3, Retry(3, read=0)])
@pytest.mark.parametrize(
    "fault", [Fault.READ_THEN_RESET, Fault.READ_THEN_CLOSE, Fault.CUT_HEAD, Fault.CUT_BODY]
)
def test_an_unsafe_request_is_executed_once(
    fault_server: StartFaultServer, fault: Fault, retries: Any, method: str
) -> None:
    server = fault_server(*[[fault]] * 5)
    with pool_for(server, quick()) as pool:
        with pytest.raises((ProtocolError, MaxRetryError)):
            pool.request(method, "/r/1", body=b"x", retries=retries)
    assert server.ledger.count(method, "/r/1") == 1


# -- what the policy does not repeat, and urllib3's own Retry goes on with as bare


def test_a_read_timeout_is_left_to_urllib3s_own_retry(fault_server: StartFaultServer) -> None:
    server = fault_server(*[[Fault.READ_THEN_SILENCE]] * 9)
    with pool_for(server, quick()) as pool, pytest.raises(MaxRetryError) as caught:
        pool.request("GET", "/r/1", timeout=0.05)
    assert isinstance(caught.value.reason, ReadTimeoutError)
    assert server.ledger.count("GET", "/r/1") == 3  # until `attempts` is reached
    server = fault_server(*[[Fault.READ_THEN_SILENCE]] * 9)
    with pool_for(server, quick()) as pool, pytest.raises(ReadTimeoutError):
        pool.request("GET", "/r/1", timeout=0.05, retries=False)
    assert server.ledger.count("GET", "/r/1") == 1


def test_so_is_nonsense() -> None:
    def handler(sock: Any, number: int) -> None:
        if read_request(sock):
            sock.sendall(b"\x00\x01 no http\r\n\r\n")

    with Peer(handler) as peer:
        with pool_for(peer, quick()) as pool, pytest.raises(ProtocolError):
            pool.request("GET", "/", retries=False)
        assert peer.connections == 1
        with pool_for(peer, quick()) as pool, pytest.raises(MaxRetryError):
            pool.request("GET", "/")
        assert peer.connections <= 1 + 4


# -- the caller's Retry


def test_an_explicit_retry_is_the_callers_rule(fault_server: StartFaultServer) -> None:
    waits: list[float] = []
    server = fault_server(*BROKEN)
    policy = Policy(sleep=waits.append)
    with pool_for(server, policy) as pool, pytest.raises(MaxRetryError):
        pool.request("GET", "/r/1", retries=Retry(5, backoff_factor=0))
    assert server.ledger.count("GET", "/r/1") == 6
    assert waits == []
    assert holdfast.stats(pool).refused == {Verdict.LEFT_TO_CALLER: 5, Verdict.REFUSED_BY_RETRY: 1}


@pytest.mark.parametrize("via", list(Via))
@pytest.mark.parametrize(
    "fault",
    [
        Fault.CLOSE_AS_REQUEST_LEAVES,
        Fault.RESET_AS_REQUEST_LEAVES,
        Fault.HALF_CLOSE_AS_REQUEST_LEAVES,
        Fault.READ_HALF_THEN_RESET,
        Fault.READ_THEN_CLOSE,
        Fault.READ_THEN_RESET,
        Fault.CUT_STATUS_LINE,
        Fault.CUT_HEAD,
        Fault.CUT_BODY,
        Fault.CUT_CHUNK,
    ],
)
def test_a_naive_retry_for_any_method_never_sends_a_post_twice_over_a_reused_connection(
    fault_server: StartFaultServer, client: Any, server_tls: ssl.SSLContext, fault: Fault, via: Via
) -> None:
    server = fault_server(
        *[on_reuse(fault)] * 3, via=via, ssl_context=server_tls if via is Via.CONNECT else None
    )
    manager = client(server)
    manager.request("GET", server.url + "/warm")
    naive = Retry(total=10, allowed_methods=None, backoff_factor=0)
    try:
        status = manager.request("POST", server.url + "/pay", body=b"x", retries=naive).status
    except (ProtocolError, MaxRetryError) as error:
        assert holdfast.report(error) is not None
    else:
        assert status == 200
    assert server.ledger.count("POST", "/pay") <= 1


def test_over_a_fresh_one_it_is_his_risk(fault_server: StartFaultServer) -> None:
    server = fault_server([Fault.READ_THEN_RESET])
    with pool_for(server, quick()) as pool:
        naive = Retry(total=10, allowed_methods=None)
        assert pool.request("POST", "/pay", body=b"x", retries=naive).status == 200
        assert holdfast.stats(pool).refused == {Verdict.LEFT_AT_HIS_RISK: 1}
    assert server.ledger.count("POST", "/pay") == 2


def test_a_tls_error_in_place_of_an_answer_is_not_repeated(
    fault_server: StartFaultServer, client: Any, server_tls: ssl.SSLContext
) -> None:
    server = fault_server(*[[Fault.CORRUPT_TLS_RECORD]] * 9, ssl_context=server_tls)
    with pytest.raises((SSLError, MaxRetryError)):
        client(server, quick()).request("POST", server.url + "/pay", body=b"x")
    assert server.ledger.count("POST", "/pay") == 1


# -- bodies


@pytest.mark.parametrize("retries", [None, False, 3])
@pytest.mark.parametrize("lie", ["stays", "raises"])
def test_the_rest_of_a_body_whose_seek_lies_is_never_sent_as_the_whole(
    fault_server: StartFaultServer, lie: str, retries: Any
) -> None:
    class Liar(io.BytesIO):
        def seek(self, *args: Any) -> int:
            if lie == "raises":
                raise OSError("no way back")
            return 0

    server = fault_server(*BROKEN)
    with pool_for(server, quick()) as pool:
        with pytest.raises((ProtocolError, UnrewindableBodyError)) as caught:
            pool.request("PUT", "/r/1", body=Liar(b"once"), retries=retries)
    assert [entry.body for entry in server.ledger] == [b"once"]
    report = holdfast.report(caught.value)
    assert report is not None


def test_a_file_is_sent_whole_each_time(fault_server: StartFaultServer) -> None:
    server = fault_server([Fault.READ_THEN_RESET], [Fault.READ_THEN_CLOSE])
    with pool_for(server, quick()) as pool:
        pool.request("PUT", "/r/1", body=io.BytesIO(b"whole"))
    assert [entry.body for entry in server.ledger] == [b"whole"] * 3


@pytest.mark.parametrize("retries", [*SILENT, 3])
def test_a_generator_never(fault_server: StartFaultServer, retries: Any) -> None:
    server = fault_server(*BROKEN)
    with pool_for(server, quick()) as pool, pytest.raises((ProtocolError, MaxRetryError)):
        pool.request("PUT", "/r/1", body=iter([b"a", b"b"]), retries=retries)
    assert server.ledger.count("PUT", "/r/1") == 1


# -- the budget


def test_a_server_that_resets_everything_gets_a_fifth_more_and_a_little() -> None:
    """Three attempts each would be three times the load."""
    threads, each = 32, 20

    def handler(sock: Any, number: int) -> None:
        if read_request(sock):
            abort(sock)

    start = threading.Barrier(threads)
    settings = RetryBudget(ratio=0.2, per_second=0, most=20)
    with Peer(handler) as peer:
        with pool_for(peer, quick(budget=settings), maxsize=threads, retries=False) as pool:
            failed: list[Any] = []

            def work() -> None:
                start.wait()
                for _ in range(each):
                    try:
                        pool.request("GET", "/")
                    except ProtocolError as error:
                        failed.append(holdfast.report(error))

            workers = [threading.Thread(target=work) for _ in range(threads)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
            stats = holdfast.stats(pool)
        calls = threads * each
        assert len(failed) == calls
        # Repeats are requests as well, and pay: a fifth of a fifth, and so on.
        assert peer.connections <= (calls + 20) / (1 - 0.2) + 1
        repeated = stats.repeated[Verdict.REPEATED_AFTER_WAIT]
        assert repeated <= 20 + 0.2 * stats.requests
        assert stats.requests == calls + repeated == peer.connections
    assert stats.refused[Verdict.REFUSED_BUDGET] > 0
    assert {report.verdict for report in failed} <= {Verdict.REFUSED_BUDGET, Verdict.REFUSED_ATTEMPTS}


@pytest.mark.parametrize("retries", [None, False])
def test_when_it_is_used_up_urllib3s_own_retry_does_not_go_on(
    fault_server: StartFaultServer, retries: Any
) -> None:
    server = fault_server(*BROKEN)
    nothing = RetryBudget(ratio=0, per_second=0, most=1)
    with pool_for(server, quick(budget=nothing)) as pool:
        for _ in range(2):
            with pytest.raises((MaxRetryError, ProtocolError)) as caught:
                pool.request("GET", "/r/1", retries=retries)
    assert server.ledger.count("GET", "/r/1") == 3
    report = holdfast.report(caught.value)
    assert report is not None
    assert report.verdict is Verdict.REFUSED_BUDGET


def test_a_budget_of_one_pool_is_not_anothers(fault_server: StartFaultServer, client: Any) -> None:
    nothing = RetryBudget(ratio=0, per_second=0, most=1)
    servers = [fault_server([Fault.READ_THEN_RESET]), fault_server([Fault.READ_THEN_RESET])]
    manager = client(servers[0], quick(budget=nothing))
    for server in servers:
        assert manager.request("GET", server.url + "/r/1").status == 200


# -- threads and reentrance


def test_thirty_two_threads_each_get_their_own_answer() -> None:
    """Every third answer is a reset; whatever happens, nobody gets another's."""
    threads, each = 32, 30
    lock, served = threading.Lock(), [0]

    def handler(sock: Any, number: int) -> None:
        while request := read_request(sock):
            with lock:
                served[0] += 1
                strike = served[0] % 3 == 0
            if strike:
                abort(sock)
                return
            target = request.split(b" ", 2)[1]
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(target), target))

    start, wrong, failed = threading.Barrier(threads), [], []
    with Peer(handler) as peer:
        with pool_for(peer, quick(attempts=40, budget=None), maxsize=8, block=True) as pool:

            def work(name: int) -> None:
                start.wait()
                for number in range(each):
                    target = f"/{name}/{number}"
                    try:
                        answer = pool.request("GET", target).data
                    except Exception as error:
                        failed.append(error)
                    else:
                        wrong.extend([answer] if answer != target.encode() else [])

            workers = [threading.Thread(target=work, args=(name,)) for name in range(threads)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
            stats = holdfast.stats(pool)
    assert wrong == []
    assert failed == []
    assert sum(stats.repeated.values()) > threads * each / 4
    assert stats.requests == served[0]


def test_a_listener_may_make_requests_of_its_own(fault_server: StartFaultServer) -> None:
    """Also of the pool that tells it, in the middle of a request."""
    server, other = fault_server(*[[Fault.READ_THEN_RESET]] * 2), fault_server([Fault.READ_THEN_RESET])
    seen: list[Any] = []
    policy = RetryPolicy(base_delay=0.001, max_delay=0.001)

    def listener(event: Any) -> None:
        if isinstance(event, RepeatDecided) and event.method != "OPTIONS":
            told = [pool.request("OPTIONS", "/told").status for pool in (second, first)]
            seen.append((event.method, event.verdict, told))

    second = pool_for(other, Policy(retry=policy))
    first = pool_for(server, Policy(listener=listener, retry=policy), maxsize=2)
    with first, second:
        assert first.request("GET", "/r/1").data == b"GET /r/1"
    assert seen == [("GET", Verdict.REPEATED_AFTER_WAIT, [200, 200])]
    assert in_progress.call is None


def test_nothing_stays_behind_in_the_thread(fault_server: StartFaultServer) -> None:
    server = fault_server(*BROKEN)
    with pool_for(server, quick()) as pool:
        for retries in (None, False, 3):
            with pytest.raises((ProtocolError, MaxRetryError)):
                pool.request("GET", "/r/1", retries=retries)
            assert in_progress.call is None
    with pytest.raises(urllib3.exceptions.ClosedPoolError):
        pool.request("GET", "/r/1")
    assert in_progress.call is None


# -- through proxies, and with subclasses that send in their own way


@pytest.mark.parametrize("retries", [None, False])
@pytest.mark.parametrize(
    "fault", [Fault.READ_THEN_RESET, Fault.READ_THEN_CLOSE, Fault.CUT_HEAD, Fault.CUT_BODY]
)
@pytest.mark.parametrize("via", list(Via))
def test_a_repeat_goes_the_same_way_as_the_request(
    fault_server: StartFaultServer,
    client: Any,
    server_tls: ssl.SSLContext,
    via: Via,
    fault: Fault,
    retries: Any,
) -> None:
    server = fault_server([fault], [fault], via=via, ssl_context=server_tls if via is Via.CONNECT else None)
    manager = client(server, quick())
    assert manager.request("GET", server.url + "/r/1", retries=retries).data == b"GET /r/1"
    assert server.tunnels == (3 if via is Via.CONNECT else 0)
    # And what it leaves behind is a connection like any other.
    assert manager.request("GET", server.url + "/r/2").data == b"GET /r/2"
    assert server.connections == 3


def test_a_retried_head_has_no_body(fault_server: StartFaultServer) -> None:
    server = fault_server([Fault.READ_THEN_RESET])
    with pool_for(server, quick()) as pool:
        response = pool.request("HEAD", "/r/1")
        assert (response.status, response.data) == (200, b"")
        assert pool.request("GET", "/r/2").data == b"GET /r/2"


def test_botocore_gets_the_policys_repeats_for_what_is_safe_and_for_nothing_else() -> None:
    """Its connections send the head, wait for a 100, and pass retries=False."""
    plan, bodies = ["reset", "ok", "reset", "ok", "reset"], []

    def handler(sock: Any, number: int) -> None:
        while head := read_head(sock):
            sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" if b"100-continue" in head else b"")
            bodies.append((head.split(b" ", 1)[0], sock.recv(65_536) if b"100-continue" in head else None))
            if plan.pop(0) == "reset":
                abort(sock)
                return
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    def read_head(sock: Any) -> bytes:
        got = b""
        while b"\r\n\r\n" not in got or (got.startswith(b"POST") and not got.endswith(b"pay")):
            data: bytes = sock.recv(65_536)
            if not data:
                return b""
            got += data
        return got

    with Peer(handler) as peer:
        session = URLLib3Session()
        holdfast.wrap(session._manager, quick())

        def send(method: str, body: bytes) -> int:
            headers = {"Expect": b"100-continue"} if method == "PUT" else {}
            request = AWSRequest(method, peer.url + "/k", headers=headers, data=body).prepare()
            return int(session.send(request).status_code)

        assert send("PUT", b"first") == 200  # fresh, and reset: a retry
        assert send("PUT", b"again") == 200  # reused, and reset: a recovery
        with pytest.raises(ConnectionClosedError) as caught:
            send("POST", b"pay")
        stats = holdfast.stats(session._manager)
        session.close()
    assert stats.repeated == {Verdict.REPEATED_AFTER_WAIT: 1, Verdict.REPEATED_STALE: 1}
    assert bodies == [(b"PUT", b"first")] * 2 + [(b"PUT", b"again")] * 2 + [(b"POST", None)]
    report = holdfast.report(caught.value)
    assert report is not None
    assert report.verdict is Verdict.REFUSED_MAYBE_PROCESSED
