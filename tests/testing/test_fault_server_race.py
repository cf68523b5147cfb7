"""The peer hangs up between a client's last look and its first byte: every time, with any http.client client."""

from __future__ import annotations

import errno
import http.client
import select
import socket
import ssl
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
import urllib3
from raw_client import RawClient, fetch

from holdfast.testing import Fault, FaultServer, FaultServerError, Plan, Via, on_fresh, on_reuse
from holdfast.testing.fixtures import StartFaultServer

AS_REQUEST_LEAVES = [
    Fault.CLOSE_AS_REQUEST_LEAVES,
    Fault.HALF_CLOSE_AS_REQUEST_LEAVES,
    Fault.RESET_AS_REQUEST_LEAVES,
]
TRIALS = 100


@pytest.mark.parametrize("fault", AS_REQUEST_LEAVES)
def test_every_urllib3_post_runs_into_the_race_and_none_is_executed(
    fault_server: StartFaultServer, fault: Fault
) -> None:
    server = fault_server(*[on_reuse(fault)] * TRIALS)
    for trial in range(TRIALS):
        with urllib3.HTTPConnectionPool(server.host, server.port) as pool:
            assert pool.request("POST", f"/first/{trial}", body=b"x").status == 200
            with pytest.raises(urllib3.exceptions.ProtocolError):
                pool.request("POST", f"/second/{trial}", body=b"x")
    assert len(server.ledger) == TRIALS
    assert all(entry.target.startswith("/first/") for entry in server.ledger)
    assert server.connections == TRIALS


@pytest.mark.parametrize("fault", AS_REQUEST_LEAVES)
def test_the_race_hits_the_first_request_of_a_fresh_connection(
    fault_server: StartFaultServer, fault: Fault
) -> None:
    server = fault_server(*[on_fresh(fault)] * TRIALS)
    for _ in range(TRIALS):
        with (
            urllib3.HTTPConnectionPool(server.host, server.port) as pool,
            pytest.raises(urllib3.exceptions.HTTPError),
        ):
            pool.request("POST", "/r", retries=False)
    assert (len(server.ledger), server.connections) == (0, TRIALS)


def test_the_client_can_have_looked_and_seen_nothing(fault_server: StartFaultServer) -> None:
    server = fault_server(on_reuse(Fault.CLOSE_AS_REQUEST_LEAVES))
    connection = http.client.HTTPConnection(server.host, server.port)
    connection.request("GET", "/1")
    connection.getresponse().read()
    connection.sock.setblocking(False)
    with pytest.raises(BlockingIOError):
        connection.sock.recv(1, socket.MSG_PEEK)
    connection.sock.setblocking(True)
    connection.putrequest("GET", "/2")
    connection.endheaders()
    with pytest.raises(http.client.RemoteDisconnected):
        connection.getresponse()
    connection.close()


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux tells that the FIN came before the answer to our bytes"
)
def test_the_fin_has_arrived_before_the_first_byte_leaves(fault_server: StartFaultServer) -> None:
    server = fault_server(on_reuse(Fault.CLOSE_AS_REQUEST_LEAVES))
    connection = http.client.HTTPConnection(server.host, server.port)
    connection.request("GET", "/1")
    connection.getresponse().read()
    connection.request("GET", "/2")
    ended = select.poll()
    ended.register(connection.sock, 0)
    assert ended.poll(5000)
    # In CLOSE_WAIT, a RST is reported as EPIPE; in ESTABLISHED it would be ECONNRESET.
    error = connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    connection.close()
    assert error == errno.EPIPE


def test_a_half_close_is_never_followed_by_a_reset(fault_server: StartFaultServer) -> None:
    server = fault_server(on_reuse(Fault.HALF_CLOSE_AS_REQUEST_LEAVES))
    connection = http.client.HTTPConnection(server.host, server.port)
    connection.request("GET", "/1")
    connection.getresponse().read()
    connection.request("POST", "/2", body=b"head and body are two sends")
    for _ in range(3):
        connection.sock.sendall(b"GET /3 HTTP/1.1\r\n\r\n")
        assert connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    assert connection.sock.recv(1) == b""
    connection.close()
    assert len(server.ledger) == 1


def test_a_reset_has_arrived_before_the_first_byte_leaves(fault_server: StartFaultServer) -> None:
    server = fault_server(on_reuse(Fault.RESET_AS_REQUEST_LEAVES))
    connection = http.client.HTTPConnection(server.host, server.port)
    connection.request("GET", "/1")
    connection.getresponse().read()
    with pytest.raises(ConnectionResetError):
        connection.request("GET", "/2")
    connection.close()


def test_it_works_through_requests(fault_server: StartFaultServer) -> None:
    server = fault_server(on_reuse(Fault.CLOSE_AS_REQUEST_LEAVES))
    with requests.Session() as session:
        session.trust_env = False
        session.get(f"{server.url}/1")
        with pytest.raises(requests.ConnectionError):
            session.get(f"{server.url}/2")
    assert len(server.ledger) == 1


@pytest.mark.parametrize("plan", [on_fresh, on_reuse])
@pytest.mark.parametrize("fault", AS_REQUEST_LEAVES)
def test_it_works_over_tls(
    fault_server: StartFaultServer,
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
    fault: Fault,
    plan: Callable[[Fault], Plan],
) -> None:
    server = fault_server(*[plan(fault)] * 20, ssl_context=server_tls)
    for _ in range(20):
        with urllib3.HTTPSConnectionPool(server.host, server.port, ssl_context=client_tls) as pool:
            if plan is on_reuse:
                pool.request("POST", "/first")
            with pytest.raises(urllib3.exceptions.HTTPError):
                pool.request("POST", "/second", retries=False)
    assert server.ledger.count("POST", "/second") == 0
    assert server.connections == 20


@pytest.mark.parametrize("tls", [False, True])
def test_in_a_tunnel_it_spares_the_connect_request(
    fault_server: StartFaultServer, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext, tls: bool
) -> None:
    server = fault_server(
        on_fresh(Fault.CLOSE_AS_REQUEST_LEAVES), ssl_context=server_tls if tls else None, via=Via.CONNECT
    )
    connection = (
        http.client.HTTPSConnection(*server.address, context=client_tls)
        if tls
        else http.client.HTTPConnection(*server.address)
    )
    connection.set_tunnel(server.host, server.port)
    connection.connect()
    assert server.tunnels == 1
    connection.request("GET", "/r")
    with pytest.raises((http.client.RemoteDisconnected, BrokenPipeError, ssl.SSLError)):
        connection.getresponse()
    connection.close()
    assert len(server.ledger) == 0


def test_many_threads_race_at_once_each_on_its_own_connection(fault_server: StartFaultServer) -> None:
    server = fault_server(*[on_reuse(Fault.CLOSE_AS_REQUEST_LEAVES)] * 40)

    def trial(number: int) -> bool:
        with urllib3.HTTPConnectionPool(server.host, server.port) as pool:
            pool.request("GET", f"/first/{number}")
            with pytest.raises(urllib3.exceptions.ProtocolError):
                pool.request("POST", f"/second/{number}")
        return True

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(trial, range(40)))
    assert len(server.ledger) == 40


def test_a_plan_added_to_a_running_server_is_armed_too(fault_server: StartFaultServer) -> None:
    server = fault_server()
    server.script(Fault.RESET_AS_REQUEST_LEAVES)
    with (
        urllib3.HTTPConnectionPool(server.host, server.port) as pool,
        pytest.raises(urllib3.exceptions.HTTPError),
    ):
        pool.request("GET", "/", retries=False)


def test_a_client_that_leaves_an_armed_connection_is_no_error(fault_server: StartFaultServer) -> None:
    server = fault_server(on_reuse(Fault.CLOSE_AS_REQUEST_LEAVES))
    with urllib3.HTTPConnectionPool(server.host, server.port) as pool:
        pool.request("GET", "/1")
    with urllib3.HTTPConnectionPool(server.host, server.port) as pool:
        assert pool.request("GET", "/2").status == 200


def test_a_client_that_is_not_http_client_is_told_what_the_fault_needs() -> None:
    server = FaultServer([on_fresh(Fault.CLOSE_AS_REQUEST_LEAVES)]).start()
    with RawClient(server) as client:
        client.ask("GET", "/r")
        # A close with the request unread: an end, or a reset if that is what the kernel makes of it.
        with pytest.raises((ConnectionResetError, AssertionError)):
            client.read_answer()
    with pytest.raises(FaultServerError, match=r"CLOSE_AS_REQUEST_LEAVES.*http\.client"):
        server.stop()
    assert len(server.ledger) == 0


def test_connections_to_others_pass_the_hook_untouched(fault_server: StartFaultServer) -> None:
    fault_server(on_fresh(Fault.CLOSE_AS_REQUEST_LEAVES))
    other = fault_server()
    assert fetch("GET", f"{other.url}/r").data == b"GET /r"
    connection = http.client.HTTPConnection("nowhere.invalid")
    connection.sock = Unconnected()  # what adapters of other transports put there
    connection.request("GET", "/")
    assert connection.sock.sent.startswith(b"GET / HTTP/1.1\r\n")


class Unconnected:
    """A transport without addresses."""

    sent = b""

    def sendall(self, data: bytes) -> None:
        self.sent += data
