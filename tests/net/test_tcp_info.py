"""What the kernel tells about real connections on loopback."""

from __future__ import annotations

import contextlib
import math
import socket
import struct
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from holdfast._core.evidence import CLOSE, CLOSE_WAIT, ESTABLISHED
from holdfast._net import tcp_info
from holdfast._net.tcp_info import await_ending, look_at_end, snapshot

Pair = tuple[socket.socket, socket.socket]
linux = pytest.mark.skipif(sys.platform != "linux", reason="TCP_INFO as Linux has it")
pytestmark = linux


@pytest.fixture
def pair() -> Iterator[Pair]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    with client, server:
        client.settimeout(5)
        server.settimeout(5)
        yield client, server


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def wait_for(what: Any) -> None:
    """Loopback needs no time, but a softirq may be late."""
    until = time.monotonic() + 5
    while not what():
        assert time.monotonic() < until
        time.sleep(0.001)


def now(sock: socket.socket) -> Any:
    told = snapshot(sock)
    assert told is not None
    return told


def test_a_snapshot_agrees_with_what_was_done(pair: Pair) -> None:
    client, server = pair
    before = now(client)
    assert before.state == ESTABLISHED
    assert before.quiet
    assert 0 < before.rtt < 5
    assert 0 < before.min_rtt < 5
    client.sendall(b"x" * 1_000)
    assert server.recv(1_000, socket.MSG_WAITALL) == b"x" * 1_000
    server.sendall(b"y")
    assert client.recv(1) == b"y"
    wait_for(lambda: now(client).quiet)
    after = now(client)
    assert after.bytes_acked - before.bytes_acked == 1_000
    assert (after.unacked, after.notsent_bytes, after.retransmits, after.total_retrans) == (0, 0, 0, 0)
    assert 0 <= after.last_data_sent_ms < 60_000
    assert 0 <= after.last_data_recv_ms <= after.last_data_sent_ms + 60_000


def test_what_nobody_takes_is_told_as_unsent(pair: Pair) -> None:
    client, _ = pair
    client.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            client.send(b"x" * 65_536)
    told = now(client)
    assert not told.quiet
    assert told.notsent_bytes > 0


def test_the_kernels_ages_are_milliseconds(pair: Pair) -> None:
    client, server = pair
    server.sendall(b"x")
    client.recv(1)
    time.sleep(0.08)
    assert 60 <= now(client).last_data_recv_ms < 5_000


def test_a_kernel_that_tells_less_is_not_believed(pair: Pair) -> None:
    class Old:
        def getsockopt(self, level: int, option: int, size: int) -> bytes:
            return pair[0].getsockopt(level, option, 104)

    assert snapshot(Old()) is None


def test_what_is_no_tcp_socket_tells_nothing(pair: Pair) -> None:
    client, _ = pair
    one, other = socket.socketpair()
    with one, other, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram:
        for sock in (one, datagram, None, object()):
            assert snapshot(sock) is None
            assert look_at_end(sock) is None
    client.close()
    assert snapshot(client) is None
    assert look_at_end(client) is None


def test_elsewhere_nothing_is_known(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp_info, "_TCP_INFO", None)
    assert snapshot(pair[0]) is None
    assert look_at_end(pair[0]) is None


# -- the end


def test_a_fin(pair: Pair) -> None:
    client, server = pair
    server.close()
    assert client.recv(1) == b""
    end = look_at_end(client)
    assert end is not None
    assert (end.fin_seen, end.last.state, end.is_reset) == (True, CLOSE_WAIT, False)


def test_a_reset(pair: Pair) -> None:
    client, server = pair
    reset(server)
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    end = look_at_end(client)
    assert end is not None
    assert (end.fin_seen, end.last.state, end.is_reset) == (False, CLOSE, True)


def test_a_fin_and_then_the_reset_that_answers_the_request(pair: Pair) -> None:
    client, server = pair
    before = now(client)
    server.close()
    wait_for(lambda: now(client).state == CLOSE_WAIT)
    client.sendall(b"request")
    assert client.recv(1) == b""
    end = look_at_end(client)
    assert end is not None
    assert end.fin_seen
    ending = await_ending(client, before, end)
    assert ending.fin_seen
    assert ending.last.state == CLOSE
    assert ending.last.bytes_acked == before.bytes_acked
    assert ending.outq == len(b"request")


def test_a_reset_that_is_read_as_a_broken_pipe_is_known_as_one_after_a_fin(pair: Pair) -> None:
    """After it the state says only CLOSE; the pending error tells that a FIN came before."""
    client, server = pair
    server.close()
    wait_for(lambda: now(client).state == CLOSE_WAIT)
    client.sendall(b"request")
    wait_for(lambda: now(client).state == CLOSE)
    end = look_at_end(client)
    assert end is not None
    assert (end.fin_seen, end.is_reset) == (True, False)
    # It is gone with the first look: hence "to be asked once".
    again = look_at_end(client)
    assert again is not None
    assert not again.fin_seen


def test_an_end_without_a_reset_is_waited_for_but_not_for_long(pair: Pair) -> None:
    """A peer that half-closed and reads on sends none."""
    client, server = pair
    before = now(client)
    server.shutdown(socket.SHUT_WR)
    assert client.recv(1) == b""
    end = look_at_end(client)
    assert end is not None
    began = time.monotonic()
    ending = await_ending(client, before, end)
    assert ending.last.state == CLOSE_WAIT
    assert time.monotonic() - began < end.last.patience + 2


def test_an_acknowledgement_ends_the_wait(pair: Pair) -> None:
    client, server = pair
    before = now(client)
    server.shutdown(socket.SHUT_WR)
    assert client.recv(1) == b""
    client.sendall(b"request")
    assert server.recv(100) == b"request"
    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
    wait_for(lambda: now(client).bytes_acked != before.bytes_acked)
    end = look_at_end(client)
    assert end is not None
    assert await_ending(client, before, end).last.bytes_acked - before.bytes_acked == len(b"request")


def test_a_pending_error_of_another_kind_is_not_a_fin(pair: Pair) -> None:
    client, server = pair
    client.sendall(b"unread")
    server.close()  # with unread bytes: a reset
    wait_for(lambda: now(client).state == CLOSE)
    end = look_at_end(client)
    assert end is not None
    assert end.is_reset


def test_the_ticks_of_the_kernel_are_milliseconds() -> None:
    assert 0 < tcp_info.TICK <= 0.011
    assert math.isfinite(tcp_info.TICK)
