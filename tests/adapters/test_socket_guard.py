"""A server's side of long connections, with clients that stay, leave, fall silent and vanish."""

from __future__ import annotations

import select
import socket
import socketserver
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from holdfast import PolicyError, TcpKeepalive
from holdfast.adapters.sockets import Frames, Gone, Guard, GuardedSocket, Lines

PATIENCE = 10.0
INTERVAL, TIMEOUT = 0.1, 0.05


class Farewells:
    """What ``on_dead`` was told."""

    def __init__(self) -> None:
        self.told: list[tuple[socket.socket, Gone]] = []
        self._changed = threading.Condition()

    def __call__(self, sock: socket.socket, reason: Gone) -> None:
        with self._changed:
            self.told.append((sock, reason))
            self._changed.notify_all()

    def wait(self) -> Gone:
        with self._changed:
            assert self._changed.wait_for(lambda: self.told, PATIENCE)
            return self.told[0][1]


@pytest.fixture
def farewells() -> Farewells:
    return Farewells()


MakeGuard = Callable[..., Guard]


@pytest.fixture
def make(farewells: Farewells) -> Iterator[MakeGuard]:
    made: list[Guard] = []

    def make(**settings: Any) -> Guard:
        times = {"interval": INTERVAL, "timeout": TIMEOUT, "misses": 0}
        made.append(Guard(on_dead=farewells, **{**times, **settings}))
        return made[-1]

    yield make
    for guard in made:
        guard.close()
    until(lambda: not any(t.name == "holdfast-worker" for t in threading.enumerate()))


Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """The server's end, and the client's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    client.settimeout(PATIENCE)
    with client, server:
        yield server, client


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.001)


def reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


# -- who is gone


def test_a_silent_client_is_found_in_the_stated_time(
    make: MakeGuard, farewells: Farewells, pair: Pair
) -> None:
    begun = time.monotonic()
    guard = make(misses=1)
    guard.accept(pair[0])
    assert farewells.wait() is Gone.SILENT
    stated = INTERVAL * 2 + TIMEOUT
    assert stated - 0.02 < time.monotonic() - begun < stated + 0.5
    assert farewells.told == [(pair[0], Gone.SILENT)]
    assert guard.stats().gone == {Gone.SILENT: 1}
    assert guard.stats().clients == 0


def test_whoever_reads_from_a_client_that_is_gone_wakes_up(
    make: MakeGuard, farewells: Farewells, pair: Pair
) -> None:
    with make().accept(pair[0]) as client:
        assert client.recv(10) == b""
    assert farewells.wait() is Gone.SILENT


def test_a_client_that_says_something_stays(make: MakeGuard, farewells: Farewells, pair: Pair) -> None:
    guard = make(interval=0.4, timeout=0.4)
    with guard.accept(pair[0]) as client:
        for _ in range(10):
            pair[1].sendall(b"hello")
            assert client.recv(10) == b"hello"
            time.sleep(0.1)  # more than the stated time altogether
    assert farewells.told == []


@pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="only the Linux kernel knows")
def test_what_a_server_reads_from_the_socket_itself_counts_as_well(
    make: MakeGuard, farewells: Farewells, pair: Pair
) -> None:
    make(interval=0.4, timeout=0.4).accept(pair[0])
    for _ in range(10):
        pair[1].sendall(b"hello")
        assert pair[0].recv(10) == b"hello"
        time.sleep(0.1)
    assert farewells.told == []


def test_a_reset_is_told_at_once(make: MakeGuard, farewells: Farewells, pair: Pair) -> None:
    make(interval=60, timeout=60).accept(pair[0])
    reset(pair[1])
    assert farewells.wait() is Gone.RESET


def test_a_client_that_left_is_told_if_nobody_closes_it(
    make: MakeGuard, farewells: Farewells, pair: Pair
) -> None:
    make(interval=60, timeout=0.05).accept(pair[0])
    pair[1].close()
    assert farewells.wait() is Gone.LEFT


def test_one_that_is_closed_in_good_order_is_not_told(
    make: MakeGuard, farewells: Farewells, pair: Pair
) -> None:
    guard = make(interval=60, timeout=0.05)
    pair[1].sendall(b"bye")
    pair[1].close()
    with guard.accept(pair[0]) as client:
        assert client.recv(10) == b"bye"
        assert client.recv(10) == b""
    assert (guard.stats().clients, guard.stats().gone) == (0, {})
    assert farewells.told == []


def test_one_that_was_closed_behind_the_guards_back_is_dropped(
    make: MakeGuard, farewells: Farewells, pair: Pair
) -> None:
    guard = make()
    guard.accept(pair[0])
    pair[0].close()
    until(lambda: guard.stats().clients == 0)
    assert farewells.told == []


def test_an_on_dead_that_raises_is_logged(
    farewells: Farewells, pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    def wrong(sock: socket.socket, reason: Gone) -> None:
        raise ValueError("wrong")

    guard = Guard(on_dead=wrong, interval=INTERVAL, timeout=TIMEOUT, misses=0)
    guard.accept(pair[0])
    until(lambda: "wrong" in caplog.text)
    guard.close()
    until(lambda: not any(t.name == "holdfast-worker" for t in threading.enumerate()))


def test_keepalive_is_set_to_find_a_vanished_host_in_about_the_same_time(make: MakeGuard, pair: Pair) -> None:
    make(interval=15, timeout=5, misses=1).accept(pair[0])
    assert pair[0].getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert pair[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 15
    assert pair[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 35_000


def test_keepalive_may_be_chosen(make: MakeGuard, pair: Pair) -> None:
    make(keepalive=TcpKeepalive(idle=7)).accept(pair[0])
    assert pair[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 7


# -- writing


def test_writes_to_a_client_that_left_are_quiet_and_counted(
    make: MakeGuard, farewells: Farewells, pair: Pair
) -> None:
    guard = make(interval=60, timeout=60)
    client = guard.accept(pair[0])
    assert client.sendall(b"welcome")
    reset(pair[1])
    assert farewells.wait() is Gone.RESET
    assert [client.sendall(b"news") for _ in range(3)] == [False] * 3
    assert guard.stats().dropped_writes == 3
    assert len(farewells.told) == 1
    assert client.recv(10) == b""


def test_the_write_that_finds_out_is_quiet_as_well(make: MakeGuard, farewells: Farewells, pair: Pair) -> None:
    guard = make(interval=60, timeout=60)
    client = guard.accept(pair[0])
    pair[0].shutdown(socket.SHUT_WR)
    assert client.sendall(b"news") is False
    assert farewells.wait() is Gone.RESET
    assert guard.stats().dropped_writes == 1


def test_a_timeout_of_the_servers_own_is_no_departure(make: MakeGuard, pair: Pair) -> None:
    guard = make(interval=60, timeout=60)
    client = guard.accept(pair[0])
    client.settimeout(0.01)
    with pytest.raises(TimeoutError):
        client.recv(1)
    assert guard.stats().clients == 1


# -- heartbeats


def test_a_client_is_asked_and_stays_while_it_answers(
    make: MakeGuard, farewells: Farewells, pair: Pair
) -> None:
    server, peer = pair
    guard = make(interval=0.2, timeout=0.2, misses=4, ping=b"PING", pong=b"PONG", framing=Lines())
    client = guard.accept(server)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(client.recv(100)))
    reader.start()
    for _ in range(4):
        assert peer.recv(100) == b"PING\r\n"
        peer.sendall(b"PONG\r\n")
    peer.sendall(b"PONG\r\nGET x\r\n")
    reader.join(PATIENCE)
    assert got == [b"GET x\r\n"]
    until(lambda: guard.stats().asked >= 4)
    assert farewells.told == []


def test_a_clients_heartbeat_is_answered_and_taken_out(make: MakeGuard, pair: Pair) -> None:
    server, peer = pair
    guard = make(interval=60, timeout=60, answers={b"ping": b"pong"}, framing=Frames())
    client = guard.accept(server)
    peer.sendall(b"\x00\x00\x00\x04ping\x00\x00\x00\x02hi")
    assert client.recv(100) == b"\x00\x00\x00\x02hi"
    assert peer.recv(100) == b"\x00\x00\x00\x04pong"
    assert guard.stats().answered == 1


def test_a_heartbeat_does_not_cut_into_a_message_that_is_being_written(
    make: MakeGuard, farewells: Farewells, pair: Pair
) -> None:
    server, peer = pair
    guard = make(interval=0.05, timeout=0.05, misses=3, ping=b"PING", framing=Lines())
    client = guard.accept(server)
    message = b"x" * 4_000_000
    writer = threading.Thread(target=client.sendall, args=(message,))
    writer.start()
    time.sleep(0.12)  # the ping is due while the writer waits for room
    got = b""
    while len(got) < len(message):
        got += peer.recv(1_000_000)
    writer.join(PATIENCE)
    assert got[: len(message)] == message


# -- beside every kind of server


def test_beside_a_plain_accept_loop(make: MakeGuard) -> None:
    guard = make(interval=60, timeout=60)

    def serve(conn: socket.socket) -> None:
        with guard.accept(conn) as client:
            while data := client.recv(100):
                client.sendall(data.upper())

    with socket.create_server(("127.0.0.1", 0)) as listener:
        peers = [socket.create_connection(listener.getsockname()) for _ in range(3)]
        threads = [threading.Thread(target=serve, args=(listener.accept()[0],)) for _ in peers]
        for thread in threads:
            thread.start()
        for peer in peers:
            peer.sendall(b"hello")
            assert peer.recv(100) == b"HELLO"
            peer.close()
        for thread in threads:
            thread.join(PATIENCE)
    assert guard.stats().clients == 0


def test_beside_socketserver(
    make: MakeGuard, farewells: Farewells, capfd: pytest.CaptureFixture[str]
) -> None:
    guard = make(interval=60, timeout=60)

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            for line in self.rfile:
                self.wfile.write(line.upper())

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = False

        def get_request(self) -> Any:
            sock, address = super().get_request()
            return guard.accept(sock), address

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        good = socket.create_connection(server.server_address)  # type: ignore[arg-type]
        bad = socket.create_connection(server.server_address)  # type: ignore[arg-type]
        good.sendall(b"hello\n")
        assert good.recv(100) == b"HELLO\n"
        bad.sendall(b"hello\n" * 1000)
        reset(bad)
        assert farewells.wait() is Gone.RESET
        good.close()
        until(lambda: guard.stats().clients == 0)
        server.shutdown()
        thread.join(PATIENCE)
    assert "Traceback" not in capfd.readouterr().err


def test_makefile_writes_and_reads_text(make: MakeGuard, pair: Pair) -> None:
    client = make(interval=60, timeout=60).accept(pair[0])
    stream = client.makefile("rw", encoding="utf-8", newline="\n")
    stream.write("grüße\n")
    stream.flush()
    assert pair[1].recv(100) == "grüße\n".encode()
    pair[1].sendall(b"two\nlines\n")
    assert stream.readline() == "two\n"
    stream.close()


# -- bad input


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"timeout": 16}, r"timeout=16: must not be longer than interval=15.0"),
        ({"misses": -1}, "misses=-1"),
        ({"ping": b"PING"}, "framing=None: must be given with ping"),
        ({"on_dead": 1}, "on_dead=1: must be callable"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        Guard(**settings)


def test_a_ping_over_tls_is_refused(
    make: MakeGuard, pair: Pair, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    guard = make(ping=b"PING", framing=Lines())
    shaking = threading.Thread(
        target=lambda: client_tls.wrap_socket(pair[1], server_hostname="localhost").close()
    )
    shaking.start()
    with server_tls.wrap_socket(pair[0], server_side=True) as tls:
        with pytest.raises(PolicyError, match="cannot be sent over TLS"):
            guard.accept(tls)
    shaking.join(PATIENCE)


def test_readers_see_the_real_descriptor(make: MakeGuard, pair: Pair) -> None:
    client = make(interval=60, timeout=60).accept(pair[0])
    assert isinstance(client, GuardedSocket)
    assert client.fileno() == pair[0].fileno()
    assert client.getpeername() == pair[1].getsockname()
    assert select.select([client], [], [], 0)[0] == []
