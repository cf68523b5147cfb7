"""Real servers behind a wire of 15 ms each way, where who does not know their limits meets their ends: a request
and a hang-up that are under way at the same time are 30 ms of the think times that are drawn here.

    HOLDFAST_REAL_IDLE=5 pytest -s tests/faults/test_wire_real_servers.py

shows the numbers, with limits of five seconds in place of one.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cases import SERVER
from conversation import UNHINTED
from crowd import IDLE, SETTINGS, Bounds, Setting, check, crowds
from on_the_wire import DELAY, lab
from servers import RealServer, Settings
from starting import require
from wire import Lab

__all__ = ["lab"]  # a fixture

pytestmark = [pytest.mark.real_servers, pytest.mark.wire, pytest.mark.timeout(120 + 60 * IDLE)]

SECONDS = 40.0
"""For all servers at the same time; the wire is a process that has a lot to carry."""

BOUNDS = Bounds(stale=0.02, opened=1.6, round_trip=2 * DELAY)
"""The targets are 0.001 and 1.2. What is left for our own scheduling (20 ms of 1 s) is a fifth of the tenth of
a second before the limit, so with limits so short the second is out of reach."""


@pytest.fixture
def servers(lab: Lab) -> Iterator[list[tuple[RealServer, Setting]]]:
    started: list[tuple[RealServer, Setting]] = []
    try:
        for setting in SETTINGS:
            require(setting.kind)
            server = setting.kind(Settings(setting.idle), SERVER)
            started.append((server, setting))
            with lab.server():
                server.start()
        yield started
    finally:
        for server, _ in started:
            server.remove()


def test_hardly_a_request_crosses_the_end_of_its_connection(
    lab: Lab, servers: list[tuple[RealServer, Setting]]
) -> None:
    with lab.client():
        seen = crowds(servers, UNHINTED, SECONDS)
    for server, _ in servers:
        server.stop()
    for (server, setting), all_seen in zip(servers, seen, strict=True):
        check(server, setting, all_seen, BOUNDS)
