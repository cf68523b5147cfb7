"""Each fault is what its value says, seen from a bare socket; then what urllib3 makes of some."""

from __future__ import annotations

import socket

import pytest
import urllib3
from raw_client import RawClient, fetch

from holdfast.testing import STRAY_BODY, Fault, FaultServer, on_fresh, on_reuse
from holdfast.testing.fixtures import StartFaultServer

UNANSWERED = [Fault.READ_THEN_CLOSE, Fault.READ_THEN_RESET]
IDLE = [
    Fault.CLOSE_WHILE_IDLE,
    Fault.HALF_CLOSE_WHILE_IDLE,
    Fault.RESET_WHILE_IDLE,
    Fault.IDLE_408,
    Fault.STRAY_BYTES_WHILE_IDLE,
]


def executed(server: FaultServer) -> list[str]:
    return [entry.target for entry in server.ledger]


# While idle


@pytest.mark.parametrize("fault", IDLE)
def test_an_idle_fault_answers_first_and_promises_to_stay(
    fault_server: StartFaultServer, fault: Fault
) -> None:
    server = fault_server(on_fresh(fault))
    with RawClient(server) as client:
        answer = client.answer_to("GET", "/r")
        assert answer.endswith(b"GET /r")
        assert b"close" not in answer
        server.settle()
    assert executed(server) == ["/r"]


@pytest.mark.parametrize("fault", IDLE)
def test_once_settled_every_idle_fault_shows_on_the_socket(
    fault_server: StartFaultServer, fault: Fault
) -> None:
    server = fault_server(*[on_fresh(fault)] * 50)
    for _ in range(50):
        with RawClient(server) as client:
            client.answer_to("GET", "/r")
            server.settle()
            assert client.is_readable()


def test_close_while_idle_is_a_fin(fault_server: StartFaultServer) -> None:
    server = fault_server(on_fresh(Fault.CLOSE_WHILE_IDLE))
    with RawClient(server) as client:
        client.answer_to("GET", "/r")
        server.settle()
        assert client.read_to_the_end() == b""


def test_half_close_while_idle_swallows_what_comes_after(fault_server: StartFaultServer) -> None:
    server = fault_server(on_fresh(Fault.HALF_CLOSE_WHILE_IDLE))
    with RawClient(server) as client:
        client.answer_to("GET", "/1")
        server.settle()
        for _ in range(3):
            client.ask("GET", "/2")
        assert client.read_to_the_end() == b""
    assert executed(server) == ["/1"]


def test_reset_while_idle_is_a_reset(fault_server: StartFaultServer) -> None:
    server = fault_server(on_fresh(Fault.RESET_WHILE_IDLE))
    with RawClient(server) as client:
        client.answer_to("GET", "/r")
        server.settle()
        with pytest.raises(ConnectionResetError):
            client.sock.recv(1)


def test_an_idle_408_says_goodbye_and_closes(fault_server: StartFaultServer) -> None:
    server = fault_server(on_fresh(Fault.IDLE_408))
    with RawClient(server) as client:
        client.answer_to("GET", "/r")
        server.settle()
        last_words = client.read_to_the_end()
    assert last_words.startswith(b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n")


def test_stray_bytes_while_idle_leave_the_connection_open(fault_server: StartFaultServer) -> None:
    server = fault_server(on_fresh(Fault.STRAY_BYTES_WHILE_IDLE))
    with RawClient(server) as client:
        client.answer_to("GET", "/1")
        server.settle()
        client.ask("GET", "/2")
        assert client.read_answer().endswith(STRAY_BODY)
        assert client.read_answer().endswith(b"GET /2")


def test_stray_bytes_while_idle_are_never_read_along_with_the_answer(fault_server: StartFaultServer) -> None:
    server = fault_server(*[on_fresh(Fault.STRAY_BYTES_WHILE_IDLE)] * 50)
    for _ in range(50):
        with RawClient(server) as client:
            client.ask("GET", "/r")
            assert client.sock.recv(65536).endswith(b"GET /r")


def test_stray_bytes_after_come_in_one_segment_with_the_answer(fault_server: StartFaultServer) -> None:
    server = fault_server(on_fresh(Fault.STRAY_BYTES_AFTER))
    with RawClient(server) as client:
        client.ask("GET", "/r")
        everything = client.sock.recv(65536)
        assert everything.count(b"HTTP/1.1 200 OK") == 2
        assert everything.endswith(STRAY_BODY)
        assert client.answer_to("GET", "/2").endswith(b"GET /2")


def test_settling_is_immediate_when_nothing_is_pending(fault_server: StartFaultServer) -> None:
    fault_server().settle(timeout=0)


def test_an_answer_left_unread_does_not_settle_and_says_so(fault_server: StartFaultServer) -> None:
    server = fault_server(on_fresh(Fault.CLOSE_WHILE_IDLE))
    with RawClient(server) as client:
        client.ask("GET", "/r")
        client.sock.recv(1)
        with pytest.raises(TimeoutError, match="unread"):
            server.settle(timeout=0.01)


# The request arrives, the answer does not


def test_read_then_close_executes_and_ends_without_a_byte(fault_server: StartFaultServer) -> None:
    server = fault_server(on_fresh(Fault.READ_THEN_CLOSE))
    with RawClient(server) as client:
        client.ask("POST", "/r", body="all of it")
        assert client.read_to_the_end() == b""
    assert server.ledger[0].body == b"all of it"


def test_read_then_reset_executes_and_resets(fault_server: StartFaultServer) -> None:
    server = fault_server(on_fresh(Fault.READ_THEN_RESET))
    with RawClient(server) as client:
        client.ask("POST", "/r", body="all of it")
        with pytest.raises(ConnectionResetError):
            client.sock.recv(1)
    assert server.ledger[0].body == b"all of it"


@pytest.mark.parametrize("body", ["", "half of this"])
def test_read_half_then_reset_executes_nothing(fault_server: StartFaultServer, body: str) -> None:
    server = fault_server(on_fresh(Fault.READ_HALF_THEN_RESET))
    with RawClient(server) as client:
        client.ask("POST", "/r", body=body)
        with pytest.raises(ConnectionResetError):
            client.sock.recv(1)
    assert executed(server) == []


def test_read_half_then_reset_stops_a_large_send_midway(fault_server: StartFaultServer) -> None:
    server = fault_server(on_fresh(Fault.READ_HALF_THEN_RESET))
    with RawClient(server) as client, pytest.raises((ConnectionResetError, BrokenPipeError)):
        client.ask("POST", "/r", body="x" * 32_000_000)
    assert executed(server) == []


def test_read_half_then_reset_cuts_a_chunked_body_in_its_first_chunk(fault_server: StartFaultServer) -> None:
    server = fault_server(on_fresh(Fault.READ_HALF_THEN_RESET))
    with RawClient(server) as client:
        client.send("POST /r HTTP/1.1\nTransfer-Encoding: chunked\n\n5\nhello\n")
        with pytest.raises(ConnectionResetError):
            client.sock.recv(1)
    assert executed(server) == []


def test_read_then_silence_executes_and_says_nothing(fault_server: StartFaultServer) -> None:
    server = fault_server(on_fresh(Fault.READ_THEN_SILENCE))
    with RawClient(server) as client:
        client.ask("GET", "/1")
        client.ask("GET", "/2")
        client.sock.settimeout(0.05)
        with pytest.raises(socket.timeout):
            client.sock.recv(1)
    assert executed(server) == ["/1"]


# The answer begins and does not end


@pytest.mark.parametrize(
    ("fault", "ending"),
    [
        (Fault.CUT_STATUS_LINE, b"HTTP/1.1 2"),
        (Fault.CUT_HEAD, b"\r\nContent-Le"),
        (Fault.CUT_BODY, b"Content-Length: 1000\r\n\r\n" + b"x" * 500),
        (Fault.CUT_CHUNK, b"Transfer-Encoding: chunked\r\n\r\n3e8\r\n" + b"x" * 500),
    ],
)
def test_a_cut_answer_ends_where_it_says(fault_server: StartFaultServer, fault: Fault, ending: bytes) -> None:
    server = fault_server(on_fresh(fault))
    with RawClient(server) as client:
        client.ask("GET", "/r")
        beginning = client.read_to_the_end()
    assert beginning.startswith(b"HTTP/1.1 2")
    assert beginning.endswith(ending)
    assert executed(server) == ["/r"]


# The peer says how it ends


def test_answer_then_close_is_honest(fault_server: StartFaultServer) -> None:
    server = fault_server(on_fresh(Fault.ANSWER_THEN_CLOSE))
    with RawClient(server) as client:
        answer = client.answer_to("GET", "/r")
        assert b"Connection: close" in answer
        assert client.read_to_the_end() == b""


def test_announce_close_and_stay_shows_who_disobeys(fault_server: StartFaultServer) -> None:
    server = fault_server(on_fresh(Fault.ANNOUNCE_CLOSE_AND_STAY))
    with RawClient(server) as client:
        assert b"Connection: close" in client.answer_to("GET", "/1")
        assert b"Connection: close" not in client.answer_to("GET", "/2")
    assert [(entry.target, entry.connection) for entry in server.ledger] == [("/1", 1), ("/2", 1)]


# Plans


@pytest.mark.parametrize("fault", UNANSWERED)
def test_a_fault_on_reuse_lets_the_first_request_pass(fault_server: StartFaultServer, fault: Fault) -> None:
    server = fault_server(on_reuse(fault))
    with RawClient(server) as client:
        assert client.answer_to("GET", "/1").endswith(b"GET /1")
        client.ask("GET", "/2")
        with pytest.raises((ConnectionResetError, AssertionError)):
            client.read_answer()
    assert executed(server) == ["/1", "/2"]


def test_a_plan_and_a_script_run_out_into_good_behaviour(fault_server: StartFaultServer) -> None:
    server = fault_server([Fault.STRAY_BYTES_AFTER])
    with RawClient(server) as client:
        client.answer_to("GET", "/1")
        client.read_answer()
        assert client.answer_to("GET", "/2").endswith(b"GET /2")
    with RawClient(server) as client:
        assert client.answer_to("GET", "/3").endswith(b"GET /3")
        assert not client.is_readable()


def test_a_plan_added_later_is_for_the_next_connection_without_one(fault_server: StartFaultServer) -> None:
    server = fault_server([])
    server.script(Fault.CUT_STATUS_LINE)
    with RawClient(server) as first, RawClient(server) as second:
        assert first.answer_to("GET", "/1").endswith(b"GET /1")
        second.ask("GET", "/2")
        assert second.read_to_the_end() == b"HTTP/1.1 2"


# What urllib3 makes of them


def test_bare_urllib3_takes_a_cut_head_for_an_empty_200(fault_server: StartFaultServer) -> None:
    server = fault_server(on_fresh(Fault.CUT_HEAD))
    answer = fetch("GET", server.url)
    assert (answer.status, answer.data) == (200, b"")


def test_bare_urllib3_never_notices_a_stray_that_was_glued_to_an_answer(
    fault_server: StartFaultServer,
) -> None:
    server = fault_server(on_fresh(Fault.STRAY_BYTES_AFTER))
    with urllib3.HTTPConnectionPool(server.host, server.port) as pool:
        assert pool.request("GET", "/1").data == b"GET /1"
        # The buffer that read the first answer swallowed the stray too, and went away with it.
        assert pool.request("GET", "/2").data == b"GET /2"
    assert server.connections == 1


def test_bare_urllib3_sees_an_idle_408_and_reconnects(fault_server: StartFaultServer) -> None:
    server = fault_server(on_fresh(Fault.IDLE_408))
    with urllib3.HTTPConnectionPool(server.host, server.port) as pool:
        pool.request("GET", "/1")
        server.settle()
        assert pool.request("GET", "/2").data == b"GET /2"
    assert server.connections == 2
