"""memcached: it counts what it did, so it can say what heartbeats cost it."""

from __future__ import annotations

import socket
import time

import pytest
from close_waits import longest_close_wait
from conversation import Start
from starting import start
from stores import Memcached
from test_stores import LONG_IDLE, Closes, open_and_rest, pooled

from holdfast import Policy

__all__ = ["start"]  # a fixture

pytestmark = pytest.mark.real_servers


def statistics(sock: socket.socket) -> dict[str, str]:
    sock.sendall(b"stats\r\n")
    received = b""
    while not received.endswith(b"END\r\n"):
        received += sock.recv(65_536)
    lines = received.decode().split("\r\n")[:-2]
    return dict(line.split(" ", 2)[1:] for line in lines)


def test_heartbeats_touch_no_item_and_no_statistics(start: Start) -> None:
    server = start(Memcached, LONG_IDLE)
    assert isinstance(server, Memcached)
    policy = Policy(heartbeat=Memcached.heartbeat(interval=0.05, timeout=0.05))
    with server.connect() as other, pooled(server, policy) as pool:
        before = statistics(other)
        open_and_rest(pool, 3)
        time.sleep(0.5)
        after = statistics(other)
        assert pool.stats().heartbeats > 10
    assert int(after["curr_connections"]) == int(before["curr_connections"]) + 3
    counters = [name for name in before if name.startswith(("cmd_", "get_", "total_items", "curr_items"))]
    assert counters
    assert {name: after[name] for name in counters} == {name: before[name] for name in counters}


def test_the_server_counts_whom_it_hung_up_on_and_with_heartbeats_that_is_nobody(start: Start) -> None:
    server = start(Memcached, 1)
    assert isinstance(server, Memcached)
    beating = Policy(heartbeat=Memcached.heartbeat(interval=0.4, timeout=0.3))
    closes = Closes()
    with pooled(server, Policy(listener=closes)) as quiet, pooled(server, beating) as lively:
        open_and_rest(quiet, 2)
        open_and_rest(lively, 2)
        longest_close_wait(server.port, until=lambda: closes.count == 2)
        assert (quiet.stats().open, lively.stats().open) == (0, 2)
    with server.connect() as other:
        assert statistics(other)["idle_kicks"] == "2"
