"""PostgreSQL says goodbye before it hangs up: bytes on an idle connection that are nobody's answer."""

from __future__ import annotations

import os
import signal
import time

import pytest
from close_waits import in_close_wait, longest_close_wait
from conversation import Start
from starting import start
from stores import Postgresql, StoreError
from test_stores import LONG_IDLE, SOON, Closes, open_and_rest, pooled

from holdfast import CloseReason, Policy

__all__ = ["start"]  # a fixture

pytestmark = pytest.mark.real_servers


@pytest.fixture
def server(start: Start) -> Postgresql:
    server = start(Postgresql, LONG_IDLE)
    assert isinstance(server, Postgresql)
    return server


def test_terminated_idle_connections_are_closed_at_once_for_their_stray_bytes(server: Postgresql) -> None:
    closes = Closes()
    with pooled(server, Policy(listener=closes)) as pool, server.connect() as other:
        open_and_rest(pool, 5)
        count = server.query(
            other,
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
        )
        assert count == "5"
        waited = longest_close_wait(server.port, until=lambda: closes.count == 5)
        assert waited < SOON
        assert in_close_wait(server.port) == set()
        assert closes.reasons == {CloseReason.STRAY_BYTES: 5}
        with pool.acquire() as lease:
            assert server.ask(lease.sock, 1) == 1


def test_a_goodbye_right_before_acquire_is_never_read_as_an_answer(server: Postgresql) -> None:
    """The backend has ended before the next acquire, whose own look is all there is to notice it."""
    with pooled(server, maxsize=1) as pool, server.connect() as other:
        for number in range(1, 51):
            with pool.acquire() as lease:
                # A goodbye that was read would raise here.
                assert server.ask(lease.sock, number) == number
                pid = server.query(lease.sock, "SELECT pg_backend_pid()")
            # True once it has ended, which is after it has said goodbye.
            assert server.query(other, f"SELECT pg_terminate_backend({pid}, 5000)") == "t"
        assert pool.stats().opened == 50


def test_a_goodbye_that_meets_a_heartbeat_is_no_answer_to_it(server: Postgresql) -> None:
    """The backend is stopped, asked, terminated, and let go: it may answer first, but the rest is FATAL."""
    closes = Closes()
    policy = Policy(heartbeat=Postgresql.heartbeat(interval=3, timeout=3), listener=closes)
    with pooled(server, policy) as pool, server.connect() as other:
        with pool.acquire() as lease:
            pid = server.query(lease.sock, "SELECT pg_backend_pid()")
        os.kill(int(pid), signal.SIGSTOP)
        try:
            wait_until_it_is_asked(pool.stats)
            assert server.query(other, f"SELECT pg_terminate_backend({pid})") == "t"
        finally:
            os.kill(int(pid), signal.SIGCONT)
        longest_close_wait(server.port, until=lambda: closes.count == 1)
        assert set(closes.reasons) <= {CloseReason.HEARTBEAT_WRONG, CloseReason.STRAY_BYTES}
        with pool.acquire() as lease:
            assert not lease.reused
            assert server.ask(lease.sock, 1) == 1


def wait_until_it_is_asked(stats: object) -> None:
    assert callable(stats)
    ends = time.monotonic() + 10
    while stats().checking == 0:
        assert time.monotonic() < ends
        time.sleep(0.005)


def test_a_connection_left_inside_a_transaction_is_closed_by_its_heartbeat(server: Postgresql) -> None:
    closes = Closes()
    policy = Policy(heartbeat=Postgresql.heartbeat(interval=0.2, timeout=0.2), listener=closes)
    with pooled(server, policy) as pool:
        with pool.acquire() as lease:
            server.query(lease.sock, "BEGIN")
        longest_close_wait(server.port, until=lambda: closes.count == 1)
        assert closes.reasons == {CloseReason.HEARTBEAT_WRONG: 1}


def test_a_heartbeat_leaves_the_last_query_in_the_activity(server: Postgresql) -> None:
    policy = Policy(heartbeat=Postgresql.heartbeat(interval=0.05, timeout=0.05))
    with pooled(server, policy) as pool, server.connect() as other:
        with pool.acquire() as lease:
            assert server.query(lease.sock, "SELECT 'the last one'") == "the last one"
        time.sleep(0.5)
        assert pool.stats().heartbeats >= 5
        last = server.query(
            other,
            "SELECT query FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
        )
    assert last == "SELECT 'the last one'"


def test_a_login_that_is_refused_comes_out_of_acquire_and_holds_no_place(server: Postgresql) -> None:
    """``sorry, too many clients already`` is a message, not a refused connection."""
    server.most_clients = 4
    server.restart()
    with pooled(server, maxsize=6) as pool:
        leases = [pool.acquire() for _ in range(4)]
        with pytest.raises(StoreError, match="53300"):
            pool.acquire()
        assert pool.stats().open == 4
        for lease in leases:
            lease.release()
