"""What real servers announce is asked for, understood and obeyed."""

from __future__ import annotations

import pytest
from conversation import Start, get, pooled, post, wrapped
from servers import AnnouncingNginx, Gunicorn, GunicornSync, Httpd, Nginx, Node, RealServer, Tomcat
from starting import start
from urllib3 import HTTPConnectionPool

import holdfast
from holdfast import CloseReason, Policy
from holdfast.testing import FakeClock

__all__ = ["start"]  # a fixture

pytestmark = pytest.mark.real_servers

HINTING: list[type[RealServer]] = [AnnouncingNginx, Httpd, Tomcat, Node]
LIMITING: list[type[RealServer]] = [Nginx, Httpd, Tomcat, Node]


def name(kind: object) -> str:
    return kind.name if isinstance(kind, type) and issubclass(kind, RealServer) else str(kind)


@pytest.mark.parametrize("kind", HINTING, ids=name)
def test_the_hint_is_asked_for_and_obeyed_and_bare_urllib3_does_not_ask(
    start: Start, kind: type[RealServer], fake_clock: FakeClock
) -> None:
    server = start(kind, idle=10)
    with HTTPConnectionPool("127.0.0.1", server.port) as bare:
        hint = bare.request("GET", server.path).headers.get("Keep-Alive")
    with wrapped(server, Policy(clock=fake_clock)) as pool:
        get(pool, server.path)
        assert pooled(pool)._holdfast.entry.terms.idle_timeout == 10
        fake_clock.advance(8.9)
        post(pool, server.path, "within")
        fake_clock.advance(9)
        post(pool, server.path, "beyond")
        stats = holdfast.stats(pool)
    assert (hint is None) == (kind.hint == "asked")
    assert (stats.opened, stats.reused) == (2, 1)
    assert (stats.parked, stats.closed) == (1, {}), "kept, to see when its server really hangs up"


# httpd serves one more than it is told, the others are exact. Node counts down nothing, and answers
# what is sent in spite of its "close" with 503.
@pytest.mark.parametrize("limit", [1, 3])
@pytest.mark.parametrize("kind", LIMITING, ids=name)
def test_a_request_limit_is_obeyed_without_a_failed_request(
    start: Start, kind: type[RealServer], limit: int
) -> None:
    server = start(kind, idle=10, max_requests=limit)
    sent = [f"{kind.name}-{number}" for number in range(7)]
    with wrapped(server) as pool:
        for identity in sent:
            get(pool, server.path)
            post(pool, server.path, identity)
        stats = holdfast.stats(pool)
    server.stop()
    assert server.executed() == dict.fromkeys(sent, 1)
    # Closed when it was given back, not when it was wanted again.
    assert set(stats.closed) <= {CloseReason.PEER_ASKED, CloseReason.HINT_USED_UP}
    assert stats.closed
    assert (stats.repeated, stats.refused) == ({}, {})


def test_a_server_without_keep_alive_gets_a_connection_for_each_request(start: Start) -> None:
    server = start(GunicornSync)
    with wrapped(server) as pool:
        for number in range(5):
            get(pool, server.path)
            post(pool, server.path, str(number))
        stats = holdfast.stats(pool)
    assert (stats.opened, stats.reused, stats.closed) == (10, 0, {CloseReason.PEER_ASKED: 10})


def test_a_worker_that_retires_after_so_many_requests_costs_none_of_them(start: Start) -> None:
    server = start(Gunicorn, idle=10, max_requests=5)
    sent = [str(number) for number in range(12)]
    with wrapped(server) as pool:
        for identity in sent:
            post(pool, server.path, identity)
        stats = holdfast.stats(pool)
    server.stop()
    assert server.executed() == dict.fromkeys(sent, 1)
    assert set(stats.closed) == {CloseReason.PEER_ASKED}
