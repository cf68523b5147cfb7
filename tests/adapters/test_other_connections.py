"""Connections that are not plain HTTP/1.1 over TCP, and clients with connections of their own."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
import urllib3.connection
from packaging.version import Version
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

import holdfast
from holdfast.testing import Fault, Request, Response, on_reuse
from holdfast.testing.fixtures import StartFaultServer

# -- unix sockets, as docker's client has them


class UnixConnection(urllib3.connection.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self) -> None:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(self.path)
        self.sock = sock


class UnixPool(HTTPConnectionPool):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=60, maxsize=2)
        self.path = path

    def _new_conn(self) -> Any:
        return UnixConnection(self.path)


@pytest.fixture
def unix_server(tmp_path: Path) -> Iterator[str]:
    path = str(tmp_path / "peer")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()

    def serve() -> None:
        # The first connection dies at its second request, the second serves two.
        for answers in (1, 2):
            sock, _ = listener.accept()
            with sock:
                for _ in range(answers):
                    sock.recv(65_536)
                    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                sock.recv(65_536)

    thread = threading.Thread(target=serve)
    thread.start()
    yield path
    thread.join()
    listener.close()


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no unix sockets here")
def test_a_unix_socket_works_and_is_guarded(unix_server: str) -> None:
    with holdfast.wrap(UnixPool(unix_server)) as pool:
        assert [pool.request("GET", "/", retries=False).data for _ in range(3)] == [b"ok"] * 3
        stats = holdfast.stats(pool)
        assert stats.keepalive is None
        assert stats.opened == 2


def test_a_hijacked_socket_is_the_real_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        pool = holdfast.wrap(HTTPConnectionPool("127.0.0.1", listener.getsockname()[1]))
        peer: list[socket.socket] = []

        def serve() -> None:
            sock, _ = listener.accept()
            peer.append(sock)
            sock.recv(65_536)
            sock.sendall(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        response: Any = pool.urlopen("POST", "/attach", preload_content=False)
        thread.join()
        # This is how docker's client gets at it.
        sock = response._fp.fp.raw._sock
        assert type(sock) is socket.socket
        sock.sendall(b"ping")
        assert peer[0].recv(4) == b"ping"
        peer[0].sendall(b"pong")
        assert sock.recv(4) == b"pong"
        response.close()
        peer[0].close()
        pool.close()


# -- HTTP/2


def test_http_2_connections_are_left_alone(
    fault_server: StartFaultServer, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    if Version(importlib.metadata.version("urllib3")) < Version("2.3"):
        return  # no HTTP/2 there
    http2: Any = importlib.import_module("urllib3.http2")
    kind: Any = importlib.import_module("urllib3.http2.connection").HTTP2Connection
    http2.inject_into_urllib3()
    try:
        pool = holdfast.wrap(HTTPSConnectionPool("localhost", 1, ssl_context=client_tls))
        assert type(pool._new_conn()) is kind
    finally:
        http2.extract_from_urllib3()
    assert type(pool._new_conn()) is not kind
    pool.close()


# -- botocore


def test_boto3_recovers_and_executes_a_put_with_its_own_connection_class(
    fault_server: StartFaultServer,
) -> None:
    boto3 = pytest.importorskip("boto3")
    config = pytest.importorskip("botocore.config")

    def respond(request: Request) -> Response:
        return Response(headers={"Content-Type": "application/xml", "ETag": '"x"'}, body=b"")

    server = fault_server(
        on_reuse(Fault.READ_THEN_RESET), on_reuse(Fault.CLOSE_AS_REQUEST_LEAVES), respond=respond
    )
    client = boto3.client(
        "s3",
        endpoint_url=server.url,
        region_name="us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
        config=config.Config(
            retries={"total_max_attempts": 1, "mode": "standard"}, s3={"addressing_style": "path"}
        ),
    )
    manager = client._endpoint.http_session._manager
    assert holdfast.wrap(manager) is manager
    for number in range(4):
        # put_object says "Expect: 100-continue", for which botocore's connection has a send of its own.
        client.put_object(Bucket="bucket", Key=f"key-{number}", Body=b"content")
    assert [entry.body for entry in server.ledger if entry.target == "/bucket/key-3"] == [b"content"]
    stats = holdfast.stats(manager)
    assert sum(stats.repeated.values()) == 2
    assert "AWS" in type(manager.connection_from_url(server.url).pool.queue[-1]).__name__
    for pool in list(manager.pools._container.values()):
        pool.close()
    client.close()


# -- fork


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("tls", [False, True])
def test_a_child_opens_its_own_connection_and_leaves_the_parents_alone(
    fault_server: StartFaultServer, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext, tls: bool
) -> None:
    server = fault_server(ssl_context=server_tls if tls else None)
    kind: Any = HTTPSConnectionPool if tls else HTTPConnectionPool
    settings = {"ssl_context": client_tls} if tls else {}
    pool = holdfast.wrap(kind(server.host, server.port, retries=False, **settings))
    pool.request("GET", "/parent/1")
    child = os.fork()
    if child == 0:  # pragma: no cover - another process
        code = 1
        try:
            answer = pool.request("POST", "/child", body=b"x").data
            closed = holdfast.stats(pool).closed
            code = 0 if (answer, closed) == (b"POST /child", {holdfast.CloseReason.FORKED: 1}) else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert pool.request("POST", "/parent/2", body=b"x").data == b"POST /parent/2"
    by_connection = {entry.target: entry.connection for entry in server.ledger}
    assert by_connection == {"/parent/1": 1, "/child": 2, "/parent/2": 1}
    pool.close()


def test_what_fails_on_a_socket_that_somebody_else_put_into_a_connection_is_explained(
    fault_server: StartFaultServer,
) -> None:
    server = fault_server(on_reuse(Fault.READ_THEN_CLOSE))
    with holdfast.wrap(HTTPConnectionPool(server.host, server.port)) as pool:
        conn: Any = pool._new_conn()
        conn.sock = socket.create_connection((server.host, server.port))
        conn.request("GET", "/")
        conn.getresponse().read()
        conn.request("POST", "/", body=b"x")
        with pytest.raises(OSError, match="closed connection") as caught:
            conn.getresponse()
        report = holdfast.report(caught.value)
        assert report is not None
        assert report.reused
        conn.close()
