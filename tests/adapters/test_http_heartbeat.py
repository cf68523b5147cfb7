"""HTTP heartbeats on idle pooled connections, and everybody who comes for such a connection meanwhile."""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import queue
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import requests
import urllib3
from scripted import Peer, abort, read_request
from urllib3.connectionpool import HTTPConnectionPool

import holdfast
from holdfast import CloseReason, Heartbeat, Policy, PolicyError, PoolLimits, SocketPool
from holdfast._threads.polling import READABLE, SelectorPoller
from holdfast._threads.watcher import the_watcher
from holdfast._threads.workers import the_beaters
from holdfast.adapters.requests import HTTPAdapter
from holdfast.adapters.urllib3 import PoolManager
from holdfast.events import ConnectionClosed, Event
from holdfast.testing import Fault, FaultServer, Via
from holdfast.testing.fixtures import StartFaultServer

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
PATIENCE = 20.0
"""Seconds for what takes milliseconds; a beat that is held back must not run into its own timeout."""
SOON = 0.02
LATER = 30.0
"""An interval after which no test is still running."""


def beating(
    method: str = "HEAD", *, interval: float = SOON, timeout: float = PATIENCE, **policy: Any
) -> Policy:
    return Policy(heartbeat=Heartbeat.http(method, "/healthz", interval=interval, timeout=timeout), **policy)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def head_of(request: bytes) -> bytes:
    return request.split(b"\r\n", 1)[0]


def is_beat(request: bytes) -> bool:
    return b"/healthz " in head_of(request)


@pytest.fixture(autouse=True)
def _no_beat_is_left() -> Iterator[None]:
    yield
    gc.collect()
    the_beaters().join(PATIENCE)


class Beaten:
    """A peer that answers requests, and beats as it is told: `next_beat` waits for one and `answer`
    answers it, in the same order."""

    def __init__(self, answer: bytes | None = OK) -> None:
        self.came: queue.Queue[int] = queue.Queue()
        self.answers: queue.Queue[bytes] = queue.Queue()
        self.ended: queue.Queue[int] = queue.Queue()
        self.heads: list[tuple[int, bytes]] = []
        self._answer = answer

    def __call__(self, sock: Any, number: int) -> None:
        try:
            while request := read_request(sock):
                self.heads.append((number, request))
                if is_beat(request):
                    self.came.put(number)
                    sock.sendall(self._answer or self.answers.get(timeout=PATIENCE))
                else:
                    sock.sendall(OK)
        finally:
            self.ended.put(number)

    def next_beat(self) -> int:
        return self.came.get(timeout=PATIENCE)

    def beats(self, connection: int) -> int:
        return sum(number == connection and is_beat(request) for number, request in self.heads)


@contextlib.contextmanager
def pool_for(peer: Peer, policy: Policy, **settings: Any) -> Iterator[HTTPConnectionPool]:
    with HTTPConnectionPool(peer.host, peer.port, retries=False, **settings) as pool:
        yield holdfast.wrap(pool, policy)


def heart_of(pool: Any) -> Any:
    [conn] = [conn for conn in pool.pool.queue if conn is not None and conn.sock is not None]
    return conn._holdfast.heart


def beat_now(heart: Any) -> None:
    """In this thread, without waiting for the interval."""
    heart._entry.idle_since -= heart._every
    heart._beat()


# -- that it beats, and when


def test_an_idle_connection_is_asked_again_and_again() -> None:
    beaten = Beaten()
    with Peer(beaten) as peer, pool_for(peer, beating()) as pool:
        pool.request("GET", "/a")
        for _ in range(3):
            assert beaten.next_beat() == 1
        until(lambda: holdfast.stats(pool).heartbeats >= 3)
        stats = holdfast.stats(pool)
        assert (stats.requests, stats.reused, stats.opened, stats.idle) == (1, 0, 1, 1)
        assert stats.as_dict()["heartbeats"] >= 3


def test_it_lies_idle_for_the_interval_before_each() -> None:
    interval, answered, gaps = 0.1, [0.0], []
    enough = threading.Event()

    def note(sock: Any, _: int) -> None:
        while request := read_request(sock):
            if is_beat(request):
                gaps.append(time.monotonic() - answered[0])
                if len(gaps) == 3:
                    enough.set()
            answered[0] = time.monotonic()
            sock.sendall(OK)

    with Peer(note) as peer, pool_for(peer, beating(interval=interval)) as pool:
        pool.request("GET", "/a")
        assert enough.wait(PATIENCE)
    # The jitter shortens it by a tenth at the most.
    assert min(gaps) >= 0.9 * interval


def test_a_server_that_closes_after_two_seconds_is_kept_from_it() -> None:
    def impatient(sock: Any, _: int) -> None:
        sock.settimeout(2.0)
        while read_request(sock):
            sock.sendall(OK)

    with Peer(impatient) as peer, pool_for(peer, beating(interval=0.2)) as pool:
        pool.request("POST", "/a", body=b"x")
        until(lambda: holdfast.stats(pool).heartbeats >= 15)  # which takes nearly three
        assert holdfast.stats(pool).closed == {}
        assert peer.connections == 1


def test_an_answer_is_not_taken_for_an_end_where_the_watcher_cannot_tell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("holdfast._threads.watcher.make_poller", SelectorPoller)
    beaten = Beaten()
    with Peer(beaten) as peer, pool_for(peer, beating(interval=LATER)) as pool:
        for number in range(3):
            pool.request("GET", f"/{number}")
            beat_now(heart_of(pool))
            parked = heart_of(pool)._parked
            # The sign of the answer, told when that was read and the connection lies idle again.
            the_watcher().call_soon(partial(parked._told, READABLE))
            the_watcher()._let_it_finish()
        assert holdfast.stats(pool).closed == {}
        assert peer.connections == 1


def test_what_the_last_request_was_told_to_say_about_the_host_is_said_again() -> None:
    beaten = Beaten()
    with Peer(beaten) as peer, pool_for(peer, beating()) as pool:
        pool.request("GET", "/a", headers={"Host": "virtual.test"})
        beaten.next_beat()
        [beat] = [request for _, request in beaten.heads if is_beat(request)][:1]
    assert b"\r\nHost: virtual.test\r\n" in beat
    assert b"\r\nConnection: keep-alive\r\n" in beat
    assert b"\r\nUser-Agent: holdfast\r\n" in beat


def test_without_that_it_is_the_hosts_own_name_and_port() -> None:
    beaten = Beaten()
    with Peer(beaten) as peer, pool_for(peer, beating(limits=PoolLimits(ask_keep_alive=False))) as pool:
        pool.request("GET", "/a")
        beaten.next_beat()
        expected = f"HEAD /healthz HTTP/1.1\r\nHost: 127.0.0.1:{peer.port}\r\nUser-Agent: holdfast\r\n\r\n"
        assert (1, expected.encode()) in beaten.heads


def test_a_connection_that_is_lent_carries_none() -> None:
    beaten = Beaten()

    def half(sock: Any, number: int) -> None:
        if number == 1:
            request = read_request(sock)
            beaten.heads.append((number, request))
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab")
            assert go_on.wait(PATIENCE)
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                too_early.append(sock.recv(1))
            sock.settimeout(PATIENCE)
            sock.sendall(b"c")
        beaten(sock, number)

    go_on = threading.Event()
    too_early: list[bytes] = []
    with Peer(half) as peer, pool_for(peer, beating(), maxsize=2) as pool:
        lent = pool.urlopen("GET", "/long", preload_content=False)
        pool.request("GET", "/short")
        for _ in range(5):
            assert beaten.next_beat() == 2
        go_on.set()
        assert lent.read() == b"abc"
        assert too_early == []
        until(lambda: beaten.beats(1) >= 1)


def test_a_server_that_is_slow_to_answer_is_not_asked_twice() -> None:
    slow, quick = Beaten(None), Beaten()

    def handle(sock: Any, number: int) -> None:
        (slow if number == 1 else quick)(sock, number)

    with Peer(handle) as peer, pool_for(peer, beating(), maxsize=2) as pool:
        answers = [pool.urlopen("GET", "/a", preload_content=False) for _ in range(2)]
        for answer in answers:
            answer.read()
        assert slow.next_beat() == 1
        for _ in range(5):
            quick.next_beat()
        assert slow.beats(1) == 1
        slow.answers.put(OK)
        assert slow.next_beat() == 1
        slow.answers.put(OK)


def test_a_pool_without_one_has_connections_that_know_nothing_of_it(fault_server: StartFaultServer) -> None:
    server = fault_server([])
    with holdfast.wrap(HTTPConnectionPool(server.host, server.port)) as pool:
        pool.request("GET", "/a")
        [conn] = [conn for conn in pool.pool.queue if conn is not None]  # type: ignore[union-attr]
        assert not hasattr(conn._holdfast, "heart")
        assert holdfast.stats(pool).heartbeats == 0


def test_a_connection_that_was_open_before_is_asked_as_well() -> None:
    beaten = Beaten()
    with Peer(beaten) as peer, HTTPConnectionPool(peer.host, peer.port) as pool:
        pool.request("GET", "/a")
        holdfast.wrap(pool, beating())
        assert beaten.next_beat() == 1
        assert peer.connections == 1


# -- the ways there


@pytest.mark.parametrize("via", [Via.DIRECT, Via.CONNECT], ids=lambda via: via.name)
def test_over_tls_and_through_a_tunnel(
    fault_server: StartFaultServer, server_tls: ssl.SSLContext, client: Callable[..., Any], via: Via
) -> None:
    server = fault_server([], ssl_context=server_tls, via=via)
    http = client(server, beating())
    http.request("GET", f"{server.url}/a")
    until(lambda: holdfast.stats(http).heartbeats >= 3)
    assert {(e.target, e.headers["Host"]) for e in server.ledger if e.method == "HEAD"} == {
        ("/healthz", f"localhost:{server.port}")
    }
    assert holdfast.stats(http).opened == server.connections == 1


def test_a_forward_proxy_is_asked_for_the_origin_of_the_last_request() -> None:
    beaten = Beaten()
    with Peer(beaten) as peer:
        http = urllib3.ProxyManager(peer.url, proxy_headers={"Proxy-Authorization": "Basic secret"})
        holdfast.wrap(http, beating())
        http.request("GET", "http://origin.test:81/a")
        beaten.next_beat()
        beat = next(request for _, request in beaten.heads if is_beat(request))
        http.clear()
    assert beat.startswith(b"HEAD http://origin.test:81/healthz HTTP/1.1\r\nHost: origin.test:81\r\n")
    assert b"\r\nProxy-Authorization: Basic secret\r\n" in beat


def test_an_https_proxy_forwards_it_too(
    fault_server: StartFaultServer, server_tls: ssl.SSLContext, client: Callable[..., Any]
) -> None:
    server: FaultServer = fault_server([], ssl_context=server_tls, via=Via.FORWARD)
    http = client(server, beating())
    http.request("GET", f"{server.url}/a")
    until(lambda: holdfast.stats(http).heartbeats >= 2)
    assert "HEAD" in {entry.method for entry in server.ledger}
    assert server.connections == 1


# -- what comes back


GOOD = {
    "200": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "404": b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno",
    "after 100": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "with a hint": b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=60, max=9\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("answer", GOOD)
def test_an_answer_keeps_the_connection(answer: str) -> None:
    beaten = Beaten(GOOD[answer])
    with Peer(beaten) as peer, pool_for(peer, beating("GET")) as pool:
        pool.request("GET", "/a")
        for _ in range(3):
            beaten.next_beat()
        assert peer.connections == 1
        assert holdfast.stats(pool).closed == {}


BAD: dict[str, tuple[bytes, CloseReason]] = {
    "FIN": (b"", CloseReason.PEER_CLOSED),
    "500": (b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", CloseReason.HEARTBEAT_WRONG),
    "503 that closes": (b"HTTP/1.1 503 Oh\r\nConnection: close\r\n\r\n", CloseReason.HEARTBEAT_WRONG),
    "408": (b"HTTP/1.1 408 Late\r\nContent-Length: 0\r\n\r\n", CloseReason.HEARTBEAT_WRONG),
    "103": (b"HTTP/1.1 103 Early Hints\r\n\r\n", CloseReason.HEARTBEAT_WRONG),
    "101": (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", CloseReason.PROTOCOL_SWITCHED),
    "close": (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", CloseReason.PEER_ASKED),
    "1.0": (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", CloseReason.PEER_ASKED),
    "no length": (b"HTTP/1.1 200 OK\r\n\r\nhello", CloseReason.PEER_ASKED),
    "no more": (
        b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5, max=0\r\nContent-Length: 0\r\n\r\n",
        CloseReason.HINT_USED_UP,
    ),
    "no longer": (
        b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=0\r\nContent-Length: 0\r\n\r\n",
        CloseReason.HINT_EXPIRED,
    ),
    "garbage": (b"\x00\x01hello\r\n\r\n", CloseReason.HEARTBEAT_WRONG),
    "cut head": (b"HTTP/1.1 200 OK\r\nContent-Le", CloseReason.HEARTBEAT_WRONG),
    "cut body": (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", CloseReason.HEARTBEAT_WRONG),
    "cut chunk": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nab",
        CloseReason.HEARTBEAT_WRONG,
    ),
    "more behind": (OK + OK, CloseReason.HEARTBEAT_WRONG),
    "64 KiB and a byte": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 65537\r\n\r\n" + bytes(65_537),
        CloseReason.HEARTBEAT_WRONG,
    ),
}


class Closed:
    """A listener that waits for connections to be closed."""

    def __init__(self) -> None:
        self._reasons: queue.Queue[CloseReason] = queue.Queue()

    def __call__(self, event: Event) -> None:
        if isinstance(event, ConnectionClosed):
            assert event.uses == 1  # beats are not among them
            self._reasons.put(event.reason)

    def next(self) -> CloseReason:
        return self._reasons.get(timeout=PATIENCE)


def check_that_it_is_closed(handler: Callable[[Any, int], None], reason: CloseReason, policy: Policy) -> None:
    closed, ended = Closed(), threading.Event()

    def handle(sock: Any, number: int) -> None:
        if number > 1:
            Beaten()(sock, number)
            return
        assert not is_beat(read_request(sock))
        sock.sendall(OK)
        assert is_beat(read_request(sock))
        handler(sock, number)
        with contextlib.suppress(OSError):
            socket.socket.shutdown(sock, socket.SHUT_WR)
        with contextlib.suppress(OSError):
            while sock.recv(65_536):
                pass
        ended.set()

    policy = Policy(heartbeat=policy.heartbeat, listener=closed)
    with Peer(handle) as peer, pool_for(peer, policy) as pool:
        pool.request("GET", "/a")
        assert closed.next() is reason
        assert ended.wait(PATIENCE)
        stats = holdfast.stats(pool)
        assert (stats.idle, stats.open, stats.closed, stats.heartbeats) == (0, 0, {reason: 1}, 1)
        assert pool.request("GET", "/b").status == 200
        assert peer.connections == 2


@pytest.mark.parametrize("answer", BAD)
def test_anything_else_costs_the_connection(answer: str) -> None:
    sent, reason = BAD[answer]

    def handler(sock: Any, _: int) -> None:
        with contextlib.suppress(OSError):
            sock.sendall(sent)

    check_that_it_is_closed(handler, reason, beating("GET"))


def test_so_does_a_reset() -> None:
    check_that_it_is_closed(lambda sock, _: abort(sock), CloseReason.PEER_RESET, beating())


def test_so_does_silence() -> None:
    def handler(sock: Any, _: int) -> None:
        assert sock.recv(1) == b""  # until it is given up

    check_that_it_is_closed(handler, CloseReason.HEARTBEAT_MISSED, beating(timeout=0.1))


def test_so_does_an_answer_that_never_comes_to_its_end() -> None:
    def handler(sock: Any, _: int) -> None:
        sock.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
        with contextlib.suppress(OSError):
            while True:
                sock.sendall(b"x")
                time.sleep(0.01)

    check_that_it_is_closed(handler, CloseReason.HEARTBEAT_MISSED, beating(timeout=0.2))


def test_the_uses_of_max_uses_are_requests_and_beats_together() -> None:
    beaten = Beaten()
    with Peer(beaten) as peer, pool_for(peer, beating(limits=PoolLimits(max_uses=4))) as pool:
        pool.request("GET", "/a")
        until(lambda: holdfast.stats(pool).heartbeats == 2)
        the_beaters().join(PATIENCE)
        pool.request("GET", "/b")
        assert holdfast.stats(pool).closed == {CloseReason.MAX_USES: 1}
        assert [number for number, _ in beaten.heads] == [1, 1, 1, 1]


def test_the_kernels_proof_holds_after_a_beat(fault_server: StartFaultServer) -> None:
    server = fault_server([Fault.NONE, Fault.NONE, Fault.CLOSE_AS_REQUEST_LEAVES])
    policy = beating(interval=LATER)
    with holdfast.wrap(HTTPConnectionPool(server.host, server.port, retries=False), policy) as pool:
        pool.request("GET", "/a", timeout=PATIENCE)
        heart = heart_of(pool)
        beat_now(heart)
        assert heart.sock.gettimeout() == PATIENCE
        assert pool.request("POST", "/b", body=b"x").status == 200
        assert server.connections == 2
        assert [entry.method for entry in server.ledger] == ["GET", "HEAD", "POST"]


# -- who comes for it while a beat is under way


@contextlib.contextmanager
def under_way(**settings: Any) -> Iterator[tuple[Any, Beaten, Peer]]:
    """One connection, with a beat that waits for its answer."""
    beaten = Beaten(None)
    with Peer(beaten) as peer, pool_for(peer, beating(), **settings) as pool:
        pool.request("GET", "/a")
        assert beaten.next_beat() == 1
        try:
            yield pool, beaten, peer
        finally:
            for _ in range(100):
                beaten.answers.put(OK)


def test_a_request_takes_another_connection_at_once() -> None:
    with under_way() as (pool, beaten, peer):
        assert pool.request("POST", "/b", body=b"x").status == 200
        assert peer.connections == 2
        stats = holdfast.stats(pool)
        assert stats.closed == {CloseReason.HEARTBEAT_UNDER_WAY: 1}
        assert (stats.open, stats.repeated, stats.requests, stats.reused) == (1, {}, 2, 0)
        # It is the beat's, which closes it when it is done.
        assert beaten.ended.empty()
        beaten.answers.put(OK)
        assert beaten.ended.get(timeout=PATIENCE) == 1
        assert holdfast.stats(pool).closed == {CloseReason.HEARTBEAT_UNDER_WAY: 1}


def test_it_takes_another_that_lies_idle_if_that_is_its_turn() -> None:
    slow, quick = Beaten(None), Beaten()

    def handle(sock: Any, number: int) -> None:
        (slow if number == 1 else quick)(sock, number)

    with Peer(handle) as peer, pool_for(peer, beating(), maxsize=2) as pool:
        answers = [pool.urlopen("GET", "/a", preload_content=False) for _ in range(2)]
        for answer in answers:
            answer.read()
        assert slow.next_beat() == 1
        for conn in pool.pool.queue:  # type: ignore[union-attr]
            conn._holdfast.heart.stop()
        the_beaters_of_the_other_are_done(pool)
        assert pool.request("GET", "/b").status == 200
        assert peer.connections == 2
        slow.answers.put(OK)


def the_beaters_of_the_other_are_done(pool: Any) -> None:
    until(lambda: pool.pool.queue[-1]._holdfast.parked._idle == [None])


def test_whoever_takes_it_past_the_look_has_another_socket() -> None:
    with under_way() as (pool, beaten, peer):
        conn = pool.pool.get()
        sock = conn.sock
        conn.request("GET", "/past")
        assert conn.sock is not sock
        assert not sock._closed  # not under the thread that reads from it
        assert conn.getresponse().status == 200
        conn.close()
        assert peer.connections == 2
        beaten.answers.put(OK)
        assert beaten.ended.get(timeout=PATIENCE)


def test_closing_the_pool_does_not_wait_for_it() -> None:
    with under_way() as (pool, beaten, _):
        pool.close()
        assert holdfast.stats(pool).closed == {CloseReason.CLOSED_LOCALLY: 1}
        assert beaten.ended.empty()
        beaten.answers.put(OK)
        assert beaten.ended.get(timeout=PATIENCE) == 1
        assert holdfast.stats(pool).closed == {CloseReason.CLOSED_LOCALLY: 1}


def test_nor_does_unwrapping() -> None:
    with under_way() as (pool, beaten, peer):
        holdfast.unwrap(pool)
        assert pool.request("GET", "/b").status == 200
        assert peer.connections == 2
        beaten.answers.put(OK)
        assert beaten.ended.get(timeout=PATIENCE) == 1
        holdfast.wrap(pool, beating())
        assert beaten.next_beat() == 2


def test_unwrapping_leaves_the_others_open_and_ends_their_beats() -> None:
    beaten = Beaten()
    with Peer(beaten) as peer, pool_for(peer, beating()) as pool:
        pool.request("GET", "/a")
        heart = heart_of(pool)
        until(lambda: holdfast.stats(pool).heartbeats >= 1)
        heart.stop()
        the_beaters().join(PATIENCE)
        holdfast.unwrap(pool)
        assert pool.request("GET", "/b").status == 200
        assert peer.connections == 1


def test_dropping_the_pool_closes_it_once() -> None:
    beaten = Beaten(None)
    with Peer(beaten) as peer:
        pool = holdfast.wrap(HTTPConnectionPool(peer.host, peer.port), beating())
        pool.request("GET", "/a")
        beaten.next_beat()
        del pool
        gc.collect()
        assert beaten.ended.empty()
        beaten.answers.put(OK)
        assert beaten.ended.get(timeout=PATIENCE) == 1


def test_a_failing_beat_that_nobody_waits_for_tells_once_and_no_closing_after_it() -> None:
    with under_way() as (pool, beaten, _):
        beaten.answers.put(b"HTTP/1.1 500 Oh\r\n\r\n")
        assert beaten.ended.get(timeout=PATIENCE) == 1
        the_beaters().join(PATIENCE)
        pool.close()
        assert holdfast.stats(pool).closed == {CloseReason.HEARTBEAT_WRONG: 1}


def test_an_answer_that_nobody_waits_for_any_more_does_not_matter() -> None:
    with under_way() as (pool, beaten, _):
        pool.request("GET", "/b")
        beaten.answers.put(b"garbage\r\n\r\n")
        assert beaten.ended.get(timeout=PATIENCE) == 1
        assert holdfast.stats(pool).closed == {CloseReason.HEARTBEAT_UNDER_WAY: 1}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_the_child_of_a_fork_has_no_part_in_it() -> None:
    with under_way() as (pool, beaten, peer):
        [conn] = [conn for conn in pool.pool.queue if conn is not None]
        inherited = os.fstat(conn.sock.fileno())
        child = os.fork()
        if child == 0:
            status = pool.request("GET", "/child").status
            copies = [fd for fd in range(256) if is_same(fd, inherited)]
            os._exit(0 if status == 200 and not copies and not holdfast.stats(pool).heartbeats > 1 else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        heart_of(pool).stop()
        beaten.answers.put(OK)
        the_beaters().join(PATIENCE)
        assert pool.request("GET", "/parent").status == 200
        assert [number for number, request in beaten.heads if b"GET /parent " in request] == [1]
        assert peer.connections == 2


def is_same(descriptor: int, status: os.stat_result) -> bool:
    try:
        there = os.fstat(descriptor)
    except OSError:
        return False
    return (there.st_dev, there.st_ino) == (status.st_dev, status.st_ino)


@pytest.mark.parametrize("end", ["", "raise SystemExit(0)", "os._exit(0)", "pool.close()", "del pool"])
def test_a_program_ends_in_silence_with_a_beat_under_way(end: str) -> None:
    beaten = Beaten(None)
    code = """
    import os, sys, time
    import holdfast, urllib3
    from holdfast import Heartbeat, Policy

    beat = Heartbeat.http("HEAD", "/healthz", interval=0.01, timeout=60)
    pool = holdfast.wrap(urllib3.HTTPConnectionPool("127.0.0.1", int(sys.argv[1])), Policy(heartbeat=beat))
    pool.request("GET", "/a")
    while not holdfast.stats(pool).heartbeats:
        time.sleep(0.001)
    """
    with Peer(beaten) as peer:
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code) + end, str(peer.port)],
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        beaten.answers.put(OK)


class Between:
    """Stands in for the right to a socket. Before or after somebody reaches for it, the nth time of all, another
    has his turn."""

    def __init__(self, parked: Any, nth: int, other: Callable[[], object]) -> None:
        self._parked, self._left, self._other = parked, nth, other
        self.forget = parked.forget

    @property
    def has_let_him(self) -> bool:
        return self._left <= 0

    def take(self) -> bool:
        self._pass()
        took = bool(self._parked.take())
        self._pass()
        return took

    def park(self) -> bool:
        self._pass()
        laid = bool(self._parked.park())
        self._pass()
        return laid

    def _pass(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._other()


def end_beat(heart: Any) -> None:
    """The rest of one that is under way."""
    reason = heart.give_back()
    if reason is not None:
        heart.close(reason)


@pytest.mark.parametrize("nth", range(1, 9))
@pytest.mark.parametrize("returns", [False, True], ids=["keeps it", "returns it"])
@pytest.mark.parametrize("interrupted", ["beat", "lender"])
def test_wherever_one_comes_between_the_steps_of_the_other_one_of_them_has_it(
    interrupted: str, nth: int, returns: bool
) -> None:
    beaten = Beaten()
    with Peer(beaten) as peer, pool_for(peer, beating(interval=LATER)) as pool:
        pool.request("GET", "/a")
        heart, [conn] = heart_of(pool), [conn for conn in pool.pool.queue if conn]  # type: ignore[union-attr]
        sock, parked, lent = conn.sock, heart._parked, []

        def lend() -> None:
            lent.append(conn.is_connected)
            if returns and lent == [True]:
                assert conn._holdfast.lie_down()

        def beat() -> None:
            end_beat(heart)

        assert parked.take()
        first, second = (beat, lend) if interrupted == "beat" else (lend, beat)
        heart._parked = between = Between(parked, nth, second)
        first()
        heart._parked = parked
        if not between.has_let_him:
            second()  # there is no such step
        if lent == [True]:
            assert conn.sock is sock
            assert parked.take() == returns
            # The next beat finds nothing that is left of this one.
            end_beat(heart)
            assert sock.fileno() >= 0
            assert holdfast.stats(pool).closed == {}
        else:
            assert conn.sock is None
            assert sock.fileno() < 0
            assert holdfast.stats(pool).closed == {CloseReason.HEARTBEAT_UNDER_WAY: 1}


def test_who_wanted_it_had_it_and_is_done_before_the_beat_reaches_for_it_again() -> None:
    beaten = Beaten()
    with Peer(beaten) as peer, pool_for(peer, beating(interval=LATER)) as pool:
        pool.request("GET", "/a")
        heart = heart_of(pool)
        parked = heart._parked
        assert parked.take()
        heart._wanting.append(None)  # as a lender says it, before he tries once more

        def have_it() -> None:
            assert parked.take()
            heart._wanting.pop()
            assert parked.park()

        heart._parked = between = Between(parked, 3, have_it)  # after it was laid down and seen to be wanted
        assert heart.give_back() is None
        assert between.has_let_him
        heart._parked = parked
        assert pool.request("GET", "/b").status == 200
        assert peer.connections == 1


def test_a_beat_that_comes_just_after_its_connection_was_let_go_does_not_touch_it() -> None:
    beaten = Beaten()
    with Peer(beaten) as peer, pool_for(peer, beating(interval=LATER)) as pool:
        pool.request("GET", "/a")
        heart = heart_of(pool)
        parked = heart._parked

        def let_go() -> None:
            heart._parked = parked
            holdfast.unwrap(pool)

        heart._parked = Between(parked, 1, let_go)
        beat_now(heart)
        assert pool.request("GET", "/b").status == 200
        assert [head_of(request) for _, request in beaten.heads] == [b"GET /a HTTP/1.1", b"GET /b HTTP/1.1"]
        assert peer.connections == 1


def test_a_lender_and_a_beat_that_start_together() -> None:
    beaten = Beaten()
    with Peer(beaten) as peer, pool_for(peer, beating(interval=LATER)) as pool:
        pool.request("GET", "/a")
        for number in range(100):
            heart, start = heart_of(pool), threading.Barrier(2)

            def beat(heart: Any = heart, start: threading.Barrier = start) -> None:
                start.wait(PATIENCE)
                beat_now(heart)

            beater = threading.Thread(target=beat)
            beater.start()
            start.wait(PATIENCE)
            assert pool.request("GET", f"/{number}").status == 200
            beater.join(PATIENCE)
        stats = holdfast.stats(pool)
        lost = stats.closed.get(CloseReason.HEARTBEAT_UNDER_WAY, 0)
        assert (stats.opened, stats.open, stats.requests) == (1 + lost, 1, 101)


def test_lenders_and_beats_of_the_same_moment_never_share_a_connection() -> None:
    """Each request comes back with its own answer, and no connection has two on their way."""
    together: list[bytes] = []

    def echo(sock: Any, _: int) -> None:
        while request := read_request(sock):
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                together.append(sock.recv(1))
            sock.settimeout(PATIENCE)
            path = head_of(request).split(b" ")[1]
            length = b"Content-Length: %d\r\n\r\n" % len(path)
            sock.sendall(b"HTTP/1.1 200 OK\r\n" + length + path)

    failures: list[BaseException] = []
    rounds, threads = 100, 4
    barrier = threading.Barrier(threads)

    def ask(pool: HTTPConnectionPool, me: int) -> None:
        try:
            for number in range(rounds):
                barrier.wait(PATIENCE)
                # As long as it takes until a beat is due: then both come for the same connection.
                time.sleep(0.001 * (number % 5))
                path = f"/{me}/{number}"
                assert pool.request("GET", path).data == path.encode()
        except BaseException as error:
            failures.append(error)
            barrier.abort()

    policy = beating("GET", interval=0.002)
    with Peer(echo) as peer, pool_for(peer, policy, maxsize=threads) as pool:
        askers = [threading.Thread(target=ask, args=(pool, me)) for me in range(threads)]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join()
        pool.close()
        the_beaters().join(PATIENCE)
        stats = holdfast.stats(pool)
    assert failures == []
    assert [byte for byte in together if byte] == []
    assert stats.requests == rounds * threads
    assert stats.heartbeats > 0
    assert (stats.open, sum(stats.closed.values())) == (0, stats.opened)
    assert set(stats.closed) <= {CloseReason.HEARTBEAT_UNDER_WAY, CloseReason.CLOSED_LOCALLY}


def test_unwrapping_and_wrapping_while_lenders_and_beats_are_at_it() -> None:
    beaten, failures, ends = Beaten(), [], threading.Event()
    with Peer(beaten) as peer, pool_for(peer, beating(interval=0.002), maxsize=4) as pool:

        def ask() -> None:
            try:
                while not ends.is_set():
                    assert pool.request("GET", "/x").status == 200
            except BaseException as error:
                failures.append(error)

        askers = [threading.Thread(target=ask) for _ in range(3)]
        for asker in askers:
            asker.start()
        for _ in range(100):
            time.sleep(0.004)
            holdfast.unwrap(pool)
            holdfast.wrap(pool, beating(interval=0.002))
        ends.set()
        for asker in askers:
            asker.join()
    assert failures == []


# -- settings


def test_requests_has_it_too_and_a_session_with_it_can_be_pickled() -> None:
    beaten = Beaten()
    with Peer(beaten) as peer:
        session = pickle.loads(pickle.dumps(holdfast.wrap(requests.Session(), beating())))
        session.get(peer.url)
        assert beaten.next_beat() == 1
        session.close()


@pytest.mark.parametrize(
    ("method", "target", "settings"),
    [
        ("POST", "/", {}),
        ("DELETE", "/", {}),
        ("TRACE", "/", {}),
        ("head", "/", {}),
        (None, "/", {}),
        ("GET", "", {}),
        ("GET", "healthz", {}),
        ("GET", "http://a.test/", {}),
        ("GET", "*", {}),
        ("GET", "/a b", {}),
        ("GET", "/a\r\nX: 1", {}),
        ("GET", "/\xfc", {}),
        ("GET", b"/", {}),
        ("GET", None, {}),
        ("GET", "/", {"headers": [("A", "b")]}),
        ("GET", "/", {"headers": {"A": "b\r\nC: d"}}),
        ("GET", "/", {"headers": {"A\n": "b"}}),
        ("GET", "/", {"headers": {"": "b"}}),
        ("GET", "/", {"headers": {"A:": "b"}}),
        ("GET", "/", {"headers": {"A": 1}}),
        ("GET", "/", {"headers": {"A": "\u20ac"}}),
        ("GET", "/", {"headers": {b"A": "b"}}),
        ("GET", "/", {"headers": {"Content-Length": "3"}}),
        ("GET", "/", {"headers": {"connection": "close"}}),
        ("GET", "/", {"interval": 0}),
        ("GET", "/", {"timeout": -1}),
        ("GET", "/", {"jitter": 2}),
    ],
)
def test_what_makes_no_sense_is_refused(method: Any, target: Any, settings: dict[str, Any]) -> None:
    with pytest.raises(PolicyError):
        Heartbeat.http(method, target, **settings)


def test_it_stands_alone() -> None:
    request = Heartbeat.http("HEAD", "/").request
    others: list[dict[str, Any]] = [{"send": b"x"}, {"expect": b"x"}, {"call": print}, {"misses": 1}]
    for other in others:
        with pytest.raises(PolicyError):
            Heartbeat(request=request, **other)
    with pytest.raises(PolicyError):
        Heartbeat(request="HEAD / HTTP/1.1")  # type: ignore[arg-type]


def test_a_secret_in_its_headers_is_not_shown() -> None:
    heartbeat = Heartbeat.http("HEAD", "/", headers={"Authorization": "Bearer secret"})
    assert "secret" not in repr(Policy(heartbeat=heartbeat))
    with pytest.raises(PolicyError) as caught:
        Heartbeat.http("HEAD", "/", headers={"Authorization": "Bearer secret\n"})
    assert "secret" not in str(caught.value)


def test_an_interval_that_no_connection_can_reach_is_refused() -> None:
    with pytest.raises(PolicyError, match="idle_timeout=8"):
        Policy(limits=PoolLimits(idle_timeout=8), heartbeat=Heartbeat.http("HEAD", "/", interval=8))
    Policy(limits=PoolLimits(idle_timeout=None), heartbeat=Heartbeat.http("HEAD", "/", interval=600))


def test_each_kind_of_pool_takes_its_own_kind_of_heartbeat() -> None:
    redis = Policy(heartbeat=Heartbeat(send=b"PING\r\n", expect=b"+PONG\r\n"))
    manager, session = urllib3.PoolManager(), requests.Session()
    for refused in (
        lambda: holdfast.wrap(manager, redis),
        lambda: holdfast.wrap(session, redis),
        lambda: PoolManager(policy=redis),
        lambda: HTTPAdapter(policy=redis),
        lambda: SocketPool(("127.0.0.1", 1), policy=beating()),
    ):
        with pytest.raises(PolicyError, match="heartbeat="):
            refused()
    assert type(manager) is urllib3.PoolManager
    assert type(session) is requests.Session
    assert {type(adapter) for adapter in session.adapters.values()} == {
        type(requests.Session().adapters["http://"])
    }
