"""The hurry in which a request arrives, on loopback. Where nothing arrives: tests/faults/test_wire_hurry.py."""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from holdfast._core.evidence import ESTABLISHED, TcpSnapshot
from holdfast._net import hurry as module
from holdfast._net.hurry import Hurry
from holdfast._net.tcp_info import snapshot

Pair = tuple[socket.socket, socket.socket]
linux = pytest.mark.skipif(sys.platform != "linux", reason="TCP_USER_TIMEOUT is Linux's")
pytestmark = linux

PATIENCE = 20.0
OWN = 60_000
"""Milliseconds, as the user has set them."""
_SND_WND = struct.Struct("=228x I")


def connected(receive_buffer: int | None = None) -> Pair:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        if receive_buffer is not None:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    client.settimeout(PATIENCE)
    server.settimeout(PATIENCE)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, OWN)
    return client, server


@pytest.fixture
def pair() -> Iterator[Pair]:
    client, server = connected()
    with client, server:
        yield client, server


def user_timeout(sock: socket.socket) -> int:
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)


def now(sock: socket.socket) -> TcpSnapshot:
    told = snapshot(sock)
    assert told is not None
    return told


def wait_for(what: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_it_lasts_from_the_beginning_to_the_end(pair: Pair) -> None:
    client, _ = pair
    seen, hurry = now(client), Hurry()
    assert hurry.begin(client)
    assert user_timeout(client) == round(seen.hurried * 1000)
    hurry.end()
    assert user_timeout(client) == OWN
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 7)
    hurry.end()
    assert user_timeout(client) == 7, "the second end is none"


def test_it_is_over_when_the_answer_is_here(pair: Pair) -> None:
    client, server = pair
    hurry = Hurry()
    hurry.begin(client)
    client.sendall(b"request")
    server.sendall(b"answer")
    hurry.wait(PATIENCE)
    assert user_timeout(client) == OWN
    assert client.recv(100) == b"answer"


def test_it_is_over_when_the_request_has_arrived(pair: Pair) -> None:
    client, server = pair
    hurry = Hurry()
    hurry.begin(client)
    client.sendall(b"request")
    hurry.wait(PATIENCE)
    assert user_timeout(client) == OWN
    assert now(client).quiet
    assert server.recv(100) == b"request"


def test_no_longer_than_the_caller_waits(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    client, _ = pair
    hurry = Hurry()
    hurry.begin(client)
    under_way = now(client)._replace(unacked=1)
    monkeypatch.setattr(module, "snapshot", lambda _: under_way)
    hurry.wait(0.01)
    assert user_timeout(client) == OWN


def test_whatever_interrupts_the_wait_ends_it(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    client, _ = pair
    hurry = Hurry()
    hurry.begin(client)

    def interrupted(_: object) -> TcpSnapshot:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "snapshot", interrupted)
    with pytest.raises(KeyboardInterrupt):
        hurry.wait(PATIENCE)
    assert user_timeout(client) == OWN


def test_a_closed_window_is_not_punished() -> None:
    """The kernel would end the connection, as if nobody were there."""
    client, server = connected(receive_buffer=16_384)
    with client, server:
        while (room := window(client)) > 0:
            client.sendall(b"x" * room)
            wait_for(lambda: now(client).quiet)
        hurry = Hurry()
        assert hurry.begin(client)
        client.sendall(b"request")
        hurry.wait(PATIENCE)
        assert user_timeout(client) == OWN
        time.sleep(2 * now(client).hurried)
        assert now(client).state == ESTABLISHED
        while (data := server.recv(65_536))[-7:] != b"request":
            assert data


def window(sock: socket.socket) -> int:
    told = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 232)
    if len(told) < _SND_WND.size:
        pytest.skip("this kernel does not tell the peer's window")
    return int(_SND_WND.unpack(told)[0])


# -- where there is none


def test_who_is_as_impatient_already_is_left_alone(pair: Pair) -> None:
    client, _ = pair
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 500)
    hurry = Hurry()
    assert not hurry.begin(client)
    hurry.wait(PATIENCE)
    assert user_timeout(client) == 500


def test_older_bytes_that_are_still_out_are_not_hurried(pair: Pair) -> None:
    client, _ = pair
    client.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            client.send(b"x" * 65_536)
    assert not Hurry().begin(client)
    assert user_timeout(client) == OWN


def test_what_is_no_open_tcp_connection(pair: Pair) -> None:
    client, _ = pair
    client.close()
    one, other = socket.socketpair()
    with one, other:
        for sock in (client, one, None, object()):
            hurry = Hurry()
            assert not hurry.begin(sock)
            hurry.wait(PATIENCE)
            hurry.end()


def test_a_connection_that_is_closed_meanwhile(pair: Pair) -> None:
    client, _ = pair
    hurry = Hurry()
    assert hurry.begin(client)
    client.close()
    hurry.end()


def test_an_option_that_may_not_be_set(pair: Pair) -> None:
    class Refusing(socket.socket):
        def setsockopt(self, *_: object) -> None:
            raise PermissionError

    with Refusing(fileno=pair[0].detach()) as client:
        hurry = Hurry()
        assert not hurry.begin(client)
        hurry.wait(PATIENCE)
