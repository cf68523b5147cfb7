"""The kernel's probe where it crosses something: a wire that takes its time, a firewall that forgets, hosts
that do."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from cases import Path, Sky
from firewall import Firewall, close_without_a_word, echo, recorded, why_no_firewall
from on_the_wire import demand, lab
from trial import close, make_manager, origin_of
from wire import Lab

from holdfast import CloseReason, HoldfastError, Policy, SocketPool
from holdfast._core.evidence import ESTABLISHED, TcpSnapshot
from holdfast._net.probe import IDLE_ENOUGH, Reply, probe
from holdfast._net.tcp_info import TICK, snapshot
from holdfast.testing import FakeClock

PROBE_AFTER = 10.0
"""Seconds; the default of PoolLimits."""

__all__ = ["lab"]

pytestmark = pytest.mark.wire

PATIENCE = 20.0
SLACK = 1.0
"""Seconds that a busy machine may add to a time that is promised."""
OPTIONS = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name, 0))
        for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
    ),
)


@pytest.fixture(scope="module")
def _possible() -> None:
    demand(why_no_firewall())


@pytest.fixture
def wall(_possible: None) -> Iterator[Firewall]:
    with Firewall(memory=3600) as wall, wall.client():
        yield wall


@pytest.fixture
def idle(wall: Firewall) -> Iterator[socket.socket]:
    """A connection that was used and then idle for long enough."""
    with connected(wall) as sock:
        wait_until_idle(sock)
        yield sock


@contextmanager
def connected(wall: Firewall) -> Iterator[socket.socket]:
    with socket.create_connection(wall.address) as sock:
        sock.settimeout(PATIENCE)
        use(sock)
        yield sock


def use(sock: socket.socket) -> None:
    sock.sendall(b"hello")
    assert sock.recv(100) == b"hello"


def now(sock: Any) -> TcpSnapshot:
    told = snapshot(sock)
    assert told is not None
    return told


def wait_until_idle(sock: socket.socket) -> None:
    wait_for(lambda: now(sock).unheard_for >= IDLE_ENOUGH)


def wait_for(what: Any) -> None:
    until = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < until
        time.sleep(0.01)


def options(sock: socket.socket) -> list[int]:
    return [sock.getsockopt(*option) for option in OPTIONS]


# -- as it is on the wire


def test_a_probe_is_an_empty_segment_before_the_next_byte_and_its_answer_an_acknowledgement(
    idle: socket.socket,
) -> None:
    with recorded(1, both_ways=True) as segments:
        assert probe(idle, patience=PATIENCE) is Reply.ANSWERED
    question, answer = segments
    assert (question.outward, question.size) == (True, 0)
    assert (answer.outward, answer.size) == (False, 0)
    assert answer.acknowledged == (question.sequence + 1) % 2**32
    assert answer.sequence == question.acknowledged


def test_what_was_probed_is_used_as_if_nothing_had_been(idle: socket.socket) -> None:
    assert probe(idle, patience=PATIENCE) is Reply.ANSWERED
    use(idle)


# -- nobody there


def test_silence_is_found_within_a_second(wall: Firewall, idle: socket.socket) -> None:
    before, seen = options(idle), now(idle)
    wall.forget()
    began = time.monotonic()
    assert probe(idle) is Reply.SILENT
    assert time.monotonic() - began < seen.probe_patience + SLACK
    assert options(idle) == before
    with connected(wall) as fresh:
        use(fresh)


def test_silence_is_found_also_if_the_kernel_may_ask_only_in_a_moment(
    wall: Firewall, idle: socket.socket
) -> None:
    assert probe(idle, patience=PATIENCE) is Reply.ANSWERED
    wall.forget()
    patience = IDLE_ENOUGH + 0.2
    before, began = now(idle), time.monotonic()
    assert probe(idle, patience=patience) is Reply.SILENT
    assert time.monotonic() - began >= patience + IDLE_ENOUGH - before.unheard_for - TICK


@pytest.mark.usefixtures("_possible")
def test_a_host_that_lost_power_and_came_back_says_so() -> None:
    def forget(conn: socket.socket) -> None:
        conn.sendall(conn.recv(100))
        close_without_a_word(conn)

    with Firewall(memory=3600, handler=forget) as wall, wall.client(), connected(wall) as sock:
        wait_until_idle(sock)
        before = options(sock)
        assert probe(sock, patience=PATIENCE) is Reply.ENDED
        assert options(sock) == before
        with pytest.raises(ConnectionResetError):
            sock.recv(1)


def test_silence_leaves_the_options_as_they_were_also_if_a_signal_ends_it(
    wall: Firewall, idle: socket.socket
) -> None:
    class Enough(Exception):  # noqa: N818
        pass

    def ring(*_: Any) -> None:
        raise Enough

    before = options(idle)
    wall.cut()
    old = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(Enough):
            probe(idle, patience=PATIENCE)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert options(idle) == before


def test_what_the_kernel_has_asked_already_is_not_ended_by_asking_again(wall: Firewall) -> None:
    """A second probe would: the connection has been idle for longer than TCP_USER_TIMEOUT."""
    with connected(wall) as sock:
        for option, value in zip(OPTIONS, (1, 1, 60, 9, 500), strict=True):
            sock.setsockopt(*option, value)
        wall.cut()
        wait_for(lambda: now(sock).probes)
        before = options(sock)
        assert probe(sock) is Reply.SILENT
        assert now(sock).state == ESTABLISHED
        assert options(sock) == before


def test_a_short_user_timeout_ends_what_is_not_answered_when_the_kernel_asks_again(
    idle: socket.socket, wall: Firewall
) -> None:
    """Which is not before a second, the shortest TCP_KEEPINTVL: no patience of ours lasts for longer."""
    for option, value in zip(OPTIONS, (1, 60, 1, 9, 100), strict=True):
        idle.setsockopt(*option, value)
    wall.cut()
    before = options(idle)
    assert probe(idle, patience=PATIENCE) is Reply.ENDED
    assert options(idle) == before


# -- a wire that takes its time


@pytest.mark.parametrize("path", Path)
def test_on_every_way_to_the_server_who_is_there_answers(lab: Lab, path: Path) -> None:
    with lab.client():
        manager = make_manager(path, Sky.CLEAR, lab.client_context())
        try:
            sock = used(manager, lab, path)
            wait_until_idle(sock)
            before, began = now(sock), time.monotonic()
            assert probe(sock, patience=PATIENCE) is Reply.ANSWERED
            assert time.monotonic() - began >= 2 * lab.delay
            assert now(sock).bytes_sent == before.bytes_sent
            assert used(manager, lab, path) is sock
        finally:
            close(manager)


def used(manager: Any, lab: Lab, path: Path) -> Any:
    """The socket of a request that was answered."""
    [number] = lab.numbers(1)
    response = manager.request("GET", f"{origin_of(path, Sky.CLEAR)}/do/{number}", retries=False)
    assert response.data == str(number).encode()
    [pool] = manager.pools._container.values()
    return pool.pool.queue[-1].sock


def test_an_answer_that_takes_longer_than_ever_is_silence(lab: Lab) -> None:
    with lab.client():
        manager = make_manager(Path.PLAIN, Sky.CLEAR, lab.client_context())
        try:
            sock = used(manager, lab, Path.PLAIN)
            wait_until_idle(sock)
            before = now(sock)
            with lab.detour(2.0):
                began = time.monotonic()
                assert probe(sock) is Reply.SILENT
                assert time.monotonic() - began < 2.0
            # The answer comes all the same, and is nobody's any more.
            wait_for(lambda: now(sock).segs_in != before.segs_in)
            used(manager, lab, Path.PLAIN)
        finally:
            close(manager)


# -- a pool


@contextmanager
def pooled(wall: Firewall, sockets: int) -> Iterator[SocketPool]:
    """With so many connections that have lain idle for long."""
    clock = FakeClock()
    with SocketPool(wall.address, policy=Policy(clock=clock), timeout=PATIENCE) as pool:
        leases = [pool.acquire() for _ in range(sockets)]
        for lease in leases:
            use(lease.sock)
        for lease in leases:
            wait_until_idle(lease.sock)
            lease.release()
        clock.advance(PROBE_AFTER)
        yield pool


def test_a_pool_lends_none_that_a_firewall_has_forgotten(wall: Firewall) -> None:
    with pooled(wall, 1) as pool:
        wall.forget()
        with pool.acquire() as lease:
            assert not lease.reused
            use(lease.sock)
        assert pool.stats().closed == {CloseReason.UNANSWERED: 1}


def test_one_silence_is_enough_for_one_caller(wall: Firewall) -> None:
    with pooled(wall, 4) as pool:
        wall.forget()
        with pool.acquire() as lease:
            use(lease.sock)
        stats = pool.stats()
        assert stats.closed == {CloseReason.UNANSWERED: 1}
        assert (stats.opened, stats.idle) == (5, 4)


@pytest.mark.usefixtures("_possible")
def test_a_pool_lends_none_whose_host_has_forgotten_it() -> None:
    first = iter([True])

    def forget(conn: socket.socket) -> None:
        conn.sendall(conn.recv(100))
        if next(first, False):
            close_without_a_word(conn)
        else:
            echo(conn)

    with Firewall(memory=3600, handler=forget) as wall, wall.client(), pooled(wall, 1) as pool:
        with pool.acquire() as lease:
            assert not lease.reused
            use(lease.sock)
        assert pool.stats().closed == {CloseReason.PEER_RESET: 1}


def test_when_one_died_in_use_its_siblings_are_asked(wall: Firewall) -> None:
    """However short they have been idle for."""
    with SocketPool(wall.address, timeout=1.0) as pool:
        leases = [pool.acquire() for _ in range(2)]
        for lease in leases:
            use(lease.sock)
        for lease in leases:
            wait_until_idle(lease.sock)
            lease.release()
        wall.forget()
        with pytest.raises(TimeoutError), pool.acquire() as lease:
            use(lease.sock)
        with pool.acquire() as lease:
            assert not lease.reused
            use(lease.sock)
        assert pool.stats().closed == {CloseReason.FAILED: 1, CloseReason.UNANSWERED: 1}


def test_when_the_network_has_changed_all_are_asked(wall: Firewall) -> None:
    with SocketPool(wall.address, timeout=PATIENCE) as pool:
        with pool.acquire() as lease:
            sock = lease.sock
            use(sock)
        [entry] = pool._core.everything
        wait_until_idle(sock)
        assert not entry.is_doubtful(pool._clock())
        wall.reroute()
        wait_for(lambda: entry.is_doubtful(pool._clock()))
        with pytest.raises(HoldfastError):
            pool.acquire(timeout=2)
        assert pool.stats().closed[CloseReason.UNANSWERED] == 1
