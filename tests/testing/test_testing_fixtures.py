from __future__ import annotations

import socket

import pytest

import holdfast.testing
from holdfast.testing import FakeClock, Fault, FaultServer, Via
from holdfast.testing.fixtures import StartFaultServer

_kept: list[FaultServer] = []


def test_the_factory_starts_servers_with_plans_and_settings(fault_server: StartFaultServer) -> None:
    first = fault_server([Fault.NONE, Fault.READ_THEN_RESET])
    second = fault_server(via=Via.FORWARD)
    assert first.port != second.port
    assert second.proxy_url == f"http://127.0.0.1:{second.port}"
    _kept.extend([first, second])


def test_servers_are_stopped_at_the_end_of_the_test() -> None:
    for server in _kept:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(server.address)


def test_the_clock_is_a_fake_one(fake_clock: FakeClock) -> None:
    assert isinstance(fake_clock, FakeClock)


def test_every_public_name_exists() -> None:
    assert sorted(holdfast.testing.__all__) == sorted(set(holdfast.testing.__all__))
    assert all(hasattr(holdfast.testing, name) for name in holdfast.testing.__all__)
