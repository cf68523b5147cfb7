"""A heartbeat keeps a connection beyond the idle limit of a real server."""

from __future__ import annotations

import time

import pytest
from conversation import Start, get, post, wrapped
from servers import Gunicorn, Haproxy, Httpd, Nginx, Node, RealServer, Tomcat, Uvicorn, Waitress, eventually
from starting import start

import holdfast
from holdfast import CloseReason, Heartbeat, Policy

__all__ = ["start"]  # a fixture

pytestmark = pytest.mark.real_servers

IDLE = 2
"""Seconds. The hint of those that give one allows for one."""
KINDS: list[type[RealServer]] = [Nginx, Httpd, Haproxy, Tomcat, Node, Gunicorn, Uvicorn, Waitress]


def test_a_body_that_follows_the_answer_to_head_costs_the_connection_and_nothing_else(start: Start) -> None:
    server = start(Waitress, idle=10)
    policy = Policy(heartbeat=Heartbeat.http("HEAD", server.path, interval=0.05))
    with wrapped(server, policy) as pool:
        for number in range(10):
            post(pool, server.path, str(number))
            assert eventually(lambda: not holdfast.stats(pool).idle)
        stats = holdfast.stats(pool)
    server.stop()
    assert server.executed() == {str(number): 1 for number in range(10)}
    assert set(stats.closed) <= {CloseReason.HEARTBEAT_WRONG, CloseReason.STRAY_BYTES}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_it_outlives_the_limit_of_the_server(start: Start, kind: type[RealServer]) -> None:
    server = start(kind, idle=IDLE)
    # waitress passes on what the application says to HEAD, its body as well.
    method = "GET" if kind is Waitress else "HEAD"
    policy = Policy(heartbeat=Heartbeat.http(method, server.path, interval=0.3))
    with wrapped(server, policy) as pool:
        get(pool, server.path)
        until = time.monotonic() + 2 * IDLE
        assert eventually(lambda: bool(holdfast.stats(pool).closed) or time.monotonic() > until)
        post(pool, server.path, "after")
        stats = holdfast.stats(pool)
    # One that was wanted in the middle of a beat is the only one that may have gone.
    assert sum(stats.closed.values()) == stats.opened - 1 <= 1, stats
    assert {reason.name for reason in stats.closed} <= {"HEARTBEAT_UNDER_WAY"}
    assert stats.heartbeats >= 2 * IDLE / 0.3 / 4
