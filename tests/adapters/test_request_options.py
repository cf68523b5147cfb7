"""What a caller says of single requests, through whatever lies between; and the key that holdfast adds."""

from __future__ import annotations

import threading
import uuid
from typing import Any

import pytest
import requests
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.exceptions import HTTPError, MaxRetryError, NewConnectionError, ProtocolError
from urllib3.util.retry import Retry

import holdfast
from holdfast import Policy, PolicyError, RetryPolicy, Verdict
from holdfast._threads.options import current_options
from holdfast.testing import FakeClock, Fault, FaultServer, Request, Response, on_reuse
from holdfast.testing.fixtures import StartFaultServer

STALE = on_reuse(Fault.READ_THEN_RESET)
BROKEN = [[Fault.READ_THEN_RESET]] * 9
RETRIES: list[Any] = [
    None,
    False,
    0,
    3,
    Retry(3, allowed_methods=None, backoff_factor=0),
    Retry(3, status_forcelist=[503], raise_on_status=False),
]


def quick(**settings: Any) -> Policy:
    return Policy(retry=RetryPolicy(base_delay=0.0005, max_delay=0.001, **settings))


def pool_for(server: FaultServer, policy: Policy | None = None, **settings: Any) -> HTTPConnectionPool:
    return holdfast.wrap(HTTPConnectionPool(server.host, server.port, **settings), policy)


# -- idempotent=


@pytest.mark.parametrize("retries", [None, False, 0, Retry(0, read=False)])
@pytest.mark.parametrize("plan", [STALE, [Fault.READ_THEN_RESET], [Fault.CUT_BODY]])
def test_a_post_that_may_be_executed_twice_is_repeated(
    fault_server: StartFaultServer, plan: Any, retries: Any
) -> None:
    server = fault_server(plan)
    with pool_for(server, quick()) as pool:
        pool.request("GET", "/warm") if plan is STALE else None
        with holdfast.request_options(idempotent=True):
            assert pool.request("POST", "/r/1", body=b"x", retries=retries).status == 200
    assert server.ledger.count("POST", "/r/1") == 2


@pytest.mark.parametrize("retries", RETRIES)
@pytest.mark.parametrize("plan", [STALE, [Fault.READ_THEN_RESET], [Fault.CUT_BODY]])
def test_a_get_that_must_not_be_executed_twice_is_not(
    fault_server: StartFaultServer, plan: Any, retries: Any
) -> None:
    server = fault_server(plan, *[plan] * 5)
    with pool_for(server, quick()) as pool:
        pool.request("GET", "/warm") if plan is STALE else None
        with holdfast.request_options(idempotent=False), pytest.raises(HTTPError):
            pool.request("GET", "/r/1", retries=retries)
    assert server.ledger.count("GET", "/r/1") == 1


def test_also_against_a_key_and_a_listed_method(fault_server: StartFaultServer) -> None:
    server = fault_server(*[STALE] * 2)
    with pool_for(server, quick()) as pool:
        pool.request("GET", "/warm")
        with holdfast.request_options(idempotent=False), pytest.raises(ProtocolError):
            pool.request(
                "POST",
                "/r/1",
                body=b"x",
                headers={"Idempotency-Key": "k"},
                retries=Retry(3, allowed_methods={"POST"}),
            )
    assert server.ledger.count("POST", "/r/1") == 1


def test_what_never_arrived_is_repeated_all_the_same(fault_server: StartFaultServer) -> None:
    server = fault_server(on_reuse(Fault.RESET_AS_REQUEST_LEAVES))
    with pool_for(server) as pool:
        pool.request("GET", "/warm")
        with holdfast.request_options(idempotent=False):
            assert pool.request("POST", "/r/1", body=b"x").status == 200
    assert server.ledger.count("POST", "/r/1") == 1


# -- repeat=False


@pytest.mark.parametrize("retries", RETRIES)
@pytest.mark.parametrize(
    "plan",
    [STALE, on_reuse(Fault.RESET_AS_REQUEST_LEAVES), [Fault.READ_THEN_RESET], [Fault.CUT_BODY]],
)
def test_a_request_that_must_not_be_repeated_is_sent_once(
    fault_server: StartFaultServer, plan: Any, retries: Any
) -> None:
    server = fault_server(plan, *[plan] * 5)
    with pool_for(server, quick()) as pool:
        pool.request("GET", "/warm") if len(plan) > 1 else None
        before = server.connections
        with holdfast.request_options(repeat=False), pytest.raises(HTTPError) as caught:
            pool.request("GET", "/r/1", retries=retries)
    assert server.ledger.count("GET", "/r/1") <= 1
    assert server.connections <= max(before, 1)
    report = holdfast.report(caught.value)
    assert report is not None
    assert report.verdict is Verdict.REFUSED_FORBIDDEN


@pytest.mark.parametrize("retries", RETRIES)
@pytest.mark.parametrize("options", [{"repeat": False}, {"idempotent": False}])
def test_nor_for_a_status(fault_server: StartFaultServer, retries: Any, options: Any) -> None:
    def respond(request: Request) -> Response:
        return Response(status=503, headers={"Retry-After": "0"}, body=b"later")

    for statuses in (frozenset[int](), frozenset({503})):
        server = fault_server(respond=respond)
        with pool_for(server, quick(statuses=statuses)) as pool:
            with holdfast.request_options(**options):
                answer = pool.request("GET", "/r/1", retries=retries)
            assert (answer.status, answer.data) == (503, b"later")
        assert server.ledger.count("GET", "/r/1") == 1


@pytest.mark.parametrize("retries", RETRIES)
def test_nor_is_the_connection_tried_again(fault_server: StartFaultServer, retries: Any) -> None:
    server = fault_server()
    waits: list[float] = []
    with pool_for(server, Policy(sleep=waits.append)) as pool, server.refusing():
        with holdfast.request_options(repeat=False), pytest.raises(HTTPError) as caught:
            pool.request("GET", "/r/1", retries=retries)
        refused = holdfast.stats(pool).refused
    inner = caught.value.reason if isinstance(caught.value, MaxRetryError) else caught.value
    assert isinstance(inner, NewConnectionError)
    assert waits == []
    assert refused == {Verdict.REFUSED_FORBIDDEN: 1}


def test_a_redirect_is_no_repeat(fault_server: StartFaultServer) -> None:
    def respond(request: Request) -> Response:
        moved = request.target == "/moved"
        return Response(status=302, headers={"Location": "/r/1"}) if moved else Response(body=b"there")

    server = fault_server(respond=respond)
    with pool_for(server) as pool, holdfast.request_options(repeat=False):
        assert pool.request("GET", "/moved").data == b"there"


# -- where it holds


def test_it_reaches_through_requests(fault_server: StartFaultServer) -> None:
    server = fault_server(*BROKEN)
    with requests.Session() as session:
        holdfast.wrap(session, quick())
        with holdfast.request_options(idempotent=True), pytest.raises(requests.ConnectionError):
            session.post(server.url + "/r/1", data=b"x")
        assert server.ledger.count("POST", "/r/1") == 3
        with pytest.raises(requests.ConnectionError):
            session.post(server.url + "/r/2", data=b"x")
        assert server.ledger.count("POST", "/r/2") == 1


def test_it_holds_for_this_thread_only_and_the_inner_block_goes_first(
    fault_server: StartFaultServer,
) -> None:
    server = fault_server(*BROKEN, *BROKEN)
    counts: dict[str, int] = {}
    with pool_for(server, quick(budget=None)) as pool:

        def ask(target: str) -> None:
            with pytest.raises(HTTPError):
                pool.request("POST", target, body=b"x")
            counts[target] = server.ledger.count("POST", target)

        with holdfast.request_options(idempotent=True):
            thread = threading.Thread(target=ask, args=("/thread",))
            thread.start()
            thread.join()
            with holdfast.request_options(idempotent=False):
                ask("/inner")
            with holdfast.request_options(deadline=60):
                ask("/replaced")
            ask("/outer")
        ask("/after")
    assert counts == {"/thread": 1, "/inner": 1, "/replaced": 1, "/outer": 3, "/after": 1}


def test_it_ends_with_the_block_however_that_ends() -> None:
    with pytest.raises(KeyError), holdfast.request_options(repeat=False):
        raise KeyError
    assert current_options.get() is None


def test_a_deadline_of_a_request_goes_before_the_policys(fault_server: StartFaultServer) -> None:
    server = fault_server()
    clock = FakeClock()
    policy = Policy(clock=clock, sleep=clock.sleep, retry=RetryPolicy(deadline=50, reconnect=60))
    with pool_for(server, policy, retries=False) as pool, server.refusing():
        began = clock()
        with holdfast.request_options(deadline=3), pytest.raises(HTTPError):
            pool.request("GET", "/r/1")
        assert clock() - began <= 3


def test_other_options_leave_the_deadline_of_the_policy(fault_server: StartFaultServer) -> None:
    """They say "in place of RetryPolicy.deadline" only of a deadline."""
    server = fault_server()
    clock = FakeClock()
    policy = Policy(clock=clock, sleep=clock.sleep, retry=RetryPolicy(deadline=3, reconnect=60))
    with pool_for(server, policy, retries=False) as pool, server.refusing():
        began = clock()
        with holdfast.request_options(idempotent=True), pytest.raises(HTTPError):
            pool.request("GET", "/r/1")
        assert clock() - began <= 3


@pytest.mark.parametrize(
    "options", [{"idempotent": "yes"}, {"repeat": None}, {"deadline": 0}, {"deadline": -1}, {"deadline": "3"}]
)
def test_what_makes_no_sense_is_refused(options: Any) -> None:
    ((setting, value),) = options.items()
    with (
        pytest.raises(PolicyError, match=f"^{setting}={value!r}: must be "),
        holdfast.request_options(**options),
    ):
        pytest.fail("it was taken")


# -- Idempotency-Key


def keys_of(server: FaultServer) -> list[Any]:
    return [
        value
        for entry in server.ledger
        for name, value in entry.headers.items()
        if "idempotency" in name.lower()
    ]


@pytest.mark.parametrize("retries", [None, False, 3, Retry(3, allowed_methods=None, backoff_factor=0)])
def test_a_key_is_added_and_is_the_same_for_all_attempts(
    fault_server: StartFaultServer, retries: Any
) -> None:
    server = fault_server([Fault.READ_THEN_RESET], [Fault.READ_THEN_CLOSE])
    listed = Retry(3, allowed_methods={"POST"}, backoff_factor=0) if retries == 3 else retries
    with pool_for(server, quick(add_idempotency_key=True)) as pool:
        assert pool.request("POST", "/r/1", body=b"x", retries=listed).status == 200
    keys = keys_of(server)
    assert len(keys) == 3
    assert len(set(keys)) == 1
    assert uuid.UUID(keys[0]).version == 4


def test_each_request_has_its_own(fault_server: StartFaultServer) -> None:
    server = fault_server()
    with pool_for(server, quick(add_idempotency_key=True)) as pool:
        for method in ("POST", "PATCH", "POST"):
            pool.request(method, "/r/1", body=b"x")
    assert len(set(keys_of(server))) == 3


def test_safe_requests_need_none(fault_server: StartFaultServer) -> None:
    server = fault_server()
    with pool_for(server, quick(add_idempotency_key=True)) as pool:
        for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS"):
            pool.request(method, "/r/1")
    assert keys_of(server) == []


@pytest.mark.parametrize("name", ["Idempotency-Key", "idempotency-key", "X-Idempotency-Key"])
@pytest.mark.parametrize("key", ["mine", "", "k" * 300, "k" * 60_000])
def test_what_the_caller_sends_is_left_alone(fault_server: StartFaultServer, name: str, key: str) -> None:
    server = fault_server()
    with pool_for(server, quick(add_idempotency_key=True)) as pool:
        pool.request("POST", "/r/1", body=b"x", headers={name: key})
    assert keys_of(server) == [key]


@pytest.mark.parametrize("key", ["", " ", "k" * 256, "k" * 1_000_000])
@pytest.mark.parametrize("adds", [False, True])
def test_a_key_that_no_server_keeps_makes_nothing_safe(
    fault_server: StartFaultServer, key: str, adds: bool
) -> None:
    server = fault_server(*BROKEN)
    with pool_for(server, quick(add_idempotency_key=adds)) as pool:
        with pytest.raises((ProtocolError, MaxRetryError)):
            pool.request("POST", "/r/1", body=b"x", headers={"Idempotency-Key": key})
    assert server.ledger.count("POST", "/r/1") <= 1


def test_a_wrapped_session_adds_one_too(fault_server: StartFaultServer) -> None:
    server = fault_server(STALE)
    with requests.Session() as session:
        holdfast.wrap(session, quick(add_idempotency_key=True))
        session.get(server.url + "/warm")
        assert session.post(server.url + "/r/1", data=b"x").status_code == 200
    keys = keys_of(server)
    assert len(keys) == 2
    assert len(set(keys)) == 1


def test_the_callers_own_headers_are_not_written_into(fault_server: StartFaultServer) -> None:
    server, headers = fault_server(), {"X-Mine": "1"}
    with pool_for(server, quick(add_idempotency_key=True)) as pool:
        pool.request("POST", "/r/1", body=b"x", headers=headers)
    assert headers == {"X-Mine": "1"}
