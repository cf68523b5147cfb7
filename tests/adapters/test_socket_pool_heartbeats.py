"""Heartbeats on idle sockets, against peers that answer, answer wrongly, late, or not at all."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from socket_peer import PATIENCE, Handler, Peer, silent

from holdfast import CloseReason, Heartbeat, Policy, SocketPool

QUICK: dict[str, Any] = {"interval": 0.05, "timeout": 0.03, "jitter": 0.0}
PING = Heartbeat(send=b"PING", expect=b"PONG", interval=0.05, timeout=0.05, jitter=0)
PATIENT = Heartbeat(send=b"PING", expect=b"PONG", interval=0.05, timeout=0.05, jitter=0, misses=200)
"""Where no answer is to be missed: on a busy machine it may come late."""
MakePool = Callable[..., SocketPool]


@pytest.fixture
def make(request: pytest.FixtureRequest) -> Iterator[MakePool]:
    closing: list[Any] = []

    def make(handler: Handler, heartbeat: Heartbeat, **settings: Any) -> SocketPool:
        peer = Peer(handler)
        pool = SocketPool(peer.address, policy=Policy(heartbeat=heartbeat), **settings)
        closing.extend([peer, pool])
        return pool

    yield make
    for thing in reversed(closing):
        thing.close()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.001)


def lie_idle(pool: SocketPool) -> None:
    with pool.acquire(timeout=5):
        pass


def answering(*answers: bytes) -> Handler:
    """Sends these pieces, one after another, for each request."""

    def handle(conn: socket.socket) -> None:
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while conn.recv(100):
            for piece in answers:
                conn.sendall(piece)
                time.sleep(0.002)  # so that they arrive apart

    return handle


def test_a_connection_that_answers_is_kept_and_used_again(make: MakePool) -> None:
    pool = make(answering(b"PONG"), PATIENT)
    lie_idle(pool)
    until(lambda: pool.stats().heartbeats >= 3)
    assert pool.stats().closed == {}
    # While it is being asked, another is opened.
    until(lambda: is_reused_with_its_own_timeout(pool))


def is_reused_with_its_own_timeout(pool: SocketPool) -> bool:
    with pool.acquire(timeout=5) as lease:
        assert lease.sock.gettimeout() == 60
        return lease.reused


def test_an_answer_in_pieces_is_an_answer(make: MakePool) -> None:
    pool = make(answering(b"P", b"ON", b"G"), PATIENT)
    lie_idle(pool)
    until(lambda: pool.stats().heartbeats >= 3)
    assert pool.stats().closed == {}


@pytest.mark.parametrize("answer", [b"NOPE", b"PONGPONG", b"PONG\r\n"])
def test_a_wrong_answer_or_one_with_stray_bytes_ends_it(make: MakePool, answer: bytes) -> None:
    pool = make(answering(answer), PATIENT)
    lie_idle(pool)
    until(lambda: pool.stats().closed == {CloseReason.HEARTBEAT_WRONG: 1})
    assert pool.stats().open == 0


def test_stray_bytes_that_come_after_the_answer_are_found_before_reuse(make: MakePool) -> None:
    slow = threading.Event()

    def handle(conn: socket.socket) -> None:
        assert conn.recv(100)
        conn.sendall(b"PONG")
        assert slow.wait(PATIENCE)
        conn.sendall(b"stray")
        conn.recv(100)

    pool = make(handle, Heartbeat(send=b"PING", expect=b"PONG", interval=0.2, timeout=0.1, jitter=0))
    lie_idle(pool)
    until(lambda: pool.stats().heartbeats == 1 and pool.stats().idle == 1)
    slow.set()
    until(lambda: sum(pool.stats().closed.values()) == 1)


def test_an_answer_that_never_comes_ends_it_in_time(make: MakePool) -> None:
    pool = make(silent, PING)
    lie_idle(pool)
    begun = time.monotonic()
    until(lambda: pool.stats().closed == {CloseReason.HEARTBEAT_MISSED: 1})
    assert time.monotonic() - begun < 1
    assert pool.stats().open == 0


def test_a_late_answer_is_waited_for_if_misses_are_allowed(make: MakePool) -> None:
    may_answer = threading.Event()

    def handle(conn: socket.socket) -> None:
        assert conn.recv(100) == b"PING"
        assert may_answer.wait(PATIENCE)
        conn.sendall(b"PONG")
        assert conn.recv(100) == b"PING"
        conn.sendall(b"PONG")
        conn.recv(100)

    pool = make(handle, Heartbeat(send=b"PING", expect=b"PONG", misses=200, **QUICK))
    lie_idle(pool)
    until(lambda: any(entry.misses for entry in list(pool._core.everything)))
    assert pool.stats().checking == 1
    may_answer.set()
    until(lambda: pool.stats().heartbeats == 2)
    assert pool.stats().closed == {}


def test_one_that_is_doubted_makes_way_for_one_who_needs_its_place(make: MakePool) -> None:
    pool = make(silent, Heartbeat(send=b"PING", expect=b"PONG", misses=1000, **QUICK), maxsize=1)
    lie_idle(pool)
    until(lambda: any(entry.misses for entry in list(pool._core.everything)))
    with pool.acquire(timeout=5) as lease:
        assert not lease.reused
    assert pool.stats().closed == {CloseReason.HEARTBEAT_MISSED: 1}


def test_a_heartbeat_under_way_does_not_keep_anybody_from_another_connection(make: MakePool) -> None:
    pool = make(silent, Heartbeat(send=b"PING", expect=b"PONG", interval=5, timeout=5), maxsize=2)
    lie_idle(pool)
    ask_now(pool)
    assert pool.stats().checking == 1
    with pool.acquire(timeout=0.5) as lease:
        assert not lease.reused


def ask_now(pool: SocketPool) -> None:
    pool._tell(lambda core, now: core.recheck(now))


def test_one_who_waits_behind_a_heartbeat_waits_no_longer_than_its_timeout(make: MakePool) -> None:
    pool = make(silent, Heartbeat(send=b"PING", expect=b"PONG", interval=5, timeout=0.1), maxsize=1)
    lie_idle(pool)
    ask_now(pool)
    begun = time.monotonic()
    with pool.acquire(timeout=5) as lease:
        assert not lease.reused
    assert time.monotonic() - begun < 1


def test_a_peer_that_hangs_up_on_a_heartbeat_is_noticed_at_once(make: MakePool) -> None:
    def handle(conn: socket.socket) -> None:
        conn.recv(100)
        conn.shutdown(socket.SHUT_RDWR)

    pool = make(handle, Heartbeat(send=b"PING", expect=b"PONG", interval=5, timeout=5))
    lie_idle(pool)
    ask_now(pool)
    until(lambda: pool.stats().closed == {CloseReason.PEER_CLOSED: 1})


def test_siblings_of_one_that_died_are_asked(make: MakePool) -> None:
    pool = make(answering(b"PONG"), Heartbeat(send=b"PING", expect=b"PONG", interval=5, timeout=5))
    leases = [pool.acquire() for _ in range(3)]
    for lease in leases:
        lease.release()
    lease = pool.acquire()
    with pytest.raises(ConnectionResetError), lease:
        raise ConnectionResetError
    until(lambda: pool.stats().heartbeats == 2 and pool.stats().idle == 2)


def test_heartbeats_go_through_tls(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    def serve(conn: socket.socket) -> None:
        with server_tls.wrap_socket(conn, server_side=True) as tls:
            while data := tls.recv(100):
                tls.sendall(data.replace(b"PING", b"PONG"))

    settings: dict[str, Any] = {"ssl_context": client_tls, "server_hostname": "localhost"}
    with Peer(serve) as peer, SocketPool(peer.address, policy=Policy(heartbeat=PATIENT), **settings) as pool:
        lie_idle(pool)
        until(lambda: pool.stats().heartbeats >= 3)
        assert pool.stats().closed == {}
        with pool.acquire(timeout=5) as lease:
            lease.sock.sendall(b"hello")
            assert lease.sock.recv(100) == b"hello"


# -- a function as heartbeat


def exchange(sock: socket.socket) -> bool:
    sock.sendall(b"PING")
    return sock.recv(100) == b"PONG"


def test_a_function_may_do_the_exchange(make: MakePool) -> None:
    pool = make(answering(b"PONG"), Heartbeat(call=exchange, interval=0.3, timeout=0.3, jitter=0))
    lie_idle(pool)
    until(lambda: pool.stats().heartbeats >= 3)
    assert pool.stats().closed == {}
    with pool.acquire(timeout=5) as lease:
        assert lease.sock.gettimeout() == 60


@pytest.mark.parametrize("answer", [b"NOPE"])
def test_a_function_that_says_no_ends_it(make: MakePool, answer: bytes) -> None:
    pool = make(answering(answer), Heartbeat(call=exchange, interval=0.3, timeout=0.3))
    lie_idle(pool)
    until(lambda: pool.stats().closed == {CloseReason.HEARTBEAT_WRONG: 1})


def test_a_function_that_raises_ends_it(make: MakePool) -> None:
    def wrong(sock: socket.socket) -> None:
        raise ZeroDivisionError

    pool = make(silent, Heartbeat(call=wrong, interval=0.3, timeout=0.3))
    lie_idle(pool)
    until(lambda: pool.stats().closed == {CloseReason.HEARTBEAT_WRONG: 1})


def test_a_function_that_closes_the_socket_ends_it(make: MakePool) -> None:
    pool = make(silent, Heartbeat(call=socket.socket.close, interval=0.3, timeout=0.3))
    lie_idle(pool)
    until(lambda: pool.stats().closed == {CloseReason.CLOSED_LOCALLY: 1})


def test_a_function_that_hangs_in_the_socket_is_woken(make: MakePool) -> None:
    left = threading.Event()

    def hang(sock: socket.socket) -> None:
        sock.settimeout(None)
        try:
            sock.recv(1)
        finally:
            left.set()

    pool = make(silent, Heartbeat(call=hang, **QUICK))
    lie_idle(pool)
    until(lambda: pool.stats().closed == {CloseReason.HEARTBEAT_MISSED: 1})
    assert left.wait(PATIENCE)


def test_functions_that_hang_elsewhere_do_not_hold_up_the_others(make: MakePool) -> None:
    may_end = threading.Event()
    asked = threading.Semaphore(0)

    def hang(sock: socket.socket) -> None:
        asked.release()
        assert may_end.wait(PATIENCE)

    pool = make(silent, Heartbeat(call=hang, **QUICK), maxsize=6)
    leases = [pool.acquire() for _ in range(6)]
    for lease in leases:
        lease.release()
    for _ in range(5):
        assert asked.acquire(timeout=PATIENCE)
    may_end.set()
    until(lambda: pool.stats().closed.get(CloseReason.HEARTBEAT_MISSED, 0) >= 1)
    pool.close()
    until(lambda: not any(t.name == "holdfast-worker" for t in threading.enumerate()))
