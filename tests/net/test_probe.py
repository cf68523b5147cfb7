"""A round trip without a byte for the application, on loopback. What needs a wire or a firewall is in
tests/faults/test_wire_probe.py."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from holdfast._core.evidence import TcpSnapshot
from holdfast._net import probe as module
from holdfast._net.probe import IDLE_ENOUGH, Reply, probe
from holdfast._net.tcp_info import TICK, ask, snapshot

Pair = tuple[socket.socket, socket.socket]
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux can be asked")
pytestmark = linux

LONG = 10.0
"""Seconds. Who is there answers at once, but this machine may be busy."""
OPTIONS = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name, 0))
        for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
    ),
)
KEEPIDLE = OPTIONS[1]
LONGEST_IDLE = 32_767
LAID_BY = 20
_SND_WND = struct.Struct("=228x I")


def connected(**listening: int) -> Pair:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for option, value in listening.items():
            listener.setsockopt(socket.SOL_SOCKET, getattr(socket, option), value)
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    client.settimeout(LONG)
    server.settimeout(LONG)
    return client, server


@pytest.fixture
def pair() -> Iterator[Pair]:
    client, server = connected()
    with client, server:
        yield client, server


@pytest.fixture(scope="module")
def laid_by() -> Iterator[list[Pair]]:
    """So that not every test has to wait until its connection has been idle for long enough."""
    pairs = [connected() for _ in range(LAID_BY)]
    yield pairs
    for client, server in pairs:
        client.close()
        server.close()


@pytest.fixture
def idle(laid_by: list[Pair]) -> Iterator[Pair]:
    """Long enough to be asked."""
    client, server = laid_by.pop() if laid_by else connected()
    with client, server:
        wait_until_idle(client)
        yield client, server


def now(sock: socket.socket) -> TcpSnapshot:
    told = snapshot(sock)
    assert told is not None
    return told


def wait_until_idle(sock: socket.socket) -> None:
    wait_for(lambda: now(sock).unheard_for >= IDLE_ENOUGH)


def wait_for(what: Callable[[], object]) -> None:
    until = time.monotonic() + LONG
    while not what():
        assert time.monotonic() < until
        time.sleep(0.01)


def options(sock: socket.socket) -> list[int]:
    return [sock.getsockopt(*option) for option in OPTIONS]


# -- answered


def test_who_is_there_answers_and_no_byte_is_sent(idle: Pair) -> None:
    client, server = idle
    before = now(client)
    assert probe(client, patience=LONG) is Reply.ANSWERED
    after = now(client)
    assert after.segs_out - before.segs_out == 1
    assert after.bytes_sent == before.bytes_sent
    server.setblocking(False)
    with pytest.raises(BlockingIOError):
        server.recv(1)


def test_the_connection_works_as_before(idle: Pair) -> None:
    client, server = idle
    probe(client, patience=LONG)
    client.sendall(b"question")
    assert server.recv(100) == b"question"
    server.sendall(b"answer")
    assert client.recv(100) == b"answer"


def test_bytes_that_came_are_neither_read_nor_an_answer(idle: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """They may have left before the question arrived."""
    client, server = idle
    before = now(client)
    server.sendall(b"408")
    wait_for(lambda: now(client).data_segs_in != before.data_segs_in)
    spoke = now(client)
    assert spoke.segs_in != before.segs_in
    told = iter([before, spoke._replace(segs_out=before.segs_out + 1)])
    monkeypatch.setattr(module, "snapshot", lambda _: next(told))
    assert probe(client, patience=0.001) is Reply.SILENT
    assert client.recv(100) == b"408"


def test_counters_that_wrap_do_no_harm(idle: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    before = now(idle[0])._replace(segs_in=2**32 - 1, segs_out=2**32 - 1)
    told = iter([before, before._replace(segs_in=0, segs_out=0)])
    monkeypatch.setattr(module, "snapshot", lambda _: next(told))
    assert probe(idle[0], patience=LONG) is Reply.ANSWERED


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_is_left_alone(
    pair: Pair, version: ssl.TLSVersion, client_tls: ssl.SSLContext, server_tls: ssl.SSLContext
) -> None:
    client, server = pair
    client_tls.maximum_version, before = version, client_tls.maximum_version
    ends: list[ssl.SSLSocket] = []
    greeter = threading.Thread(target=lambda: ends.append(server_tls.wrap_socket(server, server_side=True)))
    greeter.start()
    try:
        tls = client_tls.wrap_socket(client, server_hostname="localhost")
    finally:
        client_tls.maximum_version = before
        greeter.join()
    with tls, ends[0] as other:
        wait_until_idle(tls)
        # Session tickets (1.3) are there, unread.
        assert probe(tls, patience=LONG) is Reply.ANSWERED
        other.sendall(b"hello")
        assert tls.recv(100) == b"hello"


def test_tls_inside_tls_is_asked_where_it_meets_the_kernel(idle: Pair) -> None:
    """urllib3's SSLTransport has the socket one level down."""
    assert probe(SimpleNamespace(socket=idle[0]), patience=LONG) is Reply.ANSWERED


def test_a_peer_whose_window_is_closed_answers_all_the_same() -> None:
    client, server = connected(SO_RCVBUF=16_384)
    with client, server:
        while (room := window(client)) > 0:
            client.sendall(b"x" * room)
            wait_for(lambda: now(client).quiet)
        wait_until_idle(client)
        assert probe(client, patience=LONG) is Reply.ANSWERED
        assert window(client) == 0


def window(sock: socket.socket) -> int:
    told = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 232)
    if len(told) < _SND_WND.size:
        pytest.skip("this kernel does not tell the peer's window")
    return int(_SND_WND.unpack(told)[0])


def test_a_short_user_timeout_does_not_end_what_is_answered(idle: Pair) -> None:
    """It has been idle for longer than that, which the kernel counts, but not against the first probe."""
    client, _ = idle
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 100)
    assert probe(client, patience=LONG) is Reply.ANSWERED
    wait_until_idle(client)
    assert probe(client, patience=LONG) is Reply.ANSWERED


# -- ended


def test_a_fin_that_is_here(pair: Pair) -> None:
    client, server = pair
    server.close()
    wait_for(lambda: now(client).state != 1)
    assert probe(client) is Reply.ENDED


def test_a_reset_that_is_here(pair: Pair) -> None:
    client, server = pair
    server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    server.close()
    wait_for(lambda: now(client).state != 1)
    assert probe(client) is Reply.ENDED
    with pytest.raises(ConnectionResetError):  # which is still the caller's to see
        client.recv(1)


def test_a_fin_that_comes_before_the_answer(idle: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    client, server = idle
    before = now(client)
    told = iter([lambda: None, server.close])

    def stands_still(_: Any) -> TcpSnapshot:
        next(told, lambda: None)()
        return before

    monkeypatch.setattr(module, "snapshot", stands_still)
    assert probe(client, patience=LONG) is Reply.ENDED


# -- unknown


def test_within_a_second_of_a_sign_of_life_it_cannot_be_asked(
    idle: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = now(idle[0])._replace(last_ack_recv_ms=899)
    monkeypatch.setattr(module, "snapshot", lambda _: fresh)
    assert probe(idle[0], patience=0.1) is Reply.UNKNOWN


def test_the_rest_of_that_second_is_waited_for_if_it_is_shorter_than_the_patience(idle: Pair) -> None:
    client, _ = idle
    assert probe(client, patience=LONG) is Reply.ANSWERED
    asked, since = now(client), time.monotonic()
    assert probe(client, patience=LONG) is Reply.ANSWERED
    assert asked.unheard_for + time.monotonic() - since >= IDLE_ENOUGH - TICK, "the kernel counts in ticks"
    assert now(client).segs_out - asked.segs_out == 1


def test_not_if_somebodys_time_runs_out_before_the_answer_can_be_here(
    idle: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    near = now(idle[0])._replace(last_ack_recv_ms=900, rtt_us=50_000)
    monkeypatch.setattr(module, "snapshot", lambda _: near)
    assert probe(idle[0], patience=LONG, at_most=0.149) is Reply.UNKNOWN
    assert idle[0].getsockopt(*OPTIONS[0]) == 0


def test_unacknowledged_bytes_keep_the_kernel_from_asking(pair: Pair) -> None:
    client, _ = pair
    client.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            client.send(b"x" * 65_536)
    wait_until_idle(client)
    assert probe(client) is Reply.UNKNOWN


def test_a_kernel_that_did_not_ask_has_not_been_left_unanswered(
    idle: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sandbox that pretends to be Linux takes the option and does nothing about it."""
    before = now(idle[0])
    monkeypatch.setattr(module, "snapshot", lambda _: before)
    assert probe(idle[0], patience=0.05) is Reply.UNKNOWN


def test_less_than_a_round_trip_is_not_enough(idle: Pair) -> None:
    client, _ = idle
    before = now(client)
    assert probe(client, patience=0.0) is Reply.UNKNOWN
    assert probe(client, at_most=-1.0) is Reply.UNKNOWN
    assert now(client).segs_out == before.segs_out


def test_an_option_that_may_not_be_set(idle: Pair) -> None:
    class Refusing(socket.socket):
        def setsockopt(self, *_: Any) -> None:
            raise PermissionError

    with Refusing(fileno=idle[0].detach()) as client:
        assert probe(client) is Reply.UNKNOWN


def test_what_is_no_open_tcp_connection(pair: Pair) -> None:
    client, _ = pair
    one, other = socket.socketpair()
    with one, other, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram:
        for sock in (one, datagram, None, object()):
            assert probe(sock) is Reply.UNKNOWN
    client.close()
    assert probe(client) is Reply.UNKNOWN


def test_a_kernel_that_tells_nothing(idle: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "snapshot", lambda _: None)
    assert probe(idle[0]) is Reply.UNKNOWN


# -- options


@pytest.mark.parametrize("keepalive", [0, 1])
@pytest.mark.parametrize("seconds", [2, LONGEST_IDLE])
def test_options_are_as_they_were(idle: Pair, keepalive: int, seconds: int) -> None:
    client, _ = idle
    client.setsockopt(*OPTIONS[0], keepalive)
    client.setsockopt(*KEEPIDLE, seconds)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 12_000)
    before = options(client)
    assert probe(client, patience=LONG) is Reply.ANSWERED
    assert options(client) == before


@pytest.mark.parametrize("keepalive", [0, 1])
def test_also_if_somebody_presses_ctrl_c(idle: Pair, keepalive: int, monkeypatch: pytest.MonkeyPatch) -> None:
    client, _ = idle
    client.setsockopt(*OPTIONS[0], keepalive)
    before = options(client)
    during: list[list[int]] = []

    def pressed(sock: socket.socket) -> TcpSnapshot:
        monkeypatch.setattr(module, "snapshot", press)
        return now(sock)

    def press(sock: socket.socket) -> TcpSnapshot:
        during.append(options(sock))
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "snapshot", pressed)
    with pytest.raises(KeyboardInterrupt):
        probe(client, patience=LONG)
    assert [seen[:2] for seen in during] == [[1, 1]]
    assert options(client) == before


def test_the_kernels_own_probes_go_on_afterwards(idle: Pair) -> None:
    """Restoring the idle time starts its timer again."""
    client, _ = idle
    client.setsockopt(*OPTIONS[0], 1)
    client.setsockopt(*KEEPIDLE, 2)
    assert probe(client, patience=LONG) is Reply.ANSWERED
    asked = now(client).segs_out
    wait_for(lambda: now(client).segs_out > asked)


def test_what_is_asked_about_stands_where_it_is_read(pair: Pair) -> None:
    """Against the kernel's own account, from the outside."""
    client, server = pair
    before = now(client)
    for _ in range(3):
        client.sendall(b"x")
        server.recv(1)
        server.sendall(b"y")
        client.recv(1)
    after = now(client)
    assert after.segs_out - before.segs_out >= 3
    assert after.segs_in - before.segs_in >= 3
    assert after.data_segs_in is not None
    assert before.data_segs_in is not None
    assert after.data_segs_in - before.data_segs_in == 3
    told = ask(client)
    assert told is not None
    assert after.last_ack_recv_ms < 5_000
    assert 0 < after.rttvar_us < 1_000_000
    assert after.probes == 0
