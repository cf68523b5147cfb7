"""An answer that ended too early is never a success; one that its server ended so is.

Over TLS a reset reads as an end of file in Python, and so does a FIN without close_notify, which many
servers send at the end of a body that only the end delimits.
"""

from __future__ import annotations

import contextlib
import fcntl
import socket
import ssl
import struct
import sys
import termios
import time
from typing import Any

import pytest
import requests
import trustme
import urllib3
from scripted import Peer, read_request
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError
from urllib3.util.retry import Retry

import holdfast
from holdfast import Cause, EndedBy, Policy, Progress, RetryPolicy

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a reset from a FIN below TLS")
WIRES = ["plain", "tls-1.2", "tls-1.3"]
HOWS = ["urlopen", "streamed", "read in pieces", "requests", "requests streamed"]

CUTS = {
    "inside the status line": b"HTTP/1.1 2",
    "inside a header line": b"HTTP/1.1 200 OK\r\nContent-Le",
    "after the status line": b"HTTP/1.1 200 OK\r\n",
    "after a header line": b"HTTP/1.1 200 OK\r\nX-Some: thing\r\n",
    "before the body": b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
    "inside the body": b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 500,
    "one byte before the end": b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 999,
    "inside a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n" + b"x" * 50,
    "between chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nxx\r\n",
    "inside the last chunk's line": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nxx\r\n0",
    "inside a body that the end delimits": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * 500,
    "before a body that the end delimits": b"HTTP/1.1 200 OK\r\n\r\n",
}
# With a FIN, that is how their server says that it is all.
ENDS_AS_SOME_SERVERS_DO = {"inside a body that the end delimits", "before a body that the end delimits"}
# http.client takes the end of the stream at a line boundary for the end of the head.
CUT_BETWEEN_LINES = {"after the status line", "after a header line"}


@pytest.fixture(params=WIRES)
def wire(request: Any, authority: trustme.CA, server_tls: ssl.SSLContext) -> Any:
    """The context of the server and of the client."""
    if request.param == "plain":
        return None, None
    client_side = ssl.create_default_context()
    authority.configure_trust(client_side)
    if request.param == "tls-1.2":
        client_side.maximum_version = ssl.TLSVersion.TLSv1_2
    return server_tls, client_side


class Cutting:
    """Serves the beginning of an answer and ends the connection in one way or another."""

    def __init__(self, answer: bytes, end: str) -> None:
        self.answer, self.end = answer, end

    def __call__(self, sock: Any, number: int) -> None:
        if not read_request(sock):
            return
        sock.sendall(self.answer)
        if self.end == "reset":
            # What was sent shall arrive: the client has read it before the reset goes out.
            self.wait_until_taken(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif self.end == "close_notify" and isinstance(sock, ssl.SSLSocket):
            with contextlib.suppress(OSError, ValueError):
                sock.unwrap()
        sock.close()

    @staticmethod
    def wait_until_taken(sock: Any) -> None:
        until = time.monotonic() + 2
        while struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0" * 4))[0]:
            assert time.monotonic() < until
            time.sleep(0.0005)


QUICK = Policy(retry=RetryPolicy(base_delay=0.0005, max_delay=0.001, attempts=2))


def fetch(peer: Peer, client_side: ssl.SSLContext | None, how: str, method: str = "POST") -> bytes:
    """The body, or an exception."""
    if how.startswith("requests"):
        with requests.Session() as session:
            holdfast.wrap(session, QUICK)
            if client_side is not None:
                adapter: Any = session.get_adapter("https://")
                adapter.init_poolmanager(1, 1, ssl_context=client_side)
            streamed = how == "requests streamed"
            answer = session.request(method, peer.url, data=b"x", stream=streamed)
            return b"".join(answer.iter_content(100)) if streamed else answer.content
    pool: HTTPConnectionPool
    if client_side is None:
        pool = HTTPConnectionPool(peer.host, peer.port, retries=False)
    else:
        pool = HTTPSConnectionPool(peer.host, peer.port, ssl_context=client_side, retries=False)
    with holdfast.wrap(pool, QUICK):
        if how == "urlopen":
            return pool.request(method, "/", body=b"x").data
        response = pool.urlopen(method, "/", body=b"x", preload_content=False)
        try:
            if how == "streamed":
                return response.read()
            return b"".join(iter(lambda: response.read(100), b""))
        finally:
            response.close()


def cuts_for(how: str) -> list[str]:
    """requests sees what urllib3 does; a session takes its time to be made."""
    few = ["inside a header line", "inside the body", "between chunks", "inside a body that the end delimits"]
    return few if how.startswith("requests") else list(CUTS)


def end_of(
    wire: Any, how: str, answer: bytes, end: str
) -> tuple[bytes | None, holdfast.FailureReport | None]:
    """The body that was taken for the whole, or the report. A POST, so that it is sent once."""
    server_side, client_side = wire
    with Peer(Cutting(answer, end), ssl_context=server_side) as peer:
        try:
            return fetch(peer, client_side, how), None
        except (HTTPError, requests.RequestException) as error:
            return None, holdfast.report(error)
        finally:
            assert peer.connections == 1


@linux
@pytest.mark.parametrize("how", HOWS)
def test_a_reset_is_never_the_end_of_an_answer(wire: Any, how: str) -> None:
    for cut in cuts_for(how):
        body, report = end_of(wire, how, CUTS[cut], "reset")
        assert (cut, body) == (cut, None)
        assert report is not None, cut
        told = (cut, report.progress, report.ended_by, report.cause)
        assert told == (cut, Progress.RESPONSE_STARTED, EndedBy.RESET, Cause.CUT_RESPONSE)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("end", ["fin", "close_notify"])
def test_nor_is_a_fin_where_more_was_promised(wire: Any, end: str, how: str) -> None:
    for cut in cuts_for(how):
        if cut not in ENDS_AS_SOME_SERVERS_DO:
            body, report = end_of(wire, how, CUTS[cut], end)
            assert (cut, body) == (cut, None)
            assert report is not None, cut
            told = (cut, report.progress, report.ended_by, report.cause)
            assert told == (cut, Progress.RESPONSE_STARTED, EndedBy.FIN, Cause.CUT_RESPONSE)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("end", ["fin", "close_notify"])
def test_a_fin_ends_what_only_the_end_delimits(wire: Any, end: str, how: str) -> None:
    """As bare: also without a close_notify, which Node and others never send."""
    for cut in ENDS_AS_SOME_SERVERS_DO.intersection(cuts_for(how)):
        body, _ = end_of(wire, how, CUTS[cut], end)
        assert (cut, body) == (cut, b"x" * 500 if "inside" in cut else b"")


@pytest.mark.parametrize("cut", sorted(CUT_BETWEEN_LINES))
def test_a_head_without_its_empty_line_is_taken_on_demand_but_not_after_a_reset(wire: Any, cut: str) -> None:
    """Some old servers mean it so."""
    server_side, client_side = wire
    trusting = Policy(accept_cut_heads=True)
    for end, taken in (("fin", True), ("close_notify", True), ("reset", False)):
        with Peer(Cutting(CUTS[cut], end), ssl_context=server_side) as peer:
            manager = holdfast.wrap(urllib3.PoolManager(ssl_context=client_side, retries=False), trusting)
            try:
                assert manager.request("POST", peer.url, body=b"x").data == b""
            except HTTPError:
                assert not taken
            else:
                assert taken or sys.platform != "linux"
            manager.clear()


@linux
@pytest.mark.parametrize("cut", ["inside a header line", "inside the body", "inside a chunk"])
def test_a_safe_request_is_asked_again(wire: Any, cut: str) -> None:
    server_side, client_side = wire
    cutting = Cutting(CUTS[cut], "reset")

    def handler(sock: Any, number: int) -> None:
        if number == 1:
            cutting(sock, number)
        elif read_request(sock):
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")

    with Peer(handler, ssl_context=server_side) as peer:
        assert fetch(peer, client_side, "urlopen", "GET") == b"ok"
        assert peer.connections == 2


@linux
@pytest.mark.parametrize("retries", [None, 3, Retry(3, backoff_factor=0)])
def test_a_post_whose_answer_was_cut_is_not_sent_again(wire: Any, retries: Any) -> None:
    server_side, client_side = wire
    for cut in CUTS.values():
        with Peer(Cutting(cut, "reset"), ssl_context=server_side) as peer:
            manager = urllib3.PoolManager(ssl_context=client_side)
            with holdfast.wrap(manager), pytest.raises(HTTPError):
                manager.request("POST", peer.url, body=b"x", retries=retries)
            assert peer.connections == 1
