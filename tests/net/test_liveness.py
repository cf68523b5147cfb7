"""A look at real sockets whose peers misbehave on cue."""

from __future__ import annotations

import select
import socket
import ssl
import struct
import sys
import threading
from collections.abc import Iterator

import pytest

from holdfast._net.liveness import Look, Sight

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


def wait_until_something_happened(client: socket.socket) -> None:
    assert select.select([client], [], [], 5)[0]


def test_an_idle_connection_is_quiet_however_often_it_is_looked_at(pair: Pair) -> None:
    look = Look(pair[0])
    assert [look() for _ in range(3)] == [Sight.QUIET] * 3


def test_a_fin_is_seen_and_stays_seen(pair: Pair) -> None:
    client, peer = pair
    look = Look(client)
    peer.close()
    wait_until_something_happened(client)
    assert [look(), look()] == [Sight.ENDED] * 2


def test_a_reset_is_seen(pair: Pair) -> None:
    client, peer = pair
    look = Look(client)
    reset(peer)
    wait_until_something_happened(client)
    assert look() is Sight.RESET


def test_unsolicited_bytes_are_seen_and_not_taken(pair: Pair) -> None:
    client, peer = pair
    look = Look(client)
    peer.sendall(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
    wait_until_something_happened(client)
    assert look() is Sight.BYTES
    assert client.recv(4) == b"HTTP"


def test_bytes_before_a_fin_are_bytes(pair: Pair) -> None:
    client, peer = pair
    peer.sendall(b"x")
    peer.close()
    wait_until_something_happened(client)
    assert Look(client)() is Sight.BYTES


@pytest.mark.parametrize("timeout", [None, 0.0, 5.0])
def test_the_sockets_timeout_is_left_alone(pair: Pair, timeout: float | None) -> None:
    client, peer = pair
    client.settimeout(timeout)
    peer.close()
    wait_until_something_happened(client)
    assert Look(client)() is Sight.ENDED
    assert client.gettimeout() == timeout


def test_a_closed_socket_is_no_connection(pair: Pair) -> None:
    client, _ = pair
    client.close()
    assert Look(client)() is Sight.UNKNOWN


def test_what_has_no_descriptor_cannot_be_looked_at() -> None:
    class Channel:
        def fileno(self) -> int:
            raise OSError("no descriptor")

    assert Look(Channel())() is Sight.UNKNOWN  # type: ignore[arg-type]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no poll to take away")
def test_without_poll_select_does_it(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    client, peer = pair
    monkeypatch.delattr(select, "poll")
    look = Look(client)
    assert look() is Sight.QUIET
    peer.close()
    wait_until_something_happened(client)
    assert look() is Sight.ENDED


# -- over TLS


@pytest.fixture
def tls_pair(
    pair: Pair, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> Iterator[tuple[ssl.SSLSocket, ssl.SSLSocket]]:
    made: list[ssl.SSLSocket] = []
    thread = threading.Thread(target=lambda: made.append(server_tls.wrap_socket(pair[1], server_side=True)))
    thread.start()
    client = client_tls.wrap_socket(pair[0], server_hostname="localhost")
    thread.join()
    with client, made[0]:
        yield client, made[0]


def test_session_tickets_are_no_answer(tls_pair: tuple[ssl.SSLSocket, ssl.SSLSocket]) -> None:
    client, _ = tls_pair
    assert client.version() == "TLSv1.3"
    wait_until_something_happened(client)  # the tickets
    look = Look(client)
    assert [look(), look()] == [Sight.QUIET] * 2
    assert client.gettimeout() is None


def test_close_notify_is_an_end(tls_pair: tuple[ssl.SSLSocket, ssl.SSLSocket]) -> None:
    client, peer = tls_pair
    assert Look(client)() is Sight.QUIET
    peer.settimeout(0)
    with pytest.raises(ssl.SSLWantReadError):
        peer.unwrap()  # sends close_notify; ours never comes
    wait_until_something_happened(client)
    assert Look(client)() is Sight.ENDED


def test_a_fin_without_close_notify_is_an_end(tls_pair: tuple[ssl.SSLSocket, ssl.SSLSocket]) -> None:
    client, peer = tls_pair
    assert Look(client)() is Sight.QUIET
    peer.close()
    wait_until_something_happened(client)
    assert Look(client)() is Sight.ENDED


def test_application_data_is_bytes(tls_pair: tuple[ssl.SSLSocket, ssl.SSLSocket]) -> None:
    client, peer = tls_pair
    wait_until_something_happened(client)  # the tickets
    assert Look(client)() is Sight.QUIET
    peer.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    wait_until_something_happened(client)
    assert Look(client)() is Sight.BYTES


def test_bytes_that_openssl_holds_already_are_bytes(tls_pair: tuple[ssl.SSLSocket, ssl.SSLSocket]) -> None:
    client, peer = tls_pair
    peer.sendall(b"answer+stray")
    assert client.recv(6) == b"answer"
    assert client.pending() == 6
    assert Look(client)() is Sight.BYTES


class WithoutGettimeout:
    """As urllib3 wraps a pyOpenSSL connection."""

    def __init__(self, tls: ssl.SSLSocket) -> None:
        self.socket = tls
        self.fileno, self.recv = tls.fileno, tls.recv
        self.settimeout, self.pending = tls.settimeout, tls.pending


def test_a_socket_that_does_not_tell_its_timeout_is_looked_at_and_keeps_it(
    tls_pair: tuple[ssl.SSLSocket, ssl.SSLSocket],
) -> None:
    client, _ = tls_pair
    client.settimeout(7.0)
    wait_until_something_happened(client)  # the tickets
    assert Look(WithoutGettimeout(client))() is Sight.QUIET
    assert client.gettimeout() == 7.0
