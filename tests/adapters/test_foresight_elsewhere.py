"""What is known ahead, where connections are of another kind: TLS, tunnels, unix sockets, two processes."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import urllib3
from test_foresight_outposts import LIMIT, knowledge, name_of
from urllib3.connection import HTTPConnection

import holdfast
from holdfast import CloseReason, KnowledgeError, Policy, Reply
from holdfast.adapters import _network_news
from holdfast.testing import FakeClock, Via
from holdfast.testing.fixtures import StartFaultServer

MakeClient = Callable[..., urllib3.PoolManager]
HEARD_OF = 1.1
"""Seconds after which a kernel can be asked."""


# -- TLS and proxies


every_way = pytest.mark.parametrize(
    ("via", "tls"),
    [
        (Via.DIRECT, False),
        (Via.DIRECT, True),
        (Via.FORWARD, False),
        (Via.FORWARD, True),
        (Via.CONNECT, True),
    ],
)


@every_way
def test_one_is_kept_whatever_leads_there(
    fault_server: StartFaultServer,
    fake_clock: FakeClock,
    client: MakeClient,
    server_tls: ssl.SSLContext,
    via: Via,
    tls: bool,
) -> None:
    server = fault_server([], via=via, ssl_context=server_tls if tls else None)
    manager: Any = client(server, Policy(clock=fake_clock), retries=False)
    manager.request("GET", server.url)
    (name,) = manager._holdfast.origins._in_use
    manager._holdfast.origins.load(knowledge(name))
    fake_clock.advance(LIMIT)
    assert manager.request("GET", server.url).status == 200
    stats = holdfast.stats(manager)
    assert (stats.parked, stats.open, stats.idle) == (1, 2, 1)
    assert name in stats.learned
    server.hang_up()
    deadline = time.monotonic() + 10
    while holdfast.stats(manager).open:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert set(holdfast.stats(manager).closed) <= {CloseReason.PEER_CLOSED, CloseReason.PEER_RESET}


@every_way
def test_a_post_is_as_choosy_whatever_leads_there(
    fault_server: StartFaultServer,
    fake_clock: FakeClock,
    client: MakeClient,
    server_tls: ssl.SSLContext,
    via: Via,
    tls: bool,
) -> None:
    server = fault_server([], via=via, ssl_context=server_tls if tls else None)
    manager: Any = client(server, Policy(clock=fake_clock), retries=False, maxsize=3)
    manager.request("GET", server.url)
    (name,) = manager._holdfast.origins._in_use
    manager._holdfast.origins.load(knowledge(name))
    fake_clock.advance(LIMIT - 0.08)
    for method in ("POST", "GET"):
        assert manager.request(method, server.url, body=b"x").status == 200
    stats = holdfast.stats(manager)
    assert (stats.opened, stats.idle, stats.closed) == (2, 2, {})
    assert server.ledger.count("POST", "/") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel")
@pytest.mark.parametrize("via", [Via.DIRECT, Via.CONNECT])
def test_who_is_behind_tls_is_asked_all_the_same(
    fault_server: StartFaultServer, client: MakeClient, server_tls: ssl.SSLContext, via: Via
) -> None:
    server = fault_server([], via=via, ssl_context=server_tls)
    manager = client(server, retries=False)
    manager.request("GET", server.url)
    time.sleep(HEARD_OF)
    _network_news._tell()
    assert manager.request("POST", server.url, body=b"x").status == 200
    stats = holdfast.stats(manager)
    assert (stats.probes, stats.opened) == ({Reply.ANSWERED: 1}, 1)


# -- no network at all


@contextmanager
def unix_server(path: Path) -> Iterator[None]:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            with sock:
                while sock.recv(65536):
                    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


class UnixConnection(HTTPConnection):
    path: Path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self.path))


def unix_pool(path: Path, policy: Policy | None = None) -> Any:
    class Connection(UnixConnection):
        pass

    Connection.path = path
    pool = urllib3.HTTPConnectionPool("localhost", retries=False)
    pool.ConnectionCls = Connection
    return holdfast.wrap(pool, policy)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="unix sockets")
def test_a_unix_socket_is_never_asked_and_may_carry_a_post(tmp_path: Path) -> None:
    with unix_server(tmp_path / "a"), unix_pool(tmp_path / "a") as pool:
        pool.request("GET", "/")
        time.sleep(HEARD_OF)
        _network_news._tell()
        assert pool.request("POST", "/", body=b"x").status == 200
        stats = holdfast.stats(pool)
        assert (stats.probes, stats.opened) == ({}, 1)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="unix sockets")
def test_two_unix_sockets_are_two_origins(tmp_path: Path) -> None:
    paths = [tmp_path / "a", tmp_path / "b"]
    with unix_server(paths[0]), unix_server(paths[1]):
        pools = [unix_pool(path) for path in paths]
        for pool in pools:
            pool.request("GET", "/")
        names = {pool.pool.queue[-1]._holdfast.known.name for pool in pools}
        for pool in pools:
            pool.close()
    assert len(names) == 2, names


# -- another process


def test_another_process_knows_what_this_one_learned(fault_server: StartFaultServer) -> None:
    server = fault_server([])
    holdfast.learned().load_json(knowledge(name_of(server), seconds=0.3))
    document = holdfast.learned().to_json()
    program = f"""
        import sys, time, urllib3, holdfast
        holdfast.learned().load_json(sys.stdin.read())
        with holdfast.wrap(urllib3.HTTPConnectionPool({server.host!r}, {server.port})) as pool:
            pool.request("GET", "/a")
            time.sleep(0.35)
            pool.request("GET", "/b")
            print(holdfast.stats(pool).opened, holdfast.stats(pool).parked)
    """
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        input=document, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (ended.stdout, ended.returncode) == ("2 1\n", 0), ended.stderr


@pytest.mark.parametrize(
    "document",
    [
        "",
        "null",
        "[" * 100_000,
        '{"format": "holdfast learned limits", "version": 1, "origins": {"a": {"idle": {}}}}',
        knowledge("http://a:80", seconds=float("inf")),
        knowledge("http://a:80", seconds=-1.0),
        knowledge("http://a:80", seconds=0.0),
        knowledge("http://a:80\n"),
        knowledge("x" * 10_000),
        knowledge("http://a:80")[:-1],
        b"\xff\xfe",
        " " * 20_000_000,
        json.dumps({"format": "holdfast learned limits", "version": 1, "origins": {"a": {"idle": 1e400}}}),
    ],
    ids=lambda document: repr(document[:60]),
)
def test_a_hostile_document_changes_nothing(document: str | bytes) -> None:
    holdfast.learned().load_json(knowledge("http://here:80"))
    before = holdfast.learned().limits()
    with pytest.raises(KnowledgeError):
        holdfast.learned().load_json(document)
    assert holdfast.learned().limits() == before


def test_the_smallest_limit_that_can_be_imported_stops_nobody(fault_server: StartFaultServer) -> None:
    server = fault_server([])
    with holdfast.wrap(urllib3.HTTPConnectionPool(server.host, server.port, maxsize=4)) as pool:
        pool.request("GET", "/a")
        holdfast.learned().load_json(knowledge(name_of(server), seconds=1e-9))
        for number in range(20):
            assert pool.request("POST", f"/{number}", body=b"x").status == 200
        stats = holdfast.stats(pool)
        assert stats.opened == stats.open + sum(stats.closed.values())
        deadline = time.monotonic() + 10
        while holdfast.learned().limits():
            assert time.monotonic() < deadline, "what never was true is never refuted"
            time.sleep(0.01)
