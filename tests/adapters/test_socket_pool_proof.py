"""What lay idle for long is asked before it is lent. A pool behind a firewall: tests/faults/test_wire_probe.py."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from socket_peer import PATIENCE, Peer

from holdfast import CloseReason, Heartbeat, Policy, SocketPool
from holdfast._net.probe import IDLE_ENOUGH, Reply, probe
from holdfast._net.tcp_info import snapshot
from holdfast.adapters.sockets import _link
from holdfast.testing import FakeClock

PROBE_AFTER = 10.0
"""Seconds; the default of PoolLimits."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux can be asked")


@pytest.fixture
def peer() -> Iterator[Peer]:
    with Peer() as peer:
        yield peer


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def pool(peer: Peer, clock: FakeClock) -> Iterator[SocketPool]:
    with SocketPool(peer.address, policy=Policy(clock=clock)) as pool:
        yield pool


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Reply]:
    """What came of each question. Where a pool asks that must not, the test cannot know when it would."""
    replies: list[Reply] = []

    def asking(sock: Any, **settings: Any) -> Reply:
        replies.append(probe(sock, **settings))
        return replies[-1]

    monkeypatch.setattr(_link, "probe", asking)
    return replies


def use(pool: SocketPool, **settings: Any) -> socket.socket:
    with pool.acquire(**settings) as lease:
        lease.sock.sendall(b"hello")
        assert lease.sock.recv(100) == b"hello"
        return lease.sock


def let_it_lie(sock: socket.socket) -> None:
    """Until the kernel can ask: no clock of ours makes that sooner."""
    until = time.monotonic() + PATIENCE
    while (seen := snapshot(sock)) is None or seen.unheard_for < IDLE_ENOUGH:
        assert time.monotonic() < until
        time.sleep(0.01)


def test_who_answers_is_lent(pool: SocketPool, clock: FakeClock, asked: list[Reply]) -> None:
    sock = use(pool)
    let_it_lie(sock)
    clock.advance(PROBE_AFTER)
    before = snapshot(sock)
    assert before is not None
    with pool.acquire() as lease:
        after = snapshot(lease.sock)
        assert after is not None
        assert lease.sock is sock
        assert after.segs_out - before.segs_out == 1
        assert after.bytes_sent == before.bytes_sent
    assert asked == [Reply.ANSWERED]
    assert use(pool) is sock
    assert asked == [Reply.ANSWERED], "once is enough"


def test_who_lay_for_a_short_time_is_not_asked(
    pool: SocketPool, clock: FakeClock, asked: list[Reply]
) -> None:
    sock = use(pool)
    clock.advance(PROBE_AFTER - 0.1)
    assert use(pool) is sock
    assert asked == []


def test_who_cannot_be_asked_is_lent_as_before(
    pool: SocketPool, clock: FakeClock, asked: list[Reply]
) -> None:
    sock = use(pool)
    clock.advance(PROBE_AFTER)  # the kernel knows better, and does not ask within a second
    assert use(pool) is sock
    assert asked == [Reply.UNKNOWN]


def test_who_does_not_wait_does_not_wait_for_an_answer(
    pool: SocketPool, clock: FakeClock, asked: list[Reply]
) -> None:
    sock = use(pool)
    let_it_lie(sock)
    clock.advance(PROBE_AFTER)
    assert use(pool, timeout=0) is sock
    assert asked == [Reply.UNKNOWN]


def test_who_answers_heartbeats_is_not_asked(peer: Peer, clock: FakeClock, asked: list[Reply]) -> None:
    heartbeat = Heartbeat(send=b"PING", expect=b"PONG", interval=PROBE_AFTER / 2, timeout=1, jitter=0)
    with SocketPool(peer.address, policy=Policy(clock=clock, heartbeat=heartbeat)) as pool:
        sock = use(pool)
        clock.advance(PROBE_AFTER / 2)
        pool._timer_rang()
        until = time.monotonic() + PATIENCE
        while pool.stats().idle != 1:
            assert time.monotonic() < until
            time.sleep(0.001)
        clock.advance(PROBE_AFTER / 2)
        assert use(pool) is sock
    assert asked == []


def test_bytes_that_come_with_the_answer_are_found(
    pool: SocketPool, peer: Peer, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(pool)
    clock.advance(PROBE_AFTER)

    def speaks(sock: socket.socket, **_: Any) -> Reply:
        peer.connections[0].sendall(b"408")
        sock.recv(1, socket.MSG_PEEK)
        return Reply.ANSWERED

    monkeypatch.setattr(_link, "probe", speaks)
    use(pool)
    assert pool.stats().closed == {CloseReason.STRAY_BYTES: 1}


def test_a_pool_of_unix_sockets_asks_nobody(tmp_path: Any, clock: FakeClock) -> None:
    with Peer(family=socket.AF_UNIX, address=str(tmp_path / "here")) as peer:
        with SocketPool(str(tmp_path / "here"), policy=Policy(clock=clock)) as pool:
            sock = use(pool)
            clock.advance(PROBE_AFTER)
            assert use(pool) is sock
        assert len(peer.connections) == 1
