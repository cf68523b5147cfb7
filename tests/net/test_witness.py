"""One request on a reused connection, and a peer that ends it in every order there is.

Each peer keeps its own ledger: what it *read* decides whether the witness was right.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from holdfast._core.delivery import Delivery
from holdfast._core.evidence import CLOSE, CLOSE_WAIT
from holdfast._net.reading import Tap
from holdfast._net.tcp_info import ask, snapshot
from holdfast.errors import StrayAnswerError
from holdfast.vocabulary import Evidence, Progress

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="TCP_INFO as Linux has it")

REQUEST = b"POST /pay HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"
FIRST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Wire:
    """A connection that has carried one request, and both ends of it."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client, self.server = client, server
        self.delivery = Delivery()
        self.delivery.needs_proof = True
        client.sendall(FIRST)
        self.server_reads(FIRST)
        server.sendall(ANSWER)
        assert (
            client.recv(len(ANSWER), 0 if isinstance(client, ssl.SSLSocket) else socket.MSG_WAITALL) == ANSWER
        )
        wait_for(lambda: told(client).quiet)
        self.stream = watched(client, self.delivery)

    def server_reads(self, expected: bytes) -> None:
        got = b""
        while len(got) < len(expected):
            data = self.server.recv(len(expected) - len(got))
            assert data
            got += data
        assert got == expected

    def send(self, *parts: bytes) -> None:
        for part in parts or (REQUEST,):
            self.client.sendall(part)
            self.delivery.sends += 1
            self.delivery.handed_over += len(part)
        self.delivery.complete = True

    def reset(self) -> None:
        self.server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raw = self.server
        # close(), not unwrap(): a reset sends no close_notify.
        raw.close()

    def judge(self) -> Evidence:
        """Reads what comes in place of an answer, as http.client does."""
        with contextlib.suppress(ConnectionError):
            assert self.stream.read(1) == b""
        return self.delivery.evidence


def watched(sock: socket.socket, delivery: Delivery) -> Any:
    """The stream that an answer is read from. To be made before the request goes out."""
    tap, before = Tap.into(sock), ask(sock)
    assert tap is not None
    assert before is not None
    stream = tap.makefile("rb")
    stream.raw.asked = (before, delivery)
    return stream


def told(sock: socket.socket) -> Any:
    snap = snapshot(sock)
    assert snap is not None
    return snap


def is_half_closed(sock: socket.socket) -> bool:
    return bool(told(sock).state == CLOSE_WAIT)


def wait_for(what: Callable[[], object]) -> None:
    until = time.monotonic() + 5
    while not what():
        assert time.monotonic() < until
        time.sleep(0.001)


def as_ssl_error() -> OSError:
    told = ssl.SSLError(ssl.SSL_ERROR_SYSCALL, "[SSL: UNEXPECTED_EOF_WHILE_READING] unexpected eof")
    told.reason = "UNEXPECTED_EOF_WHILE_READING"
    return told


def as_broken_pipe() -> OSError:
    return BrokenPipeError(errno.EPIPE, "Broken pipe")


def end_is_told(monkeypatch: pytest.MonkeyPatch, as_what: Callable[[], OSError]) -> None:
    """As Python 3.14 with OpenSSL 3.6 may tell the end of a stream."""
    read = ssl.SSLSocket.read

    def told_otherwise(sock: ssl.SSLSocket, *args: Any) -> Any:
        try:
            return read(sock, *args)
        except ssl.SSLEOFError:
            raise as_what() from None

    monkeypatch.setattr(ssl.SSLSocket, "read", told_otherwise)


@pytest.fixture(params=["plain", "tls-1.2", "tls-1.3", "tls-1.3, SSLError", "tls-1.3, EPIPE"])
def wire(
    request: Any, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Wire]:
    if "," in request.param:
        end_is_told(monkeypatch, as_ssl_error if "SSLError" in request.param else as_broken_pipe)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client: socket.socket = socket.create_connection(listener.getsockname(), timeout=5)
        server: socket.socket = listener.accept()[0]
    server.settimeout(5)
    if request.param != "plain":
        client, server = shake_hands(client, server, server_tls, client_tls, request.param)
    with client, server:
        made = Wire(client, server)
        with made.stream:
            yield made


def shake_hands(
    client: socket.socket,
    server: socket.socket,
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
    version: str,
) -> tuple[ssl.SSLSocket, ssl.SSLSocket]:
    made: list[ssl.SSLSocket] = []
    thread = threading.Thread(target=lambda: made.append(server_tls.wrap_socket(server, server_side=True)))
    thread.start()
    context = client_tls
    if version == "tls-1.2":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    secure = context.wrap_socket(client, server_hostname="localhost")
    thread.join()
    return secure, made[0]


# -- who closed first


def test_a_fin_before_the_request_and_the_reset_that_answers_it(wire: Wire) -> None:
    wire.server.close()
    wait_for(lambda: told(wire.client).state == CLOSE_WAIT)
    wire.send()
    assert wire.judge() is Evidence.FIN_BEFORE_REQUEST
    assert wire.delivery.progress is Progress.PEER_CLOSED_FIRST


def test_also_where_the_reset_came_before_anybody_looked(wire: Wire) -> None:
    wire.server.close()
    wait_for(lambda: told(wire.client).state == CLOSE_WAIT)
    wire.send()
    wait_for(lambda: told(wire.client).state == CLOSE)
    assert wire.judge() is Evidence.FIN_BEFORE_REQUEST


def test_a_request_in_several_sends_is_proved_as_well(wire: Wire) -> None:
    wire.server.close()
    wait_for(lambda: told(wire.client).state == CLOSE_WAIT)
    # The reset may come between the two; then the second send fails and nothing is claimed.
    try:
        wire.send(REQUEST[:-1], REQUEST[-1:])
    except OSError:
        assert not wire.delivery.complete
        return
    assert wire.judge() in (Evidence.FIN_BEFORE_REQUEST, Evidence.UNCLEAR_QUEUE)


def test_what_somebody_else_sent_after_the_note_was_taken_proves_nothing_once_it_was_acknowledged(
    wire: Wire,
) -> None:
    """The note may be as old as the answer before."""
    wire.client.sendall(b"foreign")
    wire.server_reads(b"foreign")
    wait_for(lambda: told(wire.client).quiet)
    wire.server.close()
    wait_for(lambda: told(wire.client).state == CLOSE_WAIT)
    wire.send()
    assert wire.judge() is Evidence.ACKNOWLEDGED


def test_where_it_was_not_the_peer_had_hung_up_before_either_of_them(wire: Wire) -> None:
    wire.server.close()
    wait_for(lambda: told(wire.client).state == CLOSE_WAIT)
    wire.client.sendall(b"foreign")
    try:
        wire.send()
    except OSError:
        assert not wire.delivery.complete  # the reset was faster
        return
    assert wire.judge() in (Evidence.FIN_BEFORE_REQUEST, Evidence.UNCLEAR_QUEUE)


def test_a_peer_that_read_all_and_reset_at_once_has_not_hung_up_before(wire: Wire) -> None:
    wire.send()
    wire.server_reads(REQUEST)
    wire.reset()
    assert wire.judge() is not Evidence.FIN_BEFORE_REQUEST
    assert wire.delivery.progress is Progress.MAYBE_PROCESSED


def test_nor_one_that_read_all_and_closed(wire: Wire) -> None:
    wire.send()
    wire.server_reads(REQUEST)
    wire.server.close()
    assert wire.judge() in (Evidence.ACKNOWLEDGED, Evidence.NO_FIN)
    assert wire.delivery.progress is Progress.MAYBE_PROCESSED


def test_nor_one_that_read_a_part_and_reset(wire: Wire) -> None:
    wire.send()
    assert wire.server.recv(1)
    wire.reset()
    assert wire.judge() is not Evidence.FIN_BEFORE_REQUEST


def test_nor_one_that_crashed_with_the_request_unread(wire: Wire) -> None:
    """It is not executed, but no kernel can tell: a reset looks the same after reading."""
    wire.send()
    wait_for(lambda: wire.server.fileno() >= 0)
    wire.reset()
    assert wire.judge() is not Evidence.FIN_BEFORE_REQUEST


def test_nor_one_that_half_closed_and_reads_on(wire: Wire) -> None:
    socket.socket.shutdown(wire.server, socket.SHUT_WR)
    wait_for(lambda: told(wire.client).state == CLOSE_WAIT)
    wire.send()
    assert wire.judge() in (Evidence.ACKNOWLEDGED, Evidence.NOT_OVER)
    assert wire.delivery.progress is Progress.MAYBE_PROCESSED


def test_the_documented_limit_a_peer_that_half_closes_executes_and_aborts_is_believed(
    server_tls: ssl.SSLContext,
) -> None:
    """docs/explanation/how-far.md says so: from here it looks like a peer that was gone. It must read
    the request and abort before its kernel acknowledges it, which takes a peer made for it."""
    claimed = executed = 0
    for _ in range(20):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.create_connection(listener.getsockname(), timeout=5)
            server, _ = listener.accept()
        with client, server:
            wire = Wire(client, server)
            server.shutdown(socket.SHUT_WR)
            wait_for(functools.partial(is_half_closed, client))
            server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            wire.send()
            executed += server.recv(1_000) == REQUEST
            server.close()
            claimed += wire.judge() is Evidence.FIN_BEFORE_REQUEST
            wire.stream.close()
    assert executed == 20
    assert claimed > 0, "the limit is gone: say so in the docs, and turn this test around"


def test_who_needs_no_proof_is_not_kept_waiting_for_one(wire: Wire) -> None:
    wire.delivery.needs_proof = False
    wire.server.close()
    wait_for(lambda: told(wire.client).state == CLOSE_WAIT)
    wire.send()
    assert wire.judge() is Evidence.NOT_ASKED


def test_an_incomplete_request_is_not_asked_about(wire: Wire) -> None:
    wire.server.close()
    wait_for(lambda: told(wire.client).state == CLOSE_WAIT)
    wire.send()
    wire.delivery.complete = False
    assert wire.judge() is Evidence.NOT_ASKED


def test_there_is_nothing_to_ask_without_a_kernel_that_tells() -> None:
    one, other = socket.socketpair()
    with one, other:
        assert ask(one) is None


@pytest.mark.parametrize("size", [0, 1, 104, 120, 124, 128, 136, 144, 148, 151])
@pytest.mark.parametrize("end", ["an answer", "a fin", "a reset"])
def test_a_kernel_that_tells_less_refuses_nothing_and_proves_nothing(size: int, end: str) -> None:
    """TCP_INFO has grown over the years: bytes_acked came with Linux 4.1, min_rtt with 4.6."""

    class Old(socket.socket):
        def getsockopt(self, level: int, option: int, length: int = 0) -> Any:
            answer: Any = super().getsockopt(level, option, length)
            return answer if isinstance(answer, int) else answer[:size]

    with socket.create_server(("127.0.0.1", 0)) as listener:
        new = socket.create_connection(listener.getsockname())
        client = Old(fileno=new.detach())
        client.settimeout(5)
        server, _ = listener.accept()
    with client, server:
        before, delivery, tap = ask(client), Delivery(), Tap.into(client)
        delivery.needs_proof = True
        assert tap is not None
        with tap.makefile("rb") as stream:
            stream.raw.asked = None if before is None else (before, delivery)
            client.sendall(REQUEST)
            delivery.sends, delivery.complete, delivery.handed_over = 1, True, len(REQUEST)
            assert server.recv(1_000) == REQUEST
            if end == "an answer":
                server.sendall(ANSWER)
                assert stream.read(len(ANSWER)) == ANSWER
            elif end == "a fin":
                server.close()
                assert stream.read(1) == b""
            else:
                server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                server.close()
                with pytest.raises(ConnectionResetError):
                    stream.read(1)
    assert delivery.progress is Progress.MAYBE_PROCESSED
    assert delivery.evidence in (Evidence.UNKNOWN_HERE, Evidence.NOT_ASKED)


# -- causality


def test_what_was_sent_before_the_request_came_is_not_its_answer(wire: Wire) -> None:
    """Nothing of the request was sent yet, so nothing is acknowledged."""
    wire.server.sendall(ANSWER)
    with pytest.raises(StrayAnswerError, match="left the peer before it had the request"):
        wire.stream.read(len(ANSWER))
    assert wire.delivery.evidence is Evidence.STRAY
    assert wire.stream.raw.received == 0


def test_a_stray_answer_with_a_fin_behind_it_proves_that_the_peer_had_hung_up(wire: Wire) -> None:
    """The idle 408 of HAProxy."""
    wire.server.sendall(ANSWER)
    wire.server.close()
    wait_for(lambda: told(wire.client).state == CLOSE_WAIT)
    wire.send()
    wait_for(lambda: told(wire.client).state == CLOSE)
    with pytest.raises(StrayAnswerError):
        wire.stream.read(len(ANSWER))
    assert wire.delivery.evidence is Evidence.FIN_BEFORE_REQUEST
    assert wire.delivery.progress is Progress.PEER_CLOSED_FIRST


def test_an_answer_is_an_answer(wire: Wire) -> None:
    wire.send()
    wire.server_reads(REQUEST)
    wire.server.sendall(ANSWER)
    assert wire.stream.read(len(ANSWER)) == ANSWER
    assert wire.delivery.evidence is Evidence.NOT_ASKED


def test_no_good_answer_is_refused_over_thousands(wire: Wire) -> None:
    """As fast as loopback goes, which is where a wrong margin would show."""
    rounds = 500 if isinstance(wire.client, ssl.SSLSocket) else 1_500

    def serve() -> None:
        for _ in range(rounds):
            wire.server_reads(REQUEST)
            wire.server.sendall(ANSWER)

    thread = threading.Thread(target=serve)
    thread.start()
    for _ in range(rounds):
        delivery = Delivery()
        delivery.needs_proof = True
        with watched(wire.client, delivery) as stream:
            wire.client.sendall(REQUEST)
            delivery.sends, delivery.complete = 1, True
            assert stream.read(len(ANSWER)) == ANSWER
    thread.join()
