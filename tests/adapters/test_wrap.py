"""wrap() and unwrap(): in place, in use, idempotent, reversible; and what they refuse."""

from __future__ import annotations

import gc
import json
import pickle
import sys
import threading
import weakref
from typing import Any

import pytest
import urllib3
import urllib3.connection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

import holdfast
import holdfast.adapters.urllib3 as drop_in
from holdfast import CloseReason, Policy, PoolLimits, WrapConflictError
from holdfast.testing import Fault, Via, on_reuse
from holdfast.testing.fixtures import StartFaultServer

OTHER = Policy(limits=PoolLimits(idle_timeout=3))


def test_the_object_stays_the_same(fault_server: StartFaultServer) -> None:
    manager = urllib3.PoolManager()
    assert holdfast.wrap(manager) is manager
    assert isinstance(manager, urllib3.PoolManager)
    assert manager.__class__ is urllib3.PoolManager
    pool = manager.connection_from_url(fault_server().url)
    assert pool.__class__ is HTTPConnectionPool
    assert repr(type(pool)) == repr(HTTPConnectionPool)
    assert holdfast.stats(manager).pools == 1


@pytest.mark.parametrize(
    "target", [42, None, "http://x", object(), urllib3.Timeout(), urllib3.connection.HTTPConnection("x")]
)
def test_anything_else_is_refused_with_what_is_accepted(target: object) -> None:
    with pytest.raises(TypeError, match=r"PoolManager.*HTTPConnectionPool.*requests\.Session.*HTTPAdapter"):
        holdfast.wrap(target)
    with pytest.raises(holdfast.NotWrappableError):
        holdfast.unwrap(target)


def test_a_policy_must_be_a_policy() -> None:
    with pytest.raises(holdfast.PolicyError, match=r"policy=.*must be a holdfast\.Policy"):
        holdfast.wrap(urllib3.PoolManager(), PoolLimits())  # type: ignore[arg-type]


def test_a_closed_pool_is_refused() -> None:
    pool = HTTPConnectionPool("127.0.0.1", 9)
    pool.close()
    with pytest.raises(WrapConflictError, match="is closed"):
        holdfast.wrap(pool)
    assert type(pool) is HTTPConnectionPool


def test_wrapping_twice_is_harmless(fault_server: StartFaultServer) -> None:
    server = fault_server()
    pool = holdfast.wrap(HTTPConnectionPool(server.host, server.port), OTHER)
    kind = type(pool)
    pool.request("GET", "/r/1")
    assert type(holdfast.wrap(pool)) is kind
    assert type(holdfast.wrap(pool, Policy(limits=PoolLimits(idle_timeout=3)))) is kind
    assert holdfast.stats(pool).requests == 1
    pool.close()


@pytest.mark.skipif(sys.version_info < (3, 11), reason="every object has a dictionary there")
def test_connections_keep_the_attributes_that_cpython_finds_ahead(fault_server: StartFaultServer) -> None:
    """Asked once for its vars(), an object keeps them in a dictionary, and each request is dearer by
    a twenty-fifth."""
    server = fault_server()
    with holdfast.wrap(HTTPConnectionPool(server.host, server.port)) as pool:
        for number in range(2):
            pool.request("GET", f"/r/{number}")
            assert holdfast.stats(pool).idle == 1
        assert pool.pool is not None
        conn = pool.pool.queue[-1]
        assert not any(type(one) is dict and "sock" in one for one in gc.get_referents(conn))


def test_two_different_policies_conflict_and_nothing_changes(fault_server: StartFaultServer) -> None:
    server = fault_server()
    manager = urllib3.PoolManager()
    pool = holdfast.wrap(manager.connection_from_url(server.url), OTHER)
    with pytest.raises(WrapConflictError, match=r"another policy; unwrap\(\) it first"):
        holdfast.wrap(pool, Policy())
    with pytest.raises(WrapConflictError):
        holdfast.wrap(manager, Policy())
    assert type(manager) is urllib3.PoolManager
    assert pool.request("GET", "/r/1").status == 200
    pool.close()


def test_a_live_pooled_connection_is_adopted_and_guarded(fault_server: StartFaultServer) -> None:
    server = fault_server([Fault.NONE, Fault.NONE, Fault.READ_THEN_RESET])
    pool = HTTPConnectionPool(server.host, server.port, retries=False)
    pool.request("GET", "/r/1")
    holdfast.wrap(pool)
    pool.request("GET", "/r/2")
    assert server.connections == 1
    assert pool.request("GET", "/r/3").data == b"GET /r/3"
    stats = holdfast.stats(pool)
    assert (stats.adopted, stats.opened, stats.open, stats.idle, stats.requests, stats.reused) == (
        1,
        1,
        1,
        1,
        3,
        2,
    )
    pool.close()


def test_a_response_in_flight_comes_back_to_a_wrapped_pool(fault_server: StartFaultServer) -> None:
    server = fault_server()
    pool = HTTPConnectionPool(server.host, server.port)
    response = pool.urlopen("GET", "/r/1", preload_content=False)
    holdfast.wrap(pool)
    assert response.read() == b"GET /r/1"
    assert holdfast.stats(pool).adopted == 1
    assert pool.request("GET", "/r/2").data == b"GET /r/2"
    assert server.connections == 1
    pool.close()


def test_pools_and_tunnels_that_come_later_are_covered(fault_server: StartFaultServer) -> None:
    server = fault_server(on_reuse(Fault.READ_THEN_RESET), via=Via.FORWARD)
    manager = holdfast.wrap(urllib3.ProxyManager(server.proxy_url), OTHER)
    for number in (1, 2):
        assert manager.request("GET", f"{server.url}/r/{number}", retries=False).status == 200
    assert holdfast.stats(manager).repeated == {holdfast.Verdict.REPEATED_STALE: 1}
    manager.connection_from_url(server.proxy_url).close()
    for pool in manager.pools._container.values():
        pool.close()


def test_unwrap_gives_everything_its_own_class_back(fault_server: StartFaultServer) -> None:
    server = fault_server()
    manager = holdfast.wrap(urllib3.PoolManager())
    manager.request("GET", f"{server.url}/r/1")
    assert holdfast.unwrap(manager) is manager
    pool = manager.connection_from_url(server.url)
    assert (type(manager), type(pool)) == (urllib3.PoolManager, HTTPConnectionPool)
    assert manager.request("GET", f"{server.url}/r/2").data == b"GET /r/2"
    assert server.connections == 1
    assert type(pool.pool.queue[-1]) is urllib3.connection.HTTPConnection  # type: ignore[union-attr]
    with pytest.raises(WrapConflictError, match="not wrapped"):
        holdfast.stats(manager)
    assert type(holdfast.wrap(manager, OTHER)) is not urllib3.PoolManager
    pool.close()


def test_unwrap_reaches_connections_that_are_out(fault_server: StartFaultServer) -> None:
    server = fault_server()
    pool = holdfast.wrap(HTTPConnectionPool(server.host, server.port))
    response = pool.urlopen("GET", "/r/1", preload_content=False)
    holdfast.unwrap(pool)
    assert response.read() == b"GET /r/1"
    assert pool.request("GET", "/r/2").data == b"GET /r/2"
    assert type(pool.pool.queue[-1]) is urllib3.connection.HTTPConnection  # type: ignore[union-attr]
    assert server.connections == 1
    pool.close()


def test_unwrapping_what_was_never_wrapped_is_harmless() -> None:
    assert type(holdfast.unwrap(urllib3.PoolManager())) is urllib3.PoolManager


def test_a_drop_in_cannot_be_unwrapped() -> None:
    with pytest.raises(WrapConflictError, match="by its own class"):
        holdfast.unwrap(drop_in.PoolManager())


@pytest.mark.parametrize(
    ("kind", "parent"),
    [
        (drop_in.HTTPConnectionPool, HTTPConnectionPool),
        (drop_in.HTTPSConnectionPool, HTTPSConnectionPool),
        (drop_in.PoolManager, urllib3.PoolManager),
        (drop_in.ProxyManager, urllib3.ProxyManager),
    ],
)
def test_a_drop_in_is_its_parent_with_a_policy(kind: Any, parent: type) -> None:
    address = "http://127.0.0.1:9" if issubclass(parent, urllib3.PoolManager) else "127.0.0.1"
    arguments = [] if parent is urllib3.PoolManager else [address]
    made = kind(*arguments, policy=OTHER)
    assert isinstance(made, parent)
    assert holdfast.wrap(made) is made
    assert holdfast.wrap(made, OTHER) is made
    with pytest.raises(WrapConflictError):
        holdfast.wrap(made, Policy())


def test_a_drop_in_recovers_like_a_wrapped_one(fault_server: StartFaultServer) -> None:
    server = fault_server(on_reuse(Fault.READ_THEN_RESET))
    with drop_in.HTTPConnectionPool(server.host, server.port, retries=False) as pool:
        assert [pool.request("GET", f"/r/{n}").status for n in (1, 2)] == [200, 200]


def test_a_dropped_pool_closes_its_connections(fault_server: StartFaultServer) -> None:
    server = fault_server()
    pool = holdfast.wrap(HTTPConnectionPool(server.host, server.port))
    pool.request("GET", "/r/1")
    gone = weakref.ref(pool)
    gc.disable()
    try:
        del pool
        # By reference counting alone: a cycle would keep the socket until some later collection.
        assert gone() is None
    finally:
        gc.enable()


def test_requests_leave_no_cycles_behind(fault_server: StartFaultServer) -> None:
    server = fault_server()
    with holdfast.wrap(HTTPConnectionPool(server.host, server.port)) as pool:
        pool.request("GET", "/r/0")
        gc.collect()
        gc.disable()
        try:
            for number in range(20):
                pool.request("POST", f"/r/{number}", body=b"x")
            assert gc.collect() == 0
        finally:
            gc.enable()


def test_wrapping_and_unwrapping_while_threads_send_requests(fault_server: StartFaultServer) -> None:
    server = fault_server()
    pool = HTTPConnectionPool(server.host, server.port, maxsize=4, block=True)
    failures: list[BaseException] = []
    stop = threading.Event()

    def send(name: int) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            try:
                path = f"/r/{name}-{number}"
                assert pool.request("POST", path, body=b"x").data == f"POST {path}".encode()
            except BaseException as error:
                failures.append(error)
                return

    threads = [threading.Thread(target=send, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(50):
        holdfast.wrap(pool)
        holdfast.unwrap(pool)
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert server.ledger.executed_twice() == []
    pool.close()


def test_the_listener_hears_what_happens_and_cannot_break_it(
    fault_server: StartFaultServer, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[Any] = []

    def listen(event: Any) -> None:
        events.append(event)
        raise ZeroDivisionError

    server = fault_server(on_reuse(Fault.READ_THEN_RESET))
    with holdfast.wrap(
        HTTPConnectionPool(server.host, server.port, retries=False), Policy(listener=listen)
    ) as pool:
        assert [pool.request("GET", f"/r/{n}").status for n in (1, 2)] == [200, 200]
    assert [type(event).__name__ for event in events] == [
        "ConnectionOpened",
        "ConnectionClosed",
        "RepeatDecided",
        "ConnectionOpened",
        "ConnectionClosed",
    ]
    assert all(event.origin == server.url for event in events)
    assert events[1].reason is CloseReason.FAILED
    assert "ZeroDivisionError" in caplog.text


def test_stats_are_plain_enough_for_json_and_pickle(fault_server: StartFaultServer) -> None:
    server = fault_server()
    with holdfast.wrap(HTTPConnectionPool(server.host, server.port)) as pool:
        pool.request("GET", "/r/1")
        stats = holdfast.stats(pool)
    assert json.loads(json.dumps(stats.as_dict()))["opened"] == 1
    assert pickle.loads(pickle.dumps(stats)) == stats
    assert stats.keepalive is not None
    assert stats.keepalive.enabled
