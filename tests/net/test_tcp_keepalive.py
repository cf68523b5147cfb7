from __future__ import annotations

import socket
import sys
from collections.abc import Iterator

import pytest

from holdfast._net.tcp_keepalive import KeepaliveInEffect, apply_keepalive, read_keepalive
from holdfast.policy import TcpKeepalive

linux = pytest.mark.skipif(sys.platform != "linux", reason="TCP_USER_TIMEOUT and exact read-back are Linux's")


@pytest.fixture
def tcp() -> Iterator[socket.socket]:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as sock,
    ):
        yield sock


@linux
def test_what_is_set_is_what_the_kernel_says(tcp: socket.socket) -> None:
    apply_keepalive(tcp, TcpKeepalive(idle=7, interval=3, count=2, user_timeout=1.5))
    assert read_keepalive(tcp) == KeepaliveInEffect(
        enabled=True, idle=7, interval=3, count=2, user_timeout=1.5
    )


@linux
def test_the_defaults_beat_a_60_second_balancer_and_a_350_second_nat(tcp: socket.socket) -> None:
    apply_keepalive(tcp, TcpKeepalive())
    found = read_keepalive(tcp)
    assert found is not None
    assert found.enabled
    assert found.idle is not None
    assert found.idle < 60


@linux
def test_what_the_user_has_set_himself_stays(tcp: socket.socket) -> None:
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 99)
    apply_keepalive(tcp, TcpKeepalive(idle=7), taken=[(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)])
    found = read_keepalive(tcp)
    assert found is not None
    assert (found.idle, found.interval) == (99, 10)


@linux
def test_no_user_timeout_leaves_the_kernels(tcp: socket.socket) -> None:
    apply_keepalive(tcp, TcpKeepalive(user_timeout=None))
    found = read_keepalive(tcp)
    assert found is not None
    assert found.user_timeout == 0


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no unix sockets here")
def test_a_unix_socket_is_left_alone() -> None:
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        apply_keepalive(one, TcpKeepalive())
        assert read_keepalive(one) is None


def test_what_is_no_socket_is_left_alone() -> None:
    apply_keepalive(object(), TcpKeepalive())
    assert read_keepalive(object()) is None


def test_a_closed_socket_reads_as_nothing_and_breaks_nothing(tcp: socket.socket) -> None:
    tcp.close()
    apply_keepalive(tcp, TcpKeepalive())
    found = read_keepalive(tcp)
    assert found is not None
    assert found.enabled is False
