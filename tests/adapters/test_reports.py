"""What a report says of real failures, against what was done to the connection."""

from __future__ import annotations

import errno
import json
import logging
import pickle
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from scripted import Peer, abort, read_request
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.exceptions import HTTPError, MaxRetryError, ProtocolError

import holdfast
from holdfast import Cause, EndedBy, Evidence, FailureReport, Phase, Policy, Progress, RetryPolicy, Verdict
from holdfast._core.aggregation import Aggregation
from holdfast._threads import failure_log
from holdfast.testing import FakeClock, Fault, on_reuse
from holdfast.testing.fixtures import StartFaultServer

linux = pytest.mark.skipif(sys.platform != "linux", reason="what the kernel knows is told by Linux only")
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def pool_for(server: Any, policy: Policy | None = None, **settings: Any) -> HTTPConnectionPool:
    settings.setdefault("retries", False)
    return holdfast.wrap(HTTPConnectionPool(server.host, server.port, **settings), policy)


def report_of(pool: HTTPConnectionPool, method: str = "POST", **options: Any) -> FailureReport:
    with pytest.raises(HTTPError) as caught:
        pool.request(method, "/pay?token=hush", body=b"hush", headers={"Authorization": "hush"}, **options)
    report = holdfast.report(caught.value)
    assert report is not None
    check_plain(report)
    return report


def check_plain(report: FailureReport) -> None:
    assert "hush" not in str(report) + repr(report) + json.dumps(report.as_dict())
    assert pickle.loads(pickle.dumps(report)) == report
    assert report.verdict.value in str(report)


@linux
def test_a_peer_that_had_hung_up_is_known_from_the_kernel(fault_server: StartFaultServer) -> None:
    server = fault_server(on_reuse(Fault.CLOSE_AS_REQUEST_LEAVES), on_reuse(Fault.READ_THEN_RESET))
    with pool_for(server) as pool:
        pool.request("GET", "/warm")
        assert pool.request("POST", "/r/1", body=b"x").status == 200
        assert holdfast.stats(pool).repeated == {Verdict.REPEATED_PEER_CLOSED_FIRST: 1}
        # The repeat's connection is the one that fails next; what it repeated is not its story.
        report = report_of(pool)
    assert server.ledger.count("POST", "/r/1") == 1
    assert report.earlier is None
    assert (report.evidence, report.ended_by) == (Evidence.NO_FIN, EndedBy.RESET)


@linux
def test_that_word_need_not_be_taken(fault_server: StartFaultServer) -> None:
    server = fault_server(on_reuse(Fault.CLOSE_AS_REQUEST_LEAVES))
    with pool_for(server, Policy(retry=RetryPolicy(peer_closed_first=False))) as pool:
        pool.request("GET", "/warm")
        report = report_of(pool)
    assert (report.progress, report.evidence, report.verdict) == (
        Progress.PEER_CLOSED_FIRST,
        Evidence.FIN_BEFORE_REQUEST,
        Verdict.REFUSED_EVIDENCE,
    )


@linux
def test_a_reset_has_its_number_and_what_the_kernel_knew(fault_server: StartFaultServer) -> None:
    server = fault_server(on_reuse(Fault.READ_THEN_RESET))
    with pool_for(server) as pool:
        pool.request("GET", "/warm")
        report = report_of(pool)
    assert (report.ended_by, report.errno) == (EndedBy.RESET, errno.ECONNRESET)
    assert (report.phase, report.progress) == (Phase.AWAIT, Progress.MAYBE_PROCESSED)
    assert report.sent > 100
    assert report.received == 0
    assert (report.reused, report.uses) == (True, 1)
    assert report.tcp is not None
    assert 0 < report.tcp.min_rtt <= 1
    assert 0 < report.tcp.rtt <= 1
    assert report.tcp.unsent == 0
    assert "network:" in str(report)


@linux
def test_a_fin_without_an_answer_is_one(fault_server: StartFaultServer) -> None:
    for plan, reused in ((on_reuse(Fault.READ_THEN_CLOSE), True), ([Fault.READ_THEN_CLOSE], False)):
        server = fault_server(plan)
        with pool_for(server) as pool:
            if reused:
                pool.request("GET", "/warm")
            report = report_of(pool)
        assert (report.ended_by, report.errno, report.reused) == (EndedBy.FIN, None, reused)
        expected = {Evidence.ACKNOWLEDGED, Evidence.NOT_OVER} if reused else {Evidence.NOT_ASKED}
        assert report.evidence in expected
        if not reused:
            assert report.cause is Cause.CRASHED_ON_REQUEST


def test_silence_is_the_callers_timeout(fault_server: StartFaultServer) -> None:
    server = fault_server([Fault.READ_THEN_SILENCE])
    with pool_for(server) as pool:
        report = report_of(pool, timeout=0.05)
    assert (report.ended_by, report.errno) == (EndedBy.TIMEOUT, None)
    assert report.cause is Cause.NO_ANSWER_IN_TIME


def test_a_connection_that_the_kernel_gave_up_was_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """ETIMEDOUT: keepalive probes, or TCP_USER_TIMEOUT. Made here, for it takes a wire to get one."""

    def handler(sock: Any, number: int) -> None:
        read_request(sock)
        sock.recv(1)

    with Peer(handler) as peer, pool_for(peer, Policy(retry=RetryPolicy(attempts=1))) as pool:

        def gone(self: Any, buffer: Any) -> int:
            raise TimeoutError(errno.ETIMEDOUT, "Connection timed out")

        with monkeypatch.context() as patched:
            patched.setattr("holdfast._net.reading.WatchedSocketIO._receive", gone)
            report = report_of(pool)
    assert (report.ended_by, report.errno, report.cause) == (
        EndedBy.SILENCE,
        errno.ETIMEDOUT,
        Cause.UNACKNOWLEDGED,
    )


def test_what_the_peer_announced_is_told(fault_server: StartFaultServer, fake_clock: FakeClock) -> None:
    server = fault_server(
        on_reuse(Fault.READ_THEN_RESET), headers={"Keep-Alive": "timeout=65, max=1", "X-Secret": "hush"}
    )
    with pool_for(server, Policy(clock=fake_clock)) as pool:
        pool.request("GET", "/warm")
        fake_clock.advance(20)
        report = report_of(pool)
    assert (report.keep_alive_timeout, report.keep_alive_max) == (65, 1)
    assert (report.age, report.idle) == (20, 20)
    assert report.cause is Cause.REQUEST_LIMIT


def test_a_long_idle_connection_that_is_reset_was_forgotten(
    fault_server: StartFaultServer, fake_clock: FakeClock
) -> None:
    server = fault_server(on_reuse(Fault.READ_THEN_RESET))
    limits = holdfast.PoolLimits(idle_timeout=None)
    with pool_for(server, Policy(clock=fake_clock, limits=limits)) as pool:
        pool.request("GET", "/warm")
        fake_clock.advance(300)
        report = report_of(pool)
    if sys.platform == "linux":
        assert report.cause is Cause.FLOW_FORGOTTEN
    assert report.idle == 300


def test_a_socket_that_is_shut_on_this_side_is_not_told_as_answered() -> None:
    def handler(sock: Any, number: int) -> None:
        if read_request(sock):
            come.set()
            sock.recv(1)

    class Watched(HTTPConnectionPool):
        def _new_conn(self) -> Any:
            made.append(super()._new_conn())
            return made[-1]

    come, made, told = threading.Event(), list[Any](), list[FailureReport]()
    with Peer(handler) as peer:
        with holdfast.wrap(Watched(peer.host, peer.port, retries=False)) as pool:
            thread = threading.Thread(target=lambda: told.append(report_of(pool)))
            thread.start()
            assert come.wait(10)
            made[0].sock.shutdown(socket.SHUT_RDWR)
            thread.join()
    assert told[0].progress is Progress.MAYBE_PROCESSED
    assert told[0].verdict is Verdict.REFUSED_MAYBE_PROCESSED


def test_an_upload_that_is_refused_half_way_is_told_apart(fault_server: StartFaultServer) -> None:
    server = fault_server(on_reuse(Fault.READ_HALF_THEN_RESET))
    with pool_for(server) as pool:
        pool.request("GET", "/warm")
        with pytest.raises(ProtocolError) as caught:
            pool.request("POST", "/r/1", body=b"x" * 40_000_000)
    report = holdfast.report(caught.value)
    assert report is not None
    assert (report.progress, report.phase) == (Progress.INCOMPLETE, Phase.SEND)
    assert report.errno in (errno.ECONNRESET, errno.EPIPE)
    assert report.ended_by is EndedBy.RESET


@pytest.mark.parametrize("fault", [Fault.CUT_BODY, Fault.CUT_CHUNK])
def test_a_body_that_breaks_off_while_the_caller_reads_it_is_explained(
    fault_server: StartFaultServer, fault: Fault
) -> None:
    server = fault_server([fault])
    with requests.Session() as session:
        holdfast.wrap(session)
        answer = session.get(server.url + "/?token=hush", stream=True)
        with pytest.raises(requests.RequestException) as caught:
            answer.content  # noqa: B018
    report = holdfast.report(caught.value)
    assert report is not None
    check_plain(report)
    assert (report.phase, report.progress, report.ended_by, report.cause) == (
        Phase.BODY,
        Progress.RESPONSE_STARTED,
        EndedBy.FIN,
        Cause.CUT_RESPONSE,
    )


def test_the_note_on_the_exception_says_the_same(fault_server: StartFaultServer) -> None:
    server = fault_server([Fault.READ_THEN_RESET])
    with pool_for(server) as pool, pytest.raises(ProtocolError) as caught:
        pool.request("POST", "/pay", body=b"x")
    notes = getattr(caught.value.args[1], "__notes__", None)
    if sys.version_info >= (3, 11):
        assert notes is not None
        assert len(notes) == 1
        assert Verdict.REFUSED_MAYBE_PROCESSED.value in notes[0]


# -- the log


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(failure_log, "_aggregation", Aggregation())
    with caplog.at_level(logging.DEBUG, logger="holdfast.failures"):
        yield lambda: [record for record in caplog.records if record.name == "holdfast.failures"]


def test_many_threads_that_fail_a_thousand_times_are_one_line(lines: Any) -> None:
    threads, each = 20, 50

    def handler(sock: Any, number: int) -> None:
        if read_request(sock):
            abort(sock)

    start = threading.Barrier(threads)
    with Peer(handler) as peer:
        with pool_for(peer, maxsize=threads) as pool:

            def work() -> None:
                start.wait()
                for _ in range(each):
                    with pytest.raises(ProtocolError):
                        pool.request("POST", "/pay?token=hush", body=b"hush")

            workers = [threading.Thread(target=work) for _ in range(threads)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
            assert holdfast.stats(pool).refused == {Verdict.REFUSED_MAYBE_PROCESSED: threads * each}
        told = lines()
    assert len(told) == len({record.getMessage().split(" (")[0] for record in told})
    assert len(told) <= 2
    for record in told:
        assert record.exc_info is None
        assert "hush" not in record.getMessage()
        assert str(peer.port) in record.getMessage()


def test_the_lines_can_be_switched_off(fault_server: StartFaultServer, lines: Any) -> None:
    server = fault_server(*[[Fault.READ_THEN_RESET]] * 3)
    with pool_for(server, Policy(log_interval=None)) as pool, pytest.raises(ProtocolError):
        pool.request("POST", "/pay", body=b"x")
    assert lines() == []


def test_a_server_that_is_away_is_one_line_however_often_it_is_tried(
    fault_server: StartFaultServer, lines: Any
) -> None:
    server, clock = fault_server(), FakeClock()
    policy = Policy(clock=clock, sleep=clock.sleep)
    with server.refusing(), pool_for(server, policy) as pool:
        for _ in range(5):
            with pytest.raises((HTTPError, MaxRetryError)):
                pool.request("GET", "/")
    assert len(lines()) == 1


def test_nothing_is_said_of_a_request_that_succeeds(fault_server: StartFaultServer, lines: Any) -> None:
    server = fault_server()
    with pool_for(server) as pool:
        for _ in range(3):
            pool.request("GET", "/")
    assert lines() == []
