"""Where there is nothing to be heard of the network. What is heard: tests/faults/test_wire_network_changes.py."""

from __future__ import annotations

import socket
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast._net import network_changes
from holdfast._net.network_changes import Ears, prick_up


def test_where_there_is_no_netlink_there_are_no_ears(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "AF_NETLINK", raising=False)
    assert prick_up() is None


@pytest.mark.skipif(sys.platform != "linux", reason="netlink is Linux's")
@pytest.mark.parametrize("refused", ["__init__", "bind"])
def test_where_it_is_not_permitted_there_are_none(refused: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing(socket.socket):
        pass

    def refuse(*_: object) -> None:
        raise PermissionError

    setattr(Refusing, refused, refuse)
    monkeypatch.setattr(socket, "socket", Refusing)
    assert prick_up() is None


@given(data=st.binary(max_size=200))
def test_nothing_that_is_said_can_break_it(data: bytes) -> None:
    ears = Ears(None)  # type: ignore[arg-type]
    for kind, body in network_changes._messages(data):
        ears._is_loss(kind, body)
