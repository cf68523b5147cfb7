"""The kernel's counts, on real connections."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import sys
from collections.abc import Iterator

import pytest

from holdfast._core.evidence import progress_between
from holdfast._net.tcp_info import snapshot
from holdfast.vocabulary import Progress

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts")
Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        peer, _ = listener.accept()
    with client, peer:
        yield client, peer


def reset(peer: socket.socket) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


def test_it_counts_what_goes_and_what_comes(pair: Pair) -> None:
    client, peer = pair
    before = snapshot(client)
    assert before is not None
    assert (before.bytes_sent, before.quiet, before.data_segs_in) == (0, True, 0)
    client.sendall(b"hello")
    assert peer.recv(10) == b"hello"
    peer.sendall(b"hi")
    assert client.recv(10) == b"hi"
    after = snapshot(client)
    assert after is not None
    assert (after.bytes_sent, after.data_segs_in) == (5, 1)


def test_a_send_that_a_reset_forbids_has_sent_nothing(pair: Pair) -> None:
    client, peer = pair
    before = snapshot(client)
    reset(peer)
    assert select.select([client], [], [], 5)[0]
    with pytest.raises(OSError):
        client.sendall(b"hello")
    assert progress_between(before, snapshot(client)) is Progress.NOT_SENT


def test_what_was_sent_before_a_reset_may_have_been_processed(pair: Pair) -> None:
    client, peer = pair
    before = snapshot(client)
    client.sendall(b"hello")
    assert peer.recv(10) == b"hello"
    reset(peer)
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert progress_between(before, snapshot(client)) is Progress.MAYBE_PROCESSED


def test_what_is_queued_may_arrive_yet(pair: Pair) -> None:
    """The peer's window is full, so nothing new leaves; but it would, later."""
    client, peer = pair
    client.settimeout(0)
    with contextlib.suppress(BlockingIOError):
        while client.send(b"x" * 65_536):
            pass
    before = snapshot(client)
    assert before is not None
    assert not before.quiet
    peer.shutdown(socket.SHUT_WR)
    assert progress_between(before, snapshot(client)) is Progress.MAYBE_PROCESSED


def test_an_answer_has_started(pair: Pair) -> None:
    client, peer = pair
    before = snapshot(client)
    peer.sendall(b"h")
    assert client.recv(1) == b"h"
    assert progress_between(before, snapshot(client)) is Progress.RESPONSE_STARTED


def test_where_nobody_knows_it_may_have_been_processed(pair: Pair) -> None:
    client, _ = pair
    before = snapshot(client)
    client.close()
    assert snapshot(client) is None
    assert progress_between(before, None) is Progress.MAYBE_PROCESSED
    one, other = socket.socketpair()
    with one, other:
        assert snapshot(one) is None
