"""Peers that vanish without a word: no FIN, no RST, as a host that lost its power."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from holdfast import CloseReason, Heartbeat, Policy, SocketPool
from holdfast.adapters.sockets import Gone, Guard, Lines

PATIENCE = 10.0
TCP_REPAIR = 19  # linux/tcp.h


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.001)


def vanish(sock: socket.socket) -> None:
    """Takes the socket out of the kernel; nothing is sent. The kernel then answers what comes for it
    with a reset, as a host does that was started again."""
    try:
        sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    except PermissionError:
        pytest.skip("needs CAP_NET_ADMIN")
    sock.close()


linux = pytest.mark.skipif(sys.platform != "linux", reason="TCP_REPAIR is Linux's")


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@linux
def test_a_heartbeat_finds_out_that_the_server_has_forgotten_the_connection(listener: socket.socket) -> None:
    beat = Heartbeat(send=b"PING", expect=b"PONG", interval=0.1, timeout=0.1, jitter=0)
    with SocketPool(listener.getsockname(), policy=Policy(heartbeat=beat)) as pool:
        with pool.acquire():
            server, _ = listener.accept()
        vanish(server)
        until(lambda: pool.stats().closed == {CloseReason.PEER_RESET: 1})


@linux
def test_without_a_heartbeat_nobody_notices(listener: socket.socket) -> None:
    with SocketPool(listener.getsockname()) as pool:
        with pool.acquire():
            server, _ = listener.accept()
        vanish(server)
        with pool.acquire() as lease:
            assert lease.reused
            lease.sock.sendall(b"hello")
            with pytest.raises(ConnectionResetError):
                lease.sock.recv(1)


@linux
@pytest.mark.parametrize(
    ("ping", "reason"), [(b"PING", Gone.RESET), (None, Gone.SILENT)], ids=["with ping", "without"]
)
def test_a_guard_finds_a_client_that_vanished(
    listener: socket.socket, ping: bytes | None, reason: Gone
) -> None:
    told = threading.Event()
    reasons: list[Gone] = []

    def on_dead(sock: socket.socket, why: Gone) -> None:
        reasons.append(why)
        told.set()

    guard = Guard(on_dead=on_dead, interval=0.1, timeout=0.05, misses=1, ping=ping, framing=Lines())
    client = socket.create_connection(listener.getsockname())
    server, _ = listener.accept()
    with guard.accept(server):
        begun = time.monotonic()
        vanish(client)
        assert told.wait(PATIENCE)
        assert time.monotonic() - begun < 0.1 * 2 + 0.05 + 0.5
    assert reasons == [reason]
    guard.close()
    until(lambda: not any(t.name == "holdfast-worker" for t in threading.enumerate()))


FROZEN_CLIENT = """
import socket, sys, time
sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
while True:
    sock.sendall(b"alive")
    time.sleep(0.02)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs SIGSTOP")
def test_a_guard_finds_a_client_whose_process_is_frozen(listener: socket.socket) -> None:
    told = threading.Event()
    guard = Guard(on_dead=lambda sock, why: told.set(), interval=0.3, timeout=0.2, misses=0)
    client = subprocess.Popen([sys.executable, "-c", FROZEN_CLIENT, str(listener.getsockname()[1])])
    try:
        server, _ = listener.accept()
        with guard.accept(server) as guarded:
            for _ in range(50):
                assert guarded.recv(100).startswith(b"alive")
            assert not told.is_set()
            os.kill(client.pid, signal.SIGSTOP)
            while guarded.recv(100):
                pass
            assert told.wait(PATIENCE)
            assert guard.stats().gone == {Gone.SILENT: 1}
    finally:
        client.kill()
        client.wait()
    guard.close()
    until(lambda: not any(t.name == "holdfast-worker" for t in threading.enumerate()))
