"""Starting, stopping, hanging up, refusing: and nothing is left behind."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from pathlib import Path

import pytest
import urllib3
from raw_client import RawClient, fetch

from holdfast.testing import Fault, FaultServer, FaultServerError, Response, Via, on_fresh, on_reuse
from holdfast.testing.fixtures import StartFaultServer


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# Hanging up


def test_hang_up_closes_a_connection_whose_answer_was_just_read(fault_server: StartFaultServer) -> None:
    server = fault_server()
    for _ in range(50):
        with RawClient(server) as client:
            client.answer_to("GET", "/r")
            assert server.hang_up() == 1
            assert client.is_readable()
            assert client.read_to_the_end() == b""


def test_hang_up_can_reset(fault_server: StartFaultServer) -> None:
    server = fault_server()
    with RawClient(server) as client:
        client.answer_to("GET", "/r")
        server.hang_up(reset=True)
        assert client.is_readable()
        with pytest.raises(ConnectionResetError):
            client.sock.recv(1)


def test_hang_up_reaches_connections_that_were_never_used(fault_server: StartFaultServer) -> None:
    server = fault_server()
    clients = [RawClient(server) for _ in range(20)]
    assert server.hang_up() == 20
    assert [client.read_to_the_end() for client in clients] == [b""] * 20
    for client in clients:
        client.sock.close()


def test_hang_up_reaches_a_tls_connection(
    fault_server: StartFaultServer, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    server = fault_server(ssl_context=server_tls)
    with RawClient(server, client_tls) as fresh, RawClient(server, client_tls) as used:
        used.answer_to("GET", "/r")
        assert server.hang_up() == 2
        assert (fresh.read_to_the_end(), used.read_to_the_end()) == (b"", b"")


@pytest.mark.parametrize("via", [Via.DIRECT, Via.CONNECT])
def test_hang_up_reaches_a_connection_before_its_tls_handshake(
    fault_server: StartFaultServer, server_tls: ssl.SSLContext, via: Via
) -> None:
    server = fault_server(ssl_context=server_tls, via=via)
    with RawClient(server) as client:
        if via is Via.CONNECT:
            client.ask("CONNECT", "localhost:443")
            assert client.sock.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert server.hang_up() == 1
        assert client.read_to_the_end() == b""


def test_hang_up_leaves_a_request_in_progress_alone(fault_server: StartFaultServer) -> None:
    server = fault_server(on_fresh(Fault.READ_THEN_SILENCE))
    with RawClient(server) as client:
        client.ask("GET", "/r")
        while not server.ledger:
            pass
        assert server.hang_up() == 0
        assert not client.is_readable()


def test_hang_up_twice_hangs_up_once(fault_server: StartFaultServer) -> None:
    server = fault_server()
    with RawClient(server) as client:
        client.answer_to("GET", "/r")
        assert (server.hang_up(), server.hang_up()) == (1, 0)


def test_hang_up_ends_an_armed_connection_too(fault_server: StartFaultServer) -> None:
    server = fault_server(on_reuse(Fault.CLOSE_AS_REQUEST_LEAVES))
    with urllib3.HTTPConnectionPool(server.host, server.port) as pool:
        pool.request("GET", "/1")
        assert server.hang_up() == 1
        assert pool.request("GET", "/2").status == 200
    assert server.connections == 2


# Refusing


def test_a_refusing_server_refuses_and_keeps_what_it_has(fault_server: StartFaultServer) -> None:
    server = fault_server()
    port = server.port
    with RawClient(server) as client:
        with server.refusing():
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(server.address)
            assert client.answer_to("GET", "/1").endswith(b"GET /1")
        assert server.port == port
        assert client.answer_to("GET", "/2").endswith(b"GET /2")
    assert fetch("GET", server.url).status == 200
    assert server.connections == 2


def test_nobody_gets_the_port_while_it_refuses(fault_server: StartFaultServer) -> None:
    server = fault_server()
    with server.refusing(), socket.socket() as thief, pytest.raises(OSError, match="in use"):
        thief.bind(server.address)


def test_whoever_connected_before_the_refusal_is_served(fault_server: StartFaultServer) -> None:
    server = fault_server()
    with RawClient(server) as client, server.refusing():
        assert client.answer_to("GET", "/r").endswith(b"GET /r")


def test_a_server_may_stop_while_it_refuses() -> None:
    server = FaultServer().start()
    with server.refusing():
        server.stop()


# Starting and stopping


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors in /proc")
def test_stop_ends_every_thread_and_socket(server_tls: ssl.SSLContext) -> None:
    with FaultServer() as warm_up, RawClient(warm_up) as client:
        client.answer_to("GET", "/r")
        warm_up.hang_up()
    files, threads = open_files(), threading.active_count()
    plain = FaultServer([[], on_fresh(Fault.READ_THEN_SILENCE)]).start()
    secure = FaultServer(ssl_context=server_tls).start()
    clients = [RawClient(plain), RawClient(plain), RawClient(secure)]
    clients[0].answer_to("GET", "/r")
    clients[1].ask("GET", "/r")
    plain.stop()
    secure.stop()
    for client in clients:
        client.sock.close()
    assert (open_files(), threading.active_count()) == (files, threads)


def test_stop_ends_an_answer_nobody_reads() -> None:
    server = FaultServer(respond=lambda _: Response(body=b"x" * 64_000_000)).start()
    with RawClient(server) as client:
        client.ask("GET", "/r")
        client.sock.recv(1)
        server.stop()


def test_stop_may_be_called_again_and_before_start() -> None:
    never_started = FaultServer()
    never_started.stop()
    server = FaultServer().start()
    server.stop()
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(server.address)


def test_a_server_starts_once() -> None:
    with FaultServer() as server, pytest.raises(RuntimeError, match="started before"):
        server.start()


def test_a_server_that_was_not_started_has_no_address() -> None:
    with pytest.raises(RuntimeError, match="start"):
        _ = FaultServer().url


def test_an_error_inside_is_raised_once_with_its_cause() -> None:
    def respond(_: object) -> None:
        return None

    server = FaultServer(respond=respond).start()  # type: ignore[arg-type]
    with RawClient(server) as client:
        client.ask("GET", "/r")
        client.read_to_the_end()
    with pytest.raises(FaultServerError) as caught:
        server.stop()
    assert isinstance(caught.value.__cause__, AttributeError)
    server.stop()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_cannot_stop_the_parents_server(fault_server: StartFaultServer) -> None:
    server = fault_server()
    with RawClient(server) as client:
        client.answer_to("GET", "/1")
        child = os.fork()
        if not child:
            server.stop()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert client.answer_to("GET", "/2").endswith(b"GET /2")


def test_the_repr_says_where_it_is() -> None:
    server = FaultServer()
    assert repr(server) == "<FaultServer not started>"
    with server:
        assert repr(server) == f"<FaultServer {server.url}>"
    assert repr(server) == "<FaultServer stopped>"


# A bad script


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (Fault.NONE, "a script is a sequence of plans.*Fault.NONE"),
        ("NONE", "a script is a sequence of plans.*'NONE'"),
        ([Fault.READ_THEN_RESET], r"plan 1 is Fault.READ_THEN_RESET.*write \[Fault.READ_THEN_RESET\]"),
        ([[], ["READ_THEN_RESET"]], "plan 2 contains 'READ_THEN_RESET'"),
        ([[], "NONE"], "plan 2 is 'NONE'"),
        ([None], "plan 1 is None"),
    ],
)
def test_a_script_of_the_wrong_type_is_refused_at_once(script: object, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        FaultServer(script)  # type: ignore[arg-type]


def test_a_fault_below_tls_needs_tls() -> None:
    with pytest.raises(ValueError, match=r"plan 1 contains Fault\.CORRUPT_TLS_RECORD.*ssl_context"):
        FaultServer([[Fault.CORRUPT_TLS_RECORD]])


def test_a_plan_added_later_is_checked_as_well(fault_server: StartFaultServer) -> None:
    server = fault_server([], [])
    with pytest.raises(ValueError, match="plan 3 contains"):
        server.script(Fault.CORRUPT_TLS_RECORD)


def test_a_clients_tls_context_is_refused(client_tls: ssl.SSLContext) -> None:
    with pytest.raises(ValueError, match="must be a server's"):
        FaultServer(ssl_context=client_tls)


def test_via_must_be_a_via() -> None:
    with pytest.raises(TypeError, match="'forward'"):
        FaultServer(via="forward")  # type: ignore[arg-type]
    assert Via.FORWARD.value
