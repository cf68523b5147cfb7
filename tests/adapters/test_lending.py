"""Which pooled connection is lent again, which is closed, and for which reason."""

from __future__ import annotations

import socket
import ssl
import sys
import threading
from typing import Any

import pytest
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

import holdfast
from holdfast import CloseReason, Policy, PoolLimits, TcpKeepalive
from holdfast.testing import FakeClock, Fault, FaultServer, Request, Response
from holdfast.testing.fixtures import StartFaultServer


def pool_for(server: FaultServer, policy: Policy | None = None, **settings: Any) -> HTTPConnectionPool:
    return holdfast.wrap(HTTPConnectionPool(server.host, server.port, retries=False, **settings), policy)


def get(pool: HTTPConnectionPool, number: int, **settings: Any) -> None:
    assert pool.request("GET", f"/r/{number}", **settings).data == f"GET /r/{number}".encode()


IDLE_FAULTS = {
    Fault.CLOSE_WHILE_IDLE: CloseReason.PEER_CLOSED,
    Fault.HALF_CLOSE_WHILE_IDLE: CloseReason.PEER_CLOSED,
    Fault.RESET_WHILE_IDLE: CloseReason.PEER_RESET,
    Fault.IDLE_408: CloseReason.STRAY_BYTES,
    Fault.STRAY_BYTES_WHILE_IDLE: CloseReason.STRAY_BYTES,
    Fault.STRAY_BYTES_AFTER: CloseReason.STRAY_BYTES,
    Fault.ANSWER_THEN_CLOSE: CloseReason.PEER_ASKED,
    Fault.ANNOUNCE_CLOSE_AND_STAY: CloseReason.PEER_ASKED,
}


@pytest.mark.parametrize(("fault", "reason"), IDLE_FAULTS.items(), ids=lambda value: value.name)
def test_what_is_known_to_be_dead_is_not_lent(
    fault_server: StartFaultServer, fault: Fault, reason: CloseReason
) -> None:
    server = fault_server([fault])
    with pool_for(server) as pool:
        get(pool, 1)
        server.settle()
        assert pool.request("POST", "/r/2", body=b"x").data == b"POST /r/2"
        stats = holdfast.stats(pool)
    assert (stats.opened, stats.reused, stats.closed) == (2, 0, {reason: 1})
    assert (stats.repeated, stats.refused) == ({}, {})


TLS_REASONS = IDLE_FAULTS | {Fault.RESET_WHILE_IDLE: CloseReason.PEER_CLOSED}


@pytest.mark.parametrize(("fault", "reason"), IDLE_FAULTS.items(), ids=lambda value: value.name)
def test_over_tls_as_well(
    fault_server: StartFaultServer,
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
    fault: Fault,
    reason: CloseReason,
) -> None:
    server = fault_server([fault], ssl_context=server_tls)
    with holdfast.wrap(HTTPSConnectionPool(server.host, server.port, ssl_context=client_tls)) as pool:
        get(pool, 1)
        server.settle()
        get(pool, 2)
        stats = holdfast.stats(pool)
    assert (stats.opened, stats.reused) == (2, 0)
    # Python reads a RST through TLS as the end of the stream before 3.13.
    assert stats.closed in ({reason: 1}, {TLS_REASONS[fault]: 1})


def test_a_connection_that_was_opened_ahead_is_used_although_tickets_make_it_readable(
    fault_server: StartFaultServer, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    server = fault_server(ssl_context=server_tls)
    with holdfast.wrap(HTTPSConnectionPool(server.host, server.port, ssl_context=client_tls)) as pool:
        conn = pool._get_conn()
        conn.connect()
        pool._put_conn(conn)
        get(pool, 1)
        assert holdfast.stats(pool).opened == 1


# -- limits, on a clock that is told


@pytest.mark.parametrize(
    ("limits", "seconds", "reason"),
    [
        (PoolLimits(idle_timeout=10), 10, CloseReason.IDLE_TIMEOUT),
        (PoolLimits(idle_timeout=None, max_age=100, max_age_jitter=0), 100, CloseReason.MAX_AGE),
        (PoolLimits(), 55, CloseReason.IDLE_TIMEOUT),
    ],
)
def test_a_limit_that_was_reached_is_a_new_connection(
    fault_server: StartFaultServer,
    fake_clock: FakeClock,
    limits: PoolLimits,
    seconds: float,
    reason: CloseReason,
) -> None:
    server = fault_server()
    with pool_for(server, Policy(limits=limits, clock=fake_clock)) as pool:
        get(pool, 1)
        fake_clock.advance(seconds - 0.1)
        get(pool, 2)
        fake_clock.advance(seconds if reason is CloseReason.IDLE_TIMEOUT else 0.1)
        get(pool, 3)
        stats = holdfast.stats(pool)
    assert (stats.opened, stats.reused, stats.closed) == (2, 1, {reason: 1})


def test_max_uses_closes_it_when_it_is_given_back(fault_server: StartFaultServer) -> None:
    server = fault_server()
    with pool_for(server, Policy(limits=PoolLimits(max_uses=2))) as pool:
        for number in range(5):
            get(pool, number)
        stats = holdfast.stats(pool)
    assert (stats.opened, stats.idle, stats.closed) == (3, 1, {CloseReason.MAX_USES: 2})


# -- what the peer says


def test_the_hint_is_asked_for_and_obeyed(fault_server: StartFaultServer, fake_clock: FakeClock) -> None:
    server = fault_server(headers={"Keep-Alive": "timeout=5, max=100"}, keep_alive_only_if_asked=True)
    with pool_for(server, Policy(clock=fake_clock)) as pool:
        get(pool, 1)
        assert server.ledger[0].headers["Connection"] == "keep-alive"
        fake_clock.advance(3.9)
        get(pool, 2)
        fake_clock.advance(4)
        get(pool, 3)
        stats = holdfast.stats(pool)
        assert (stats.opened, stats.parked) == (2, 1), "kept, to see when its server really hangs up"


def test_asking_can_be_switched_off(fault_server: StartFaultServer) -> None:
    server = fault_server(headers={"Keep-Alive": "timeout=5"}, keep_alive_only_if_asked=True)
    with pool_for(server, Policy(limits=PoolLimits(ask_keep_alive=False))) as pool:
        get(pool, 1)
    assert "Connection" not in server.ledger[0].headers


def test_a_connection_header_of_the_callers_own_is_sent_alone(fault_server: StartFaultServer) -> None:
    server = fault_server()
    with pool_for(server) as pool:
        get(pool, 1, headers={"connection": "TE"})
    assert [value for name, value in server.ledger[0].headers.fields if name.lower() == "connection"] == [
        "TE"
    ]


@pytest.mark.parametrize(
    ("hint", "reason"),
    [("timeout=0", CloseReason.HINT_EXPIRED), ("timeout=5, max=0", CloseReason.HINT_USED_UP)],
)
def test_a_hint_of_nothing_means_do_not_reuse(
    fault_server: StartFaultServer, hint: str, reason: CloseReason
) -> None:
    server = fault_server(headers={"Keep-Alive": hint})
    with pool_for(server) as pool:
        get(pool, 1)
        stats = holdfast.stats(pool)
        get(pool, 2)
    assert (stats.idle, stats.open, stats.closed) == (0, 0, {reason: 1})
    assert server.connections == 2


def test_max_is_counted_down_by_the_server_and_obeyed(fault_server: StartFaultServer) -> None:
    served: dict[int, int] = {}

    def respond(request: Request) -> Response:
        served[0] = served.get(0, 3) - 1
        return Response(
            headers={"Keep-Alive": f"timeout=5, max={served[0] % 3}"}, body=request.target.encode()
        )

    server = fault_server(respond=respond)
    with pool_for(server) as pool:
        for number in range(6):
            pool.request("GET", f"/r/{number}")
        assert holdfast.stats(pool).closed == {CloseReason.HINT_USED_UP: 2}
    assert server.connections == 2


def test_a_second_connection_header_that_says_close_is_heard(fault_server: StartFaultServer) -> None:
    with (
        RawServer(
            b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx"
        ) as port,
        holdfast.wrap(HTTPConnectionPool("127.0.0.1", port)) as pool,
    ):
        assert pool.request("GET", "/").data == b"x"
        assert holdfast.stats(pool).closed == {CloseReason.PEER_ASKED: 1}


# -- what the caller says


def test_a_request_that_says_close_is_the_last(fault_server: StartFaultServer) -> None:
    server = fault_server([Fault.ANNOUNCE_CLOSE_AND_STAY])
    with pool_for(server) as pool:
        get(pool, 1, headers={"Connection": "Close"})
        assert holdfast.stats(pool).open == 0


@pytest.mark.parametrize("value", ["close", "TE, close", b"close"])
def test_also_where_the_server_would_stay(fault_server: StartFaultServer, value: Any) -> None:
    with RawServer(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx") as port:
        with holdfast.wrap(HTTPConnectionPool("127.0.0.1", port)) as pool:
            pool.request("GET", "/", headers={"Connection": value})
            stats = holdfast.stats(pool)
    assert (stats.idle, stats.closed) == (0, {CloseReason.CLIENT_ASKED: 1})


# -- responses that do not end where they should


def test_a_connection_given_back_early_stays_with_its_reader(fault_server: StartFaultServer) -> None:
    body = b"0123456789" * 20_000
    server = fault_server(
        respond=lambda request: Response(body=body if request.target == "/big" else b"small")
    )
    with pool_for(server, block=True, maxsize=1) as pool:
        response = pool.urlopen("GET", "/big", preload_content=False)
        first = response.read(10)
        response.release_conn()
        # Bare urllib3 sends this one, and then raises ResponseNotReady.
        assert pool.request("POST", "/small", body=b"x", pool_timeout=5).data == b"small"
        assert first + response.read() == body
        assert holdfast.stats(pool).closed[CloseReason.UNREAD_RESPONSE] == 1
    assert len(server.ledger) == 2


@pytest.mark.parametrize("status", [b"102 Processing", b"103 Early Hints"])
def test_an_interim_response_taken_for_final_does_not_desynchronise_the_next(status: bytes) -> None:
    with (
        RawServer(
            b"HTTP/1.1 " + status + b"\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"
        ) as port,
        holdfast.wrap(HTTPConnectionPool("127.0.0.1", port)) as pool,
    ):
        pool.request("GET", "/1")
        assert holdfast.stats(pool).idle == 0


def test_a_switched_protocol_is_no_http_any_more() -> None:
    with (
        RawServer(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n") as port,
        holdfast.wrap(HTTPConnectionPool("127.0.0.1", port)) as pool,
    ):
        pool.request("GET", "/1")
        assert holdfast.stats(pool).closed == {CloseReason.PROTOCOL_SWITCHED: 1}


# -- TCP keepalive


@pytest.mark.skipif(sys.platform != "linux", reason="exact read-back is Linux's")
def test_keepalive_is_on_and_nodelay_stays(fault_server: StartFaultServer) -> None:
    server = fault_server()
    with pool_for(server, Policy(keepalive=TcpKeepalive(idle=11))) as pool:
        get(pool, 1)
        sock = pool.pool.queue[-1].sock  # type: ignore[union-attr]
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 11
        keepalive = holdfast.stats(pool).keepalive
    assert keepalive is not None
    assert (keepalive.enabled, keepalive.idle, keepalive.user_timeout) == (True, 11, 60.0)


@pytest.mark.skipif(sys.platform != "linux", reason="exact read-back is Linux's")
def test_the_pools_own_socket_options_win(fault_server: StartFaultServer) -> None:
    server = fault_server()
    own = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 0)]
    with pool_for(server, socket_options=own) as pool:
        get(pool, 1)
        keepalive = holdfast.stats(pool).keepalive
    assert keepalive is not None
    assert keepalive.enabled is False


def test_keepalive_can_be_left_alone(fault_server: StartFaultServer) -> None:
    server = fault_server()
    with pool_for(server, Policy(keepalive=None)) as pool:
        get(pool, 1)
        keepalive = holdfast.stats(pool).keepalive
    assert keepalive is not None
    assert keepalive.enabled is False


class RawServer:
    """Answers each request on one connection with the next of the given bytes, the last for ever."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.thread = threading.Thread(target=self._serve)

    def __enter__(self) -> int:
        self.thread.start()
        port: int = self.listener.getsockname()[1]
        return port

    def __exit__(self, *_: object) -> None:
        self.thread.join()
        self.listener.close()

    def _serve(self) -> None:
        sock, _ = self.listener.accept()
        with sock:
            received = b""
            while data := sock.recv(65_536):
                received += data
                while b"\r\n\r\n" in received:
                    received = received.partition(b"\r\n\r\n")[2]
                    sock.sendall(self.answers[0] if len(self.answers) == 1 else self.answers.pop(0))
