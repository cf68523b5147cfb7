"""Redis: ends that only it knows, and answers to a heartbeat that are none."""

from __future__ import annotations

import pytest
from close_waits import in_close_wait, longest_close_wait
from conversation import Start
from servers import HOST
from starting import start
from stores import Redis, StoreError
from test_stores import LONG_IDLE, SOON, Closes, open_and_rest, pooled

from holdfast import CloseReason, Policy

__all__ = ["start"]  # a fixture

pytestmark = pytest.mark.real_servers


@pytest.fixture
def redis(start: Start) -> Redis:
    server = start(Redis, LONG_IDLE)
    assert isinstance(server, Redis)
    return server


def test_client_kill_of_idle_connections_is_noticed_at_once(redis: Redis) -> None:
    closes = Closes()
    with pooled(redis, Policy(listener=closes)) as pool, redis.connect() as other:
        open_and_rest(pool, 5)
        assert redis.say(other, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes") == "5"
        waited = longest_close_wait(redis.port, until=lambda: closes.count == 5)
        assert waited < SOON
        assert in_close_wait(redis.port) == set()
        with pool.acquire() as lease:
            assert not lease.reused
            assert redis.ask(lease.sock, 1) == 1


def test_a_kill_right_before_acquire_is_seen_by_its_look(redis: Redis) -> None:
    """Nobody waits for the watcher here."""
    with pooled(redis, maxsize=1) as pool, redis.connect() as other:
        for number in range(50):
            with pool.acquire() as lease:
                port = lease.sock.getsockname()[1]
                assert redis.ask(lease.sock, number) == number
            assert redis.say(other, "CLIENT", "KILL", f"{HOST}:{port}") == "OK"
        assert pool.stats().opened == 50


def test_a_kill_during_use_is_an_error_for_one_and_a_new_connection_for_the_next(redis: Redis) -> None:
    with pooled(redis, maxsize=1) as pool, redis.connect() as other:
        lease = pool.acquire()
        redis.say(other, "CLIENT", "KILL", f"{HOST}:{lease.sock.getsockname()[1]}")
        with pytest.raises(ConnectionError), lease:
            redis.ask(lease.sock, 1)
        with pool.acquire() as lease:
            assert redis.ask(lease.sock, 2) == 2
        assert sum(pool.stats().closed.values()) == 1


def test_an_answer_that_needs_a_password_is_none(redis: Redis) -> None:
    """A password that is set later holds for connections that have not logged in since."""
    closes = Closes()
    policy = Policy(heartbeat=Redis.heartbeat(interval=0.1, timeout=0.1), listener=closes)
    with pooled(redis, policy) as pool, redis.connect() as other:
        open_and_rest(pool, 1)
        redis.say(other, "CONFIG", "SET", "requirepass", "secret")
        redis.say(other, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        open_and_rest(pool, 1)
        longest_close_wait(redis.port, until=lambda: closes.reasons[CloseReason.HEARTBEAT_WRONG] == 1)


def test_a_paused_server_misses_its_heartbeat(redis: Redis) -> None:
    closes = Closes()
    policy = Policy(heartbeat=Redis.heartbeat(interval=0.1, timeout=0.1), listener=closes)
    with pooled(redis, policy) as pool, redis.connect() as other:
        open_and_rest(pool, 2)
        redis.say(other, "CLIENT", "PAUSE", "1500")
        longest_close_wait(redis.port, until=lambda: closes.reasons[CloseReason.HEARTBEAT_MISSED] == 2)


def test_more_clients_than_the_server_takes_are_refused_and_none_is_pooled(redis: Redis) -> None:
    """``-ERR max number of clients reached`` comes on a connection that was never used."""
    with redis.connect() as other:
        redis.say(other, "CONFIG", "SET", "maxclients", "2")
        with pooled(redis, acquire_timeout=2) as pool:
            kept = pool.acquire()
            with pytest.raises(StoreError, match="max number of clients"), pool.acquire() as lease:
                redis.ask(lease.sock, 1)
            kept.release()
            with pool.acquire() as lease:
                assert lease.reused
                assert redis.ask(lease.sock, 2) == 2
            assert pool.stats().open == 1
