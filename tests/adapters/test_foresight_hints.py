"""What a server says about its limit, and what was seen of it."""

from __future__ import annotations

import os

import pytest
from test_foresight_outposts import eventually, knowledge, name_of
from urllib3 import HTTPConnectionPool

import holdfast
from holdfast import CloseReason, Policy, PoolLimits
from holdfast.testing import FakeClock, FaultServer
from holdfast.testing.fixtures import StartFaultServer

SAYS = {"Keep-Alive": "timeout=5"}
CAUTIOUS = 4.0
"""Seconds: what it says, less ``keep_alive_margin``."""
NEARLY = 4.9


def pool_for(server: FaultServer, clock: FakeClock, **limits: bool) -> HTTPConnectionPool:
    policy = Policy(clock=clock, limits=PoolLimits(**limits))
    return holdfast.wrap(HTTPConnectionPool(server.host, server.port, maxsize=2), policy)


def know(pool: HTTPConnectionPool, server: FaultServer, seconds: float) -> None:
    pool._holdfast.origins.load(knowledge(name_of(server), seconds=seconds))  # type: ignore[attr-defined]


def test_one_that_has_reached_it_shows_when_its_server_hangs_up(
    fault_server: StartFaultServer, fake_clock: FakeClock
) -> None:
    server = fault_server([], headers=SAYS)
    with pool_for(server, fake_clock) as pool:
        pool.request("GET", "/a")
        fake_clock.advance(CAUTIOUS)
        pool.request("GET", "/b", headers={"Connection": "close"})
        stats = holdfast.stats(pool)
        assert (stats.opened, stats.parked) == (2, 1)
        fake_clock.advance(2)
        server.hang_up()
        eventually(lambda: not holdfast.stats(pool).open)
        origins = pool._holdfast.origins  # type: ignore[attr-defined]
        seen = origins.tell(lambda learner, now: learner.idle_limit(now))[name_of(server)]
        assert seen.seconds == pytest.approx(CAUTIOUS + 2, abs=0.1)


@pytest.mark.parametrize("switch", ["learn", "park"])
def test_nothing_is_kept_where_nobody_wants_it(
    fault_server: StartFaultServer, fake_clock: FakeClock, switch: str
) -> None:
    server = fault_server([], headers=SAYS)
    with pool_for(server, fake_clock, **{switch: False}) as pool:
        pool.request("GET", "/a")
        fake_clock.advance(CAUTIOUS)
        pool.request("GET", "/b")
        assert holdfast.stats(pool).closed == {CloseReason.HINT_EXPIRED: 1}


@pytest.mark.parametrize("keeps", [5.1, 6.0, 60.0])
def test_what_its_server_was_seen_to_keep_is_used_nearly_as_long_as_it_says(
    fault_server: StartFaultServer, fake_clock: FakeClock, keeps: float
) -> None:
    server = fault_server([], headers=SAYS)
    with pool_for(server, fake_clock) as pool:
        know(pool, server, keeps)
        pool.request("GET", "/a")
        fake_clock.advance(NEARLY)
        pool.request("GET", "/b")
        assert holdfast.stats(pool).opened == 1
        fake_clock.advance(5)
        pool.request("GET", "/c")
        stats = holdfast.stats(pool)
        assert (stats.opened, stats.closed) == (2, {CloseReason.HINT_EXPIRED: 1}), "and no longer"


def test_a_post_stays_as_far_below_as_ever(fault_server: StartFaultServer, fake_clock: FakeClock) -> None:
    server = fault_server([], headers=SAYS)
    with pool_for(server, fake_clock) as pool:
        know(pool, server, 6.0)
        pool.request("GET", "/a")
        fake_clock.advance(CAUTIOUS)
        pool.request("POST", "/b", body=b"x")
        stats = holdfast.stats(pool)
        assert (stats.opened, stats.idle, stats.closed) == (2, 2, {})


def test_a_post_stays_as_far_below_a_short_one(fault_server: StartFaultServer, fake_clock: FakeClock) -> None:
    server = fault_server([], headers={"Keep-Alive": "timeout=1"})
    with pool_for(server, fake_clock) as pool:
        know(pool, server, 6.0)
        pool.request("GET", "/a")
        fake_clock.advance(0.7)
        pool.request("GET", "/b")
        assert holdfast.stats(pool).opened == 1
        fake_clock.advance(0.7)
        pool.request("POST", "/c", body=b"x")
        assert holdfast.stats(pool).opened == 2


def test_so_does_who_sends_past_urlopen(fault_server: StartFaultServer, fake_clock: FakeClock) -> None:
    server = fault_server([], headers=SAYS)
    with pool_for(server, fake_clock) as pool:
        know(pool, server, 6.0)
        pool.request("GET", "/a")
        fake_clock.advance(CAUTIOUS)
        conn = pool._get_conn()
        conn.request("POST", "/b", body=b"x")
        assert conn.getresponse().status == 200
        conn.close()
        assert holdfast.stats(pool).opened == 2


def test_what_is_forgotten_proves_nothing(fault_server: StartFaultServer, fake_clock: FakeClock) -> None:
    server = fault_server([], headers=SAYS)
    with pool_for(server, fake_clock) as pool:
        know(pool, server, 6.0)
        pool.request("GET", "/a")
        fake_clock.advance(7 * 3600)
        pool.request("GET", "/b")
        fake_clock.advance(CAUTIOUS)
        pool.request("GET", "/c")
        stats = holdfast.stats(pool)
        assert (stats.reused, stats.parked) == (0, 1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_child_keeps_nothing_of_its_parents(fault_server: StartFaultServer, fake_clock: FakeClock) -> None:
    server = fault_server([], headers=SAYS)
    with pool_for(server, fake_clock) as pool:
        pool.request("GET", "/a")
        fake_clock.advance(CAUTIOUS)
        child = os.fork()
        if not child:
            pool.request("GET", "/b")
            stats = holdfast.stats(pool)
            os._exit(0 if (stats.parked, stats.closed) == (0, {CloseReason.FORKED: 1}) else 1)
        assert os.waitpid(child, 0)[1] == 0


def test_one_who_was_seen_to_keep_less_is_not_believed(
    fault_server: StartFaultServer, fake_clock: FakeClock
) -> None:
    server = fault_server([], headers=SAYS)
    with pool_for(server, fake_clock) as pool:
        know(pool, server, 3.0)
        pool.request("GET", "/a")
        fake_clock.advance(3.5)
        pool.request("GET", "/b")
        assert holdfast.stats(pool).parked == 1


def test_where_nothing_is_learned_its_word_is_undercut_by_the_margin(
    fault_server: StartFaultServer, fake_clock: FakeClock
) -> None:
    server = fault_server([], headers=SAYS)
    with pool_for(server, fake_clock, learn=False) as pool:
        know(pool, server, 6.0)
        pool.request("GET", "/a")
        fake_clock.advance(CAUTIOUS)
        pool.request("GET", "/b")
        assert holdfast.stats(pool).closed == {CloseReason.HINT_EXPIRED: 1}
