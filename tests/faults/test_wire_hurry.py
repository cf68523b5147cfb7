"""A request that nobody receives is given up in about a second; one that is received, slowly or at the
second try, is not."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from cases import SERVER, Path, Sky, port
from firewall import Firewall, echo, why_no_firewall
from on_the_wire import demand, lab
from wire import Lab

from holdfast._net.hurry import Hurry
from holdfast._net.tcp_info import snapshot

__all__ = ["lab"]

pytestmark = pytest.mark.wire

PATIENCE = 60.0
SLACK = 2.0
"""Seconds that a busy machine may add."""
OWN = 60_000
SLOW = 3.0
REQUESTS, THREADS = 300, 20


@pytest.fixture(scope="module")
def _possible() -> None:
    demand(why_no_firewall())


def slowly(conn: socket.socket) -> None:
    conn.sendall(conn.recv(100))
    while data := conn.recv(100):
        time.sleep(SLOW)
        conn.sendall(data)


@pytest.fixture
def wall(_possible: None, request: pytest.FixtureRequest) -> Iterator[Firewall]:
    handler = getattr(request, "param", echo)
    with Firewall(memory=3600, handler=handler) as wall, wall.client():
        yield wall


@pytest.fixture
def sock(wall: Firewall) -> Iterator[socket.socket]:
    with socket.create_connection(wall.address) as sock:
        sock.settimeout(PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, OWN)
        sock.sendall(b"hello")
        assert sock.recv(100) == b"hello"
        yield sock


def ask(sock: socket.socket, request: bytes) -> bytes:
    hurry = Hurry()
    assert hurry.begin(sock)
    try:
        sock.sendall(request)
        hurry.wait(PATIENCE)
        return sock.recv(4096)
    finally:
        hurry.end()


def test_what_falls_into_a_black_hole_is_known_in_about_a_second(wall: Firewall, sock: socket.socket) -> None:
    wall.cut()
    before = snapshot(sock)
    assert before is not None
    began = time.monotonic()
    with pytest.raises(TimeoutError) as caught:
        ask(sock, b"request")
    assert caught.value.errno == errno.ETIMEDOUT, "not the socket's own timeout"
    assert before.hurried <= time.monotonic() - began < before.hurried + 2 * before.rto + SLACK


@pytest.mark.parametrize("wall", [slowly], indirect=True)
def test_who_takes_his_time_with_the_answer_is_waited_for(sock: socket.socket) -> None:
    began = time.monotonic()
    assert ask(sock, b"request") == b"request"
    assert time.monotonic() - began >= SLOW
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == OWN


def test_a_path_that_loses_one_packet_in_twenty_is_good_enough(lab: Lab) -> None:
    """One request in ten thousand would lose four copies in a row."""
    with ThreadPoolExecutor(THREADS) as threads:
        given_up = sum(threads.map(lambda _: requests_given_up(lab), range(THREADS)))
    assert given_up <= REQUESTS * 0.02


def requests_given_up(lab: Lab) -> int:
    request = b"GET /do/%d HTTP/1.1\r\nHost: x\r\n\r\n" % lab.numbers(1)[0]
    given_up = 0
    with lab.client():
        sock = opened()
        for _ in range(REQUESTS // THREADS):
            try:
                assert ask(sock, request).startswith(b"HTTP/1.1 200")
            except TimeoutError:
                given_up += 1
                sock.close()
                sock = opened()
        sock.close()
    return given_up


def opened() -> socket.socket:
    sock = socket.create_connection((SERVER, port(Path.PLAIN, Sky.LOSS)), timeout=PATIENCE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, OWN)
    return sock
