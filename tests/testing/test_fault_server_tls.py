"""Faults over TLS, and the one that lives below it."""

from __future__ import annotations

import errno
import select
import socket
import ssl

import pytest
import urllib3
from raw_client import RawClient

from holdfast.testing import Fault, on_fresh, on_reuse
from holdfast.testing.fixtures import StartFaultServer


def test_an_https_client_is_served(
    fault_server: StartFaultServer, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    server = fault_server(ssl_context=server_tls)
    assert server.url == f"https://localhost:{server.port}"
    with urllib3.PoolManager(ssl_context=client_tls) as http:
        assert http.request("POST", f"{server.url}/r", body=b"x" * 100_000).data == b"POST /r"
    assert len(server.ledger[0].body) == 100_000


def test_a_corrupt_record_is_an_ssl_error_after_the_request_was_executed(
    fault_server: StartFaultServer, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    server = fault_server(on_reuse(Fault.CORRUPT_TLS_RECORD), ssl_context=server_tls)
    with RawClient(server, client_tls) as client:
        client.answer_to("GET", "/1")
        client.ask("POST", "/2")
        with pytest.raises(ssl.SSLError, match=r"(?i)bad.record.mac|record.layer.failure"):
            client.sock.recv(1)
    assert server.ledger.count("POST", "/2") == 1


def test_read_then_reset_is_a_reset_of_the_tcp_connection(
    fault_server: StartFaultServer, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    server = fault_server(on_fresh(Fault.READ_THEN_RESET), ssl_context=server_tls)
    with RawClient(server, client_tls) as client:
        client.ask("POST", "/r")
        # Not recv(): over TLS, some Pythons report a reset as an end of file.
        ended = select.poll()
        ended.register(client.sock, 0)
        assert ended.poll(5000)
        assert client.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET
    assert server.ledger.count("POST", "/r") == 1


@pytest.mark.parametrize("close_notify", [False, True])
def test_a_close_says_goodbye_in_tls_only_where_asked_to(
    fault_server: StartFaultServer, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext, close_notify: bool
) -> None:
    server = fault_server(
        on_fresh(Fault.ANSWER_THEN_CLOSE), ssl_context=server_tls, close_notify=close_notify
    )
    with RawClient(server) as client:
        tls = client_tls.wrap_socket(client.sock, server_hostname="localhost", suppress_ragged_eofs=False)
        client.sock = tls
        client.answer_to("GET", "/r")
        if close_notify:
            assert tls.recv(1) == b""
        else:
            with pytest.raises(ssl.SSLEOFError):
                tls.recv(1)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    "fault", [Fault.CLOSE_WHILE_IDLE, Fault.RESET_WHILE_IDLE, Fault.STRAY_BYTES_WHILE_IDLE]
)
def test_idle_faults_settle_over_tls(
    fault_server: StartFaultServer,
    server_tls: ssl.SSLContext,
    fault: Fault,
    version: ssl.TLSVersion,
) -> None:
    server = fault_server(on_fresh(fault), ssl_context=server_tls)
    with RawClient(server) as client:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.maximum_version = version
        client.sock = context.wrap_socket(client.sock)
        client.answer_to("GET", "/r")
        assert client.sock.version() == version.name.replace("_", ".")
        server.settle()
        assert client.is_readable()


def test_a_stray_after_an_answer_is_in_the_same_record(
    fault_server: StartFaultServer, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    server = fault_server(on_fresh(Fault.STRAY_BYTES_AFTER), ssl_context=server_tls)
    with RawClient(server, client_tls) as client:
        client.ask("GET", "/r")
        assert client.sock.recv(65536).count(b"HTTP/1.1 200 OK") == 2


def test_a_client_that_does_not_trust_us_is_no_error_of_the_server(
    fault_server: StartFaultServer, server_tls: ssl.SSLContext
) -> None:
    server = fault_server(ssl_context=server_tls)
    with pytest.raises(ssl.SSLCertVerificationError):
        RawClient(server, ssl.create_default_context())
    assert len(server.ledger) == 0
