"""What becomes of a request whose connection fails: repeated, left to the caller, or raised."""

from __future__ import annotations

import errno
import io
import json
import pickle
import socket
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import urllib3
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import MaxRetryError, ProtocolError, ReadTimeoutError, SSLError, UnrewindableBodyError
from urllib3.util.retry import Retry

import holdfast
from holdfast import Cause, EndedBy, Phase, Policy, Progress, RetryPolicy, Verdict
from holdfast._net import tcp_info
from holdfast.adapters.urllib3 import _connection
from holdfast.testing import Fault, FaultServer, Request, Response, Via, on_reuse
from holdfast.testing.fixtures import StartFaultServer

STALE = on_reuse(Fault.READ_THEN_RESET)
QUICK = Policy(retry=RetryPolicy(base_delay=0.001, max_delay=0.002))


def pool_for(server: FaultServer, policy: Policy | None = None, **settings: Any) -> HTTPConnectionPool:
    settings.setdefault("retries", False)
    return holdfast.wrap(HTTPConnectionPool(server.host, server.port, **settings), policy)


def warm(pool: HTTPConnectionPool) -> HTTPConnectionPool:
    pool.request("GET", "/warm")
    return pool


# -- recovery, once


@pytest.mark.parametrize(
    "retries", [False, 0, Retry(0, read=False), Retry(total=5, read=0), Retry(connect=3, total=0)]
)
def test_it_repairs_stale_reuse_whatever_retries_says(fault_server: StartFaultServer, retries: Any) -> None:
    server = fault_server(STALE)
    with warm(pool_for(server)) as pool:
        assert pool.request("GET", "/r/1", retries=retries).data == b"GET /r/1"
        assert holdfast.stats(pool).repeated == {Verdict.REPEATED_STALE: 1}
    assert server.connections == 2


def test_a_get_that_fails_every_time_is_not_sent_on_top_of_the_callers_budget(
    fault_server: StartFaultServer,
) -> None:
    server = fault_server(STALE, *[[Fault.READ_THEN_RESET]] * 9)
    with warm(pool_for(server)) as pool, pytest.raises(MaxRetryError):
        pool.request("GET", "/r/1", retries=3)
    assert server.ledger.count("GET", "/r/1") == 4


def test_without_a_retry_of_the_callers_the_policy_says_how_often(fault_server: StartFaultServer) -> None:
    server = fault_server(STALE, *[[Fault.READ_THEN_RESET]] * 9)
    with warm(pool_for(server, QUICK)) as pool, pytest.raises(ProtocolError) as caught:
        pool.request("GET", "/r/1")
    assert server.ledger.count("GET", "/r/1") == 3
    report = holdfast.report(caught.value)
    assert report is not None
    assert [(one.verdict, one.reused) for one in report.attempts] == [
        (Verdict.REPEATED_STALE, True),
        (Verdict.REPEATED_AFTER_WAIT, False),
        (Verdict.REFUSED_ATTEMPTS, False),
    ]


def test_recovery_is_not_counted_against_one_attempt(fault_server: StartFaultServer) -> None:
    server = fault_server(STALE, *[[Fault.READ_THEN_RESET]] * 9)
    once = Policy(retry=RetryPolicy(attempts=1))
    with warm(pool_for(server, once)) as pool, pytest.raises(ProtocolError):
        pool.request("GET", "/r/1")
    assert server.ledger.count("GET", "/r/1") == 2


def test_the_callers_retry_goes_out_on_a_new_connection(fault_server: StartFaultServer) -> None:
    server = fault_server(STALE, STALE)
    with pool_for(server, maxsize=2) as pool:
        first = pool.urlopen("GET", "/a", preload_content=False)
        pool.request("GET", "/b")
        first.read()
        # Two connections lie there, both stale. The first retry must not meet the other one.
        assert pool.request("GET", "/r/1", retries=1).status == 200
    assert server.connections == 3


FRESH_FAULTS = [Fault.CLOSE_AS_REQUEST_LEAVES, Fault.READ_THEN_CLOSE, Fault.READ_THEN_RESET]


@pytest.mark.parametrize("fault", FRESH_FAULTS)
def test_a_fresh_connection_is_the_business_of_the_callers_retry(
    fault_server: StartFaultServer, fault: Fault
) -> None:
    server = fault_server([fault])
    with pool_for(server) as pool, pytest.raises(MaxRetryError) as caught:
        pool.request("GET", "/r/1", retries=Retry(3, read=0))
    report = holdfast.report(caught.value)
    assert report is not None
    assert (report.verdict, report.reused) == (Verdict.REFUSED_BY_RETRY, False)
    assert server.connections == 1


@pytest.mark.parametrize("retries", [None, False, 0, Retry(0, read=False)])
@pytest.mark.parametrize("fault", FRESH_FAULTS)
def test_where_he_has_none_it_is_the_policys(
    fault_server: StartFaultServer, fault: Fault, retries: Any
) -> None:
    server = fault_server([fault])
    with pool_for(server, QUICK, retries=None) as pool:
        assert pool.request("GET", "/r/1", retries=retries).status == 200
        assert holdfast.stats(pool).repeated == {Verdict.REPEATED_AFTER_WAIT: 1}
    assert server.connections == 2


@pytest.mark.parametrize("size", [0, 1_000, 3_900, 5_000, 16_000, 100_000])
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("plan", [[Fault.RESET_AS_REQUEST_LEAVES], on_reuse(Fault.RESET_AS_REQUEST_LEAVES)])
def test_what_never_left_is_repeated_whatever_it_is(
    fault_server: StartFaultServer, method: str, plan: Any, size: int
) -> None:
    server = fault_server(plan)
    with pool_for(server) as pool:
        if len(plan) > 1:
            warm(pool)
        assert pool.request(method, "/r/1", body=b"x" * size).status == 200
        assert holdfast.stats(pool).repeated == {Verdict.REPEATED_NEVER_SENT: 1}
    assert server.ledger.count(method, "/r/1") == 1


def test_recovery_can_be_switched_off(fault_server: StartFaultServer) -> None:
    server = fault_server(STALE)
    with warm(pool_for(server, Policy(retry=RetryPolicy(recovery=False)))) as pool:
        with pytest.raises(MaxRetryError) as caught:
            pool.request("GET", "/r/1", retries=Retry(3, read=0))
        report = holdfast.report(caught.value)
        assert report is not None
        assert (report.verdict, report.reused) == (Verdict.REFUSED_BY_RETRY, True)


def test_without_recovery_stale_reuse_is_a_failure_like_any_other(fault_server: StartFaultServer) -> None:
    server = fault_server(STALE)
    quick = RetryPolicy(recovery=False, base_delay=0.001, max_delay=0.001)
    with warm(pool_for(server, Policy(retry=quick))) as pool:
        assert pool.request("GET", "/r/1").status == 200
        assert holdfast.stats(pool).repeated == {Verdict.REPEATED_AFTER_WAIT: 1}


def test_a_server_that_is_gone_is_reported_as_such(fault_server: StartFaultServer) -> None:
    server = fault_server(STALE)
    policy = Policy(retry=RetryPolicy(reconnect=0))
    with warm(pool_for(server, policy)) as pool, server.refusing():
        with pytest.raises(urllib3.exceptions.NewConnectionError) as caught:
            pool.request("GET", "/r/1")
        report = holdfast.report(caught.value)
    assert report is not None
    assert (report.phase, report.progress, report.cause) == (
        Phase.CONNECT,
        Progress.NOT_SENT,
        Cause.REFUSED,
    )
    assert (report.errno, report.ended_by, report.verdict) == (
        errno.ECONNREFUSED,
        EndedBy.NOT_OPENED,
        Verdict.LEFT_UNSENT,
    )
    assert report.earlier is not None
    assert report.earlier.verdict is Verdict.REPEATED_STALE


# -- never twice


@pytest.mark.parametrize("retries", [False, 3, Retry(10, allowed_methods=None), Retry(10, backoff_factor=0)])
@pytest.mark.parametrize(
    "fault", [Fault.READ_THEN_CLOSE, Fault.READ_THEN_RESET, Fault.CUT_HEAD, Fault.CUT_STATUS_LINE]
)
def test_a_post_on_a_reused_connection_is_executed_once_and_raised(
    fault_server: StartFaultServer, fault: Fault, retries: Any
) -> None:
    server = fault_server(on_reuse(fault))
    with warm(pool_for(server)) as pool, pytest.raises(ProtocolError, match="Connection aborted"):
        pool.request("POST", "/r/1", body=b"x", retries=retries)
    assert server.ledger.count("POST", "/r/1") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="TCP_INFO as Linux has it")
def test_the_proof_rests_on_what_the_kernel_said_when_the_answer_before_came(
    fault_server: StartFaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def ask(sock: Any) -> bytes | None:
        asked.append(sock)
        return tcp_info.ask(sock)

    monkeypatch.setattr(_connection, "ask", ask)
    with warm(pool_for(fault_server())) as pool:
        pool.request("GET", "/")
        asked.clear()
        for _ in range(3):
            pool.request("POST", "/", body=b"x")
    assert asked == []


def test_who_asks_for_any_method_to_be_repeated_gets_it_where_the_pool_is_not_to_blame(
    fault_server: StartFaultServer,
) -> None:
    server = fault_server([Fault.READ_THEN_RESET])
    with pool_for(server) as pool:
        assert pool.request("POST", "/r/1", body=b"x", retries=Retry(3, allowed_methods=None)).status == 200
        assert holdfast.stats(pool).refused == {Verdict.LEFT_AT_HIS_RISK: 1}
    assert server.ledger.count("POST", "/r/1") == 2


def test_who_names_post_says_that_it_is_safe(fault_server: StartFaultServer) -> None:
    server = fault_server(STALE)
    with warm(pool_for(server)) as pool:
        assert (
            pool.request("POST", "/r/1", body=b"x", retries=Retry(3, allowed_methods={"POST"})).status == 200
        )
    assert server.ledger.count("POST", "/r/1") == 2


def test_a_key_says_so_too(fault_server: StartFaultServer) -> None:
    server = fault_server(STALE)
    with warm(pool_for(server)) as pool:
        pool.request("POST", "/r/1", body=b"x", headers={"Idempotency-Key": "k"})
    assert [entry.key for entry in server.ledger if entry.method == "POST"] == ["k", "k"]


@pytest.mark.parametrize("via", [Via.FORWARD, Via.CONNECT])
@pytest.mark.parametrize("plan", [[Fault.READ_THEN_RESET], [Fault.READ_THEN_CLOSE], STALE])
def test_behind_a_proxy_a_post_is_executed_once(
    fault_server: StartFaultServer, client: Any, server_tls: ssl.SSLContext, via: Via, plan: Any
) -> None:
    server = fault_server(*[plan] * 6, via=via, ssl_context=server_tls if via is Via.CONNECT else None)
    manager = client(server)
    if plan is STALE:
        manager.request("GET", server.url + "/warm")
    with pytest.raises(ProtocolError, match="Connection aborted"):
        manager.request("POST", server.url + "/r/1", body=b"x")
    assert server.ledger.count("POST", "/r/1") == 1


def test_a_proxy_that_cannot_be_reached_is_still_a_proxy_error() -> None:
    manager = holdfast.wrap(urllib3.ProxyManager("http://127.0.0.1:9", retries=1))
    with pytest.raises(MaxRetryError) as caught:
        manager.request("POST", "http://127.0.0.1:8/")
    assert isinstance(caught.value.reason, urllib3.exceptions.ProxyError)
    report = holdfast.report(caught.value)
    assert report is not None
    assert report.progress is Progress.NOT_SENT


def test_a_tls_error_after_the_request_is_no_reason_to_send_it_again(
    fault_server: StartFaultServer, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    server = fault_server(*[[Fault.CORRUPT_TLS_RECORD]] * 5, ssl_context=server_tls)
    pool = holdfast.wrap(HTTPSConnectionPool(server.host, server.port, ssl_context=client_tls))
    with pool, pytest.raises(SSLError) as caught:
        pool.request("POST", "/r/1", body=b"x")
    assert server.ledger.count("POST", "/r/1") == 1
    report = holdfast.report(caught.value)
    assert report is not None
    assert report.cause is Cause.NOT_HTTP


def test_a_part_of_an_upload_is_not_repeated_unless_asked_for(fault_server: StartFaultServer) -> None:
    body = b"x" * 40_000_000
    for policy, expected in ((Policy(), 0), (Policy(retry=RetryPolicy(repeat_incomplete=True)), 1)):
        server = fault_server(on_reuse(Fault.READ_HALF_THEN_RESET))
        with warm(pool_for(server, policy)) as pool:
            if expected:
                assert pool.request("POST", "/r/1", body=body).status == 200
            else:
                with pytest.raises(ProtocolError) as caught:
                    pool.request("POST", "/r/1", body=body)
                report = holdfast.report(caught.value)
                assert report is not None
                assert report.progress is Progress.INCOMPLETE
        assert server.ledger.count("POST", "/r/1") == expected


# -- bodies


class Body:
    """An iterator of records; whoever resumes it in the middle is found out."""

    def __init__(self, records: int) -> None:
        self.records = iter([b"%07d" % number for number in range(records)])

    def __iter__(self) -> Iterator[bytes]:
        return self.records


@pytest.mark.parametrize("retries", [False, 3])
@pytest.mark.parametrize("plan", [STALE, [Fault.READ_THEN_RESET], [Fault.READ_HALF_THEN_RESET]])
def test_a_generator_body_is_never_resumed(fault_server: StartFaultServer, plan: Any, retries: Any) -> None:
    server = fault_server(plan)
    with pool_for(server) as pool:
        if plan is STALE:
            warm(pool)
        with pytest.raises(ProtocolError) as caught:
            pool.request("PUT", "/r/1", body=iter(Body(20)), retries=retries)
        report = holdfast.report(caught.value)
    assert report is not None
    assert report.verdict is Verdict.REFUSED_BODY
    assert [len(entry.body) for entry in server.ledger if entry.method == "PUT"] in ([], [140])


def test_nor_by_a_redirect_or_a_status_retry(fault_server: StartFaultServer) -> None:
    def respond(request: Request) -> Response:
        if request.target == "/moved":
            return Response(status=307, headers={"Location": "/r/1"})
        return Response(status=503, headers={"Retry-After": "0"})

    server = fault_server(respond=respond)
    with pool_for(server, retries=None) as pool:
        for target in ("/moved", "/busy"):
            with pytest.raises(UnrewindableBodyError, match="begun to read"):
                pool.request("PUT", target, body=iter(Body(3)), retries=Retry(3, status_forcelist={503}))
    assert [entry.target for entry in server.ledger] == ["/moved", "/busy"]


def test_a_generator_that_was_not_begun_is_sent_on_the_next_connection(
    fault_server: StartFaultServer,
) -> None:
    server = fault_server([Fault.CLOSE_WHILE_IDLE])
    with warm(pool_for(server)) as pool:
        server.settle()
        assert pool.request("PUT", "/r/1", body=iter(Body(3))).status == 200
    assert server.ledger[-1].body == b"000000000000010000002"


def test_a_file_is_sent_again_from_where_it_stood(fault_server: StartFaultServer) -> None:
    server = fault_server(STALE)
    body = io.BytesIO(b"skipped|sent")
    body.seek(8)
    with warm(pool_for(server)) as pool:
        pool.request("PUT", "/r/1", body=body)
    assert [entry.body for entry in server.ledger if entry.method == "PUT"] == [b"sent", b"sent"]


@pytest.mark.parametrize("lie", ["stays", "raises"])
def test_a_body_whose_seek_lies_is_not_sent_again(fault_server: StartFaultServer, lie: str) -> None:
    class Liar(io.BytesIO):
        def seek(self, *args: Any) -> int:
            if lie == "raises":
                raise OSError("no way back")
            return 0

    server = fault_server(STALE)
    with warm(pool_for(server)) as pool, pytest.raises(ProtocolError) as caught:
        pool.request("PUT", "/r/1", body=Liar(b"once"))
    report = holdfast.report(caught.value)
    assert report is not None
    assert report.verdict is Verdict.REFUSED_BODY
    assert server.ledger.count("PUT", "/r/1") == 1


def test_an_early_answer_to_a_refused_upload_is_still_read() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def refuse() -> None:
            sock, _ = listener.accept()
            sock.recv(65_536)
            sock.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            sock.shutdown(socket.SHUT_WR)
            sock.recv(65_536)
            sock.close()

        thread = threading.Thread(target=refuse)
        thread.start()
        with holdfast.wrap(HTTPConnectionPool("127.0.0.1", port, retries=False)) as pool:
            assert pool.request("POST", "/", body=b"x" * 30_000_000).status == 413
        thread.join()


# -- time


def test_the_read_timeout_is_the_callers_and_is_not_started_again(fault_server: StartFaultServer) -> None:
    server = fault_server(on_reuse(Fault.READ_THEN_SILENCE))
    with warm(pool_for(server)) as pool, pytest.raises(ReadTimeoutError) as caught:
        pool.request("GET", "/r/1", timeout=0.2)
    report = holdfast.report(caught.value)
    assert report is not None
    assert (report.verdict, report.cause) == (Verdict.REFUSED_TIMED_OUT, Cause.NO_ANSWER_IN_TIME)
    assert server.ledger.count("GET", "/r/1") == 1


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_repeat_gets_what_is_left_of_the_time(fault_server: StartFaultServer, method: str) -> None:
    server = fault_server(STALE, [Fault.READ_THEN_SILENCE])
    with warm(pool_for(server)) as pool:
        began = time.monotonic()
        with pytest.raises((ReadTimeoutError, ProtocolError)):
            pool.request(method, "/r/1", timeout=0.3)
        assert time.monotonic() - began < 3


# -- what a report says


def test_a_report_tells_the_story_without_secrets(fault_server: StartFaultServer) -> None:
    server = fault_server(STALE, headers={"Keep-Alive": "timeout=7"})
    with warm(pool_for(server)) as pool, pytest.raises(ProtocolError) as caught:
        pool.request("POST", "/r/1?token=hush", body=b"hush", headers={"Authorization": "hush"})
    report = holdfast.report(caught.value)
    assert report is not None
    assert report.origin == server.url
    assert (report.method, report.phase, report.progress) == ("POST", Phase.AWAIT, Progress.MAYBE_PROCESSED)
    assert (report.verdict, report.cause) == (Verdict.REFUSED_MAYBE_PROCESSED, Cause.SERVER_WENT_AWAY)
    assert (report.reused, report.uses, report.keep_alive_timeout) == (True, 1, 7)
    assert 0 <= report.idle <= report.age < 60
    assert "hush" not in str(report) + json.dumps(report.as_dict()) + repr(report)
    assert pickle.loads(pickle.dumps(report)) == report
    assert "POST to" in str(report)


def test_a_note_stands_on_the_exception_where_python_has_notes(fault_server: StartFaultServer) -> None:
    server = fault_server(STALE)
    with warm(pool_for(server)) as pool, pytest.raises(ProtocolError) as caught:
        pool.request("POST", "/r/1")
    low = caught.value.args[1]
    assert getattr(low, "__notes__", ["holdfast: not repeated"])[0].startswith("holdfast: not repeated")


def test_an_error_of_somebody_else_has_no_report() -> None:
    assert holdfast.report(None) is None
    assert holdfast.report(ValueError("x")) is None


def test_threads_get_their_own_reports(fault_server: StartFaultServer) -> None:
    server = fault_server(*[on_reuse(Fault.READ_THEN_RESET)] * 4)
    start = threading.Barrier(4)
    told: dict[int, Any] = {}

    def work(pool: HTTPConnectionPool, number: int) -> None:
        held = pool.urlopen("GET", f"/warm/{number}", preload_content=False)
        start.wait()
        held.read()
        start.wait()
        try:
            pool.request("POST", f"/r/{number}")
        except ProtocolError as error:
            told[number] = holdfast.report(error)

    with pool_for(server, maxsize=4) as pool:
        threads = [threading.Thread(target=work, args=(pool, number)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # A connection that has failed goes back closed, and whoever is late opens it anew.
        assert holdfast.stats(pool).refused == {Verdict.REFUSED_MAYBE_PROCESSED: len(told)}
    assert told
    assert {report.verdict for report in told.values()} == {Verdict.REFUSED_MAYBE_PROCESSED}
