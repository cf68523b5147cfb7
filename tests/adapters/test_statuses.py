"""Answers whose status a policy names are asked for again; ``Retry-After`` is obeyed within limits."""

from __future__ import annotations

import time
from email.utils import formatdate
from typing import Any

import pytest
import requests
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.exceptions import MaxRetryError
from urllib3.util.retry import Retry

import holdfast
from holdfast import Policy, RetryPolicy, Verdict
from holdfast.testing import FakeClock, FaultServer, Request, Response
from holdfast.testing.fixtures import StartFaultServer

SILENT: list[Any] = [None, False, 0, Retry(0, read=False)]
YEAR = str(365 * 24 * 3_600)


class Overloaded:
    """Answers 503 so often, and 200 then."""

    def __init__(self, times: int, retry_after: str | None = None, status: int = 503) -> None:
        self.left, self.status = times, status
        self.headers = {} if retry_after is None else {"Retry-After": retry_after}

    def __call__(self, request: Request) -> Response:
        if self.left <= 0:
            return Response(body=b"served")
        self.left -= 1
        return Response(status=self.status, headers=self.headers, body=b"later")


class Waits:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.seconds: list[float] = []

    def policy(self, **settings: Any) -> Policy:
        settings.setdefault("statuses", frozenset({503}))
        return Policy(clock=self.clock, sleep=self.sleep, retry=RetryPolicy(**settings))

    def sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)
        self.clock.advance(seconds)


def pool_for(server: FaultServer, policy: Policy, **settings: Any) -> HTTPConnectionPool:
    return holdfast.wrap(HTTPConnectionPool(server.host, server.port, **settings), policy)


def no_sleep(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """urllib3's own sleeping, noted."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept


@pytest.mark.parametrize("retries", SILENT)
def test_an_overloaded_server_is_asked_again_after_a_wait(
    fault_server: StartFaultServer, retries: Any
) -> None:
    server, waits = fault_server(respond=Overloaded(2)), Waits()
    with pool_for(server, waits.policy()) as pool:
        assert pool.request("GET", "/r/1", retries=retries).data == b"served"
        assert holdfast.stats(pool).repeated == {Verdict.REPEATED_STATUS: 2}
    assert len(waits.seconds) <= 2
    assert all(wait <= 0.2 for wait in waits.seconds)
    assert server.ledger.count("GET", "/r/1") == 3


@pytest.mark.parametrize("value", ["7", "60"])
def test_what_the_server_asks_for_is_waited(fault_server: StartFaultServer, value: str) -> None:
    server, waits = fault_server(respond=Overloaded(1, value)), Waits()
    with pool_for(server, waits.policy()) as pool:
        assert pool.request("GET", "/r/1").data == b"served"
    assert waits.seconds == [float(value)]


def test_a_date_is_a_wait_too(fault_server: StartFaultServer) -> None:
    date = formatdate(time.time() + 30, usegmt=True)
    server, waits = fault_server(respond=Overloaded(1, date)), Waits()
    with pool_for(server, waits.policy()) as pool:
        assert pool.request("GET", "/r/1").data == b"served"
    assert 25 < waits.seconds[0] <= 30


@pytest.mark.parametrize(
    "value",
    ["", "-1", "-3600", "soon", "1e9", "Thu, 01 Jan 1970 00:00:00 GMT", "nan", "9" * 4_000 + "x", "1, 2"],
)
def test_garbage_and_the_past_are_an_ordinary_wait(fault_server: StartFaultServer, value: str) -> None:
    server, waits = fault_server(respond=Overloaded(1, value)), Waits()
    with pool_for(server, waits.policy()) as pool:
        assert pool.request("GET", "/r/1", retries=False).data == b"served"
    assert sum(waits.seconds) <= 0.1


@pytest.mark.parametrize("retries", SILENT)
@pytest.mark.parametrize("value", [YEAR, "61", "9" * 300, "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_who_asks_for_a_year_is_not_waited_for_by_anybody(
    fault_server: StartFaultServer, monkeypatch: pytest.MonkeyPatch, value: str, retries: Any
) -> None:
    """Nor by urllib3's own Retry, which would sleep for six hours and ask again."""
    server, waits = fault_server(respond=Overloaded(99, value)), Waits()
    slept = no_sleep(monkeypatch)
    with pool_for(server, waits.policy()) as pool:
        response = pool.request("GET", "/r/1", retries=retries)
        assert (response.status, response.data) == (503, b"later")
        assert holdfast.stats(pool).refused == {Verdict.REFUSED_RETRY_AFTER: 1}
    assert (waits.seconds, slept) == ([], [])
    assert server.ledger.count("GET", "/r/1") == 1


@pytest.mark.parametrize("retries", SILENT)
@pytest.mark.parametrize("value", [None, "0"])
def test_when_the_attempts_are_used_up_the_answer_is_handed_over(
    fault_server: StartFaultServer, monkeypatch: pytest.MonkeyPatch, value: str | None, retries: Any
) -> None:
    server, waits = fault_server(respond=Overloaded(99, value)), Waits()
    slept = no_sleep(monkeypatch)
    with pool_for(server, waits.policy()) as pool:
        response = pool.request("GET", "/r/1", retries=retries)
        assert (response.status, response.data) == (503, b"later")
        # The connection is as good as any.
        assert holdfast.stats(pool).idle == 1
    assert server.ledger.count("GET", "/r/1") == 3
    assert slept == []


def test_also_to_who_reads_it_himself(fault_server: StartFaultServer) -> None:
    server, waits = fault_server(respond=Overloaded(99, YEAR)), Waits()
    with pool_for(server, waits.policy()) as pool:
        response = pool.urlopen("GET", "/r/1", preload_content=False)
        assert (response.status, response.read()) == (503, b"later")
        assert pool.num_connections == 1
        assert holdfast.stats(pool).idle == 1


def test_requests_sees_one_answer(fault_server: StartFaultServer) -> None:
    server, waits = fault_server(respond=Overloaded(2)), Waits()
    with requests.Session() as session:
        holdfast.wrap(session, waits.policy())
        assert session.get(server.url + "/r/1").content == b"served"
    assert server.ledger.count("GET", "/r/1") == 3


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_an_unsafe_request_is_not_asked_again(fault_server: StartFaultServer, method: str) -> None:
    server, waits = fault_server(respond=Overloaded(1, "0")), Waits()
    with pool_for(server, waits.policy()) as pool:
        assert pool.request(method, "/r/1", body=b"x").status == 503
        assert holdfast.stats(pool).refused == {Verdict.REFUSED_RESPONSE_STARTED: 1}
    assert server.ledger.count(method, "/r/1") == 1


def test_unless_it_has_a_key(fault_server: StartFaultServer) -> None:
    server, waits = fault_server(respond=Overloaded(1)), Waits()
    with pool_for(server, waits.policy()) as pool:
        answer = pool.request("POST", "/r/1", body=b"x", headers={"Idempotency-Key": "k"})
        assert answer.data == b"served"
    assert [(entry.key, entry.body) for entry in server.ledger] == [("k", b"x")] * 2


def test_a_status_that_is_not_named_is_an_answer(fault_server: StartFaultServer) -> None:
    for statuses in (frozenset[int](), frozenset({503})):
        server, waits = fault_server(respond=Overloaded(1, status=500)), Waits()
        with pool_for(server, waits.policy(statuses=statuses)) as pool:
            assert pool.request("GET", "/r/1").status == 500
        assert waits.seconds == []


def test_without_statuses_urllib3s_own_retry_does_as_it_always_did(
    fault_server: StartFaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_sleep(monkeypatch)
    counts = []
    for wrapped in (False, True):
        server = fault_server(respond=Overloaded(99, "0"))
        with HTTPConnectionPool(server.host, server.port) as pool:
            if wrapped:
                holdfast.wrap(pool)
            assert pool.request("GET", "/r/1").status == 503
        counts.append(server.ledger.count("GET", "/r/1"))
    assert counts[0] == counts[1]


def test_a_retry_of_the_callers_keeps_its_say(fault_server: StartFaultServer) -> None:
    server, waits = fault_server(respond=Overloaded(99)), Waits()
    his = Retry(2, status_forcelist=[503], backoff_factor=0)
    with pool_for(server, waits.policy()) as pool:
        with pytest.raises(MaxRetryError):
            pool.request("GET", "/r/1", retries=his)
        assert pool.request("GET", "/r/1", retries=Retry(2)).status == 503
    assert waits.seconds == []
    assert server.ledger.count("GET", "/r/1") == 4


def test_the_connection_of_a_repeat_is_closed_and_nothing_leaks(fault_server: StartFaultServer) -> None:
    server, waits = fault_server(respond=Overloaded(2)), Waits()
    with pool_for(server, waits.policy()) as pool:
        pool.urlopen("GET", "/r/1", preload_content=False).read()
        stats = holdfast.stats(pool)
        assert (stats.open, stats.idle) == (1, 1)


def test_a_long_answer_to_who_is_asked_again_is_not_read(fault_server: StartFaultServer) -> None:
    answers = [Response(status=503, body=b"x" * 30_000_000), Response(body=b"served")]
    server, waits = fault_server(respond=lambda request: answers.pop(0)), Waits()
    with pool_for(server, waits.policy()) as pool:
        assert pool.urlopen("GET", "/r/1", preload_content=False).read() == b"served"


def test_head_has_no_body_to_be_waited_for(fault_server: StartFaultServer) -> None:
    server, waits = fault_server(respond=Overloaded(1)), Waits()
    with pool_for(server, waits.policy()) as pool:
        assert pool.request("HEAD", "/r/1").status == 200
    assert server.ledger.count("HEAD", "/r/1") == 2
