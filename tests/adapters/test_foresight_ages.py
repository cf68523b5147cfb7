"""How old an idle connection is, is the kernel's to say: we may have read its last answer late."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import pytest
from test_foresight_outposts import knowledge, name_of
from urllib3 import HTTPConnectionPool

import holdfast
from holdfast import CloseReason, Policy, PoolLimits
from holdfast.testing import FaultServer
from holdfast.testing.fixtures import StartFaultServer

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel")

LATE = 0.4
"""Seconds between an answer and its reader."""


def eventually(condition: Callable[[], object]) -> None:
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def read_late(pool: HTTPConnectionPool) -> None:
    answer = pool.urlopen("GET", "/a", preload_content=False)
    time.sleep(LATE)
    answer.read()


def learned(server: FaultServer) -> float:
    limits = holdfast.learned().limits()[name_of(server)]
    assert limits.idle_limit is not None
    return limits.idle_limit


def test_what_is_learned_of_one_that_was_read_late_is_not_too_short(fault_server: StartFaultServer) -> None:
    server = fault_server([])
    with holdfast.wrap(HTTPConnectionPool(server.host, server.port)) as pool:
        read_late(pool)
        time.sleep(0.3)
        server.hang_up()
        eventually(lambda: not holdfast.stats(pool).open)
        assert learned(server) >= 0.3 + LATE - 0.01


def test_one_that_was_read_late_is_as_old_as_its_peer_has_it(fault_server: StartFaultServer) -> None:
    server = fault_server([])
    policy = Policy(limits=PoolLimits(park=False))
    with holdfast.wrap(HTTPConnectionPool(server.host, server.port), policy) as pool:
        read_late(pool)
        holdfast.learned().load_json(knowledge(name_of(server), seconds=1.0))
        time.sleep(0.8)
        pool.request("GET", "/b")
        assert holdfast.stats(pool).closed == {CloseReason.LEARNED_LIMIT: 1}
