"""What the server does when nothing is wrong: RFC 9112 as far as clients lean on it."""

from __future__ import annotations

import http.client
import socket

import pytest
from raw_client import RawClient, fetch

from holdfast.testing import FaultServer, FaultServerError, Request, Response
from holdfast.testing.fixtures import StartFaultServer


def test_an_answer_names_the_request_it_answers(fault_server: StartFaultServer) -> None:
    server = fault_server()
    assert fetch("GET", f"{server.url}/r/17?a=b").data == b"GET /r/17?a=b"


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_every_method_is_executed_and_answered(fault_server: StartFaultServer, method: str) -> None:
    server = fault_server()
    assert fetch(method, f"{server.url}/r").data == f"{method} /r".encode()
    assert server.ledger.count(method, "/r") == 1


def test_a_head_answer_announces_a_body_and_has_none(fault_server: StartFaultServer) -> None:
    server = fault_server()
    with RawClient(server) as client:
        client.ask("HEAD", "/r", "Connection: close")
        assert (
            client.read_to_the_end() == b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 7\r\n\r\n"
        )


def test_requests_of_one_connection_are_served_in_turn(fault_server: StartFaultServer) -> None:
    server = fault_server()
    with RawClient(server) as client:
        assert client.answer_to("GET", "/1").endswith(b"GET /1")
        assert client.answer_to("GET", "/2").endswith(b"GET /2")
    assert [(entry.target, entry.connection) for entry in server.ledger] == [("/1", 1), ("/2", 1)]


def test_pipelined_requests_are_answered_in_order(fault_server: StartFaultServer) -> None:
    server = fault_server()
    with RawClient(server) as client:
        client.send("GET /1 HTTP/1.1\n\nGET /2 HTTP/1.1\n\n")
        assert client.read_answer().endswith(b"GET /1")
        assert client.read_answer().endswith(b"GET /2")


def test_a_body_is_in_the_ledger_however_it_was_framed(fault_server: StartFaultServer) -> None:
    server = fault_server()
    body = b"0123456789" * 50_000
    connection = http.client.HTTPConnection(server.host, server.port)
    connection.request("POST", "/length", body=body)
    connection.getresponse().read()
    connection.request("POST", "/chunks", body=iter([body[:70_000], body[70_000:]]), encode_chunked=True)
    connection.getresponse().read()
    connection.close()
    assert [entry.body for entry in server.ledger] == [body, body]


def test_an_idempotency_key_and_the_headers_are_in_the_ledger(fault_server: StartFaultServer) -> None:
    server = fault_server()
    fetch("POST", f"{server.url}/r", headers={"Idempotency-Key": "k-1", "X-Two": "2"})
    (entry,) = server.ledger
    assert entry.key == "k-1"
    assert entry.headers["x-two"] == "2"


def test_who_expects_a_100_gets_it_before_the_body(fault_server: StartFaultServer) -> None:
    server = fault_server()
    with RawClient(server) as client:
        client.send("POST /r HTTP/1.1\nContent-Length: 4\nExpect: 100-continue\n\n")
        assert client.sock.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert server.ledger.count("POST", "/r") == 0
        client.send("body")
        assert client.read_answer().endswith(b"POST /r")


@pytest.mark.parametrize(
    ("request_lines", "stays"),
    [
        ("GET / HTTP/1.1\n\n", True),
        ("GET / HTTP/1.1\nConnection: close\n\n", False),
        ("GET / HTTP/1.1\nConnection: te, Close\n\n", False),
        ("GET / HTTP/1.0\n\n", False),
        ("GET / HTTP/1.0\nConnection: Keep-Alive\n\n", True),
    ],
)
def test_the_connection_stays_or_goes_as_rfc_9112_says(
    fault_server: StartFaultServer, request_lines: str, stays: bool
) -> None:
    server = fault_server()
    with RawClient(server) as client:
        client.send(request_lines)
        answer = client.read_answer()
        assert (b"Connection: close" in answer) is not stays
        if stays:
            client.send(request_lines)
            assert client.read_answer() == answer
        else:
            assert client.read_to_the_end() == b""


def test_an_http_1_0_client_that_may_stay_is_told_so(fault_server: StartFaultServer) -> None:
    server = fault_server()
    with RawClient(server) as client:
        client.send("GET / HTTP/1.0\nConnection: keep-alive\n\n")
        assert b"Connection: keep-alive" in client.read_answer()


def test_headers_are_added_to_every_answer(fault_server: StartFaultServer) -> None:
    server = fault_server(headers={"Keep-Alive": "timeout=5, max=100"})
    with RawClient(server) as client:
        assert b"Keep-Alive: timeout=5, max=100\r\n" in client.answer_to("GET", "/1")
        assert b"Keep-Alive: timeout=5, max=100\r\n" in client.answer_to("GET", "/2")


def test_a_last_answer_gives_no_keep_alive_hint(fault_server: StartFaultServer) -> None:
    server = fault_server(headers={"keep-alive": "timeout=5"})
    with RawClient(server) as client:
        assert b"timeout" not in client.answer_to("GET", "/", "Connection: close")


def test_a_hint_that_must_be_asked_for_is_not_given_unasked(fault_server: StartFaultServer) -> None:
    server = fault_server(headers={"Keep-Alive": "timeout=5"}, keep_alive_only_if_asked=True)
    with RawClient(server) as client:
        assert b"Keep-Alive" not in client.answer_to("GET", "/1")
        asked = client.answer_to("GET", "/2", "Connection: keep-alive")
        assert b"Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n" in asked


def test_respond_replaces_the_answer(fault_server: StartFaultServer) -> None:
    def respond(request: Request) -> Response:
        return Response(503, {"Retry-After": "1"}, f"not now, {request.target}".encode())

    server = fault_server(respond=respond)
    answer = fetch("GET", f"{server.url}/r")
    assert (answer.status, answer.headers["Retry-After"], answer.data) == (503, "1", b"not now, /r")


def test_a_response_that_says_close_is_the_last_one(fault_server: StartFaultServer) -> None:
    server = fault_server(respond=lambda _: Response(headers={"connection": "close"}))
    with RawClient(server) as client:
        client.answer_to("GET", "/")
        assert client.read_to_the_end() == b""


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_body_has_none(fault_server: StartFaultServer, status: int) -> None:
    server = fault_server(respond=lambda _: Response(status, body=b"left out"))
    with RawClient(server) as client:
        client.ask("GET", "/", "Connection: close")
        answer = client.read_to_the_end()
    assert answer.endswith(b"\r\nConnection: close\r\n\r\n")
    assert b"Content-Length" not in answer


def test_a_response_may_frame_itself(fault_server: StartFaultServer) -> None:
    chunked = Response(headers={"Transfer-Encoding": "chunked"}, body=b"3\r\nabc\r\n0\r\n\r\n")
    server = fault_server(respond=lambda _: chunked)
    assert fetch("GET", server.url).data == b"abc"


def test_an_error_in_respond_is_raised_by_stop() -> None:
    def respond(_: Request) -> Response:
        raise FileNotFoundError("fixture.json")

    server = FaultServer(respond=respond).start()
    with RawClient(server) as client:
        client.ask("GET", "/r")
        assert client.read_to_the_end() == b""
    with pytest.raises(FaultServerError, match=r"1 of 1 connections failed.*GET /r.*fixture\.json"):
        server.stop()


@pytest.mark.parametrize(
    "nonsense",
    [
        "HELLO\n\n",
        "GET / HTTP/2.0\n\n",
        "GET / HTTP/1.1\nno colon\n\n",
        "GET / HTTP/1.1\nContent-Length: -1\n\n",
        "POST / HTTP/1.1\nTransfer-Encoding: chunked\n\nxyz\n",
        "POST / HTTP/1.1\nTransfer-Encoding: chunked\n\n1\nab\n",
    ],
)
def test_what_is_no_http_gets_a_400_and_is_raised_by_stop(nonsense: str) -> None:
    server = FaultServer().start()
    with RawClient(server) as client:
        client.send(nonsense)
        assert client.sock.recv(65536).startswith(b"HTTP/1.1 400 ")
    with pytest.raises(FaultServerError, match="does not speak HTTP"):
        server.stop()


def test_a_client_that_leaves_inside_a_request_is_no_error_and_no_execution(
    fault_server: StartFaultServer,
) -> None:
    server = fault_server()
    with RawClient(server) as client:
        client.send("POST / HTTP/1.1\nContent-Length: 10\n\nhalf")
        client.sock.shutdown(socket.SHUT_WR)
        assert client.read_to_the_end() == b""
    assert len(server.ledger) == 0


def test_the_trailer_fields_of_a_chunked_request_are_read(fault_server: StartFaultServer) -> None:
    server = fault_server()
    with RawClient(server) as client:
        client.send("POST /r HTTP/1.1\nTransfer-Encoding: chunked\n\n3;ext=1\nabc\n0\nDigest: x\n\n")
        assert client.read_answer().endswith(b"POST /r")
        assert client.answer_to("GET", "/next").endswith(b"GET /next")
    assert server.ledger[0].body == b"abc"


def test_a_connect_request_is_refused_where_no_tunnel_is_served(fault_server: StartFaultServer) -> None:
    server = fault_server()
    with RawClient(server) as client:
        client.ask("CONNECT", "localhost:443")
        assert client.read_to_the_end().startswith(b"HTTP/1.1 405 ")
    assert (len(server.ledger), server.tunnels) == (0, 0)
