"""Waiting for the client's kernel: exact where it can be asked, loud where it does not come about."""

from __future__ import annotations

import pytest
from raw_client import RawClient

from holdfast.testing import Fault, FaultServer, FaultServerError, _loopback, on_fresh
from holdfast.testing.fixtures import StartFaultServer


def test_a_fault_that_could_not_be_carried_out_is_raised_by_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_loopback, "PATIENCE", 0.05)
    server = FaultServer([on_fresh(Fault.CLOSE_WHILE_IDLE)]).start()
    with RawClient(server) as client:
        client.ask("GET", "/r")
        client.sock.recv(1)
        server.settle()
    with pytest.raises(FaultServerError, match=r"CLOSE_WHILE_IDLE could not be carried out.*unread"):
        server.stop()


def test_where_the_kernel_cannot_be_asked_a_grace_has_to_do(
    fault_server: StartFaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_loopback, "_can_look", lambda: False)
    server = fault_server(on_fresh(Fault.IDLE_408))
    with RawClient(server) as client:
        client.answer_to("GET", "/r")
        server.settle()
        assert client.is_readable()


def test_a_client_that_leaves_settles_as_well(fault_server: StartFaultServer) -> None:
    server = fault_server(on_fresh(Fault.RESET_WHILE_IDLE))
    with RawClient(server) as client:
        client.ask("GET", "/r")
        client.sock.recv(1)
    server.settle()


def test_a_look_tells_state_unread_and_received() -> None:
    with FaultServer() as server, RawClient(server) as client:
        if not _loopback._can_look():
            pytest.skip("this kernel does not tell about sockets")
        answer = client.answer_to("GET", "/r")
        sight = _loopback._look(client.sock.getsockname(), server.address)
        assert sight == (1, 0, len(answer))
