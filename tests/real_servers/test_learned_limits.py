"""When a server hangs up is learned from the server: all of them at once, at the worst think times there are.

    HOLDFAST_REAL_IDLE=5 pytest -s tests/real_servers/test_learned_limits.py

shows the numbers, with limits of five seconds in place of one.
"""

from __future__ import annotations

import math

import pytest
from conversation import UNHINTED, Start
from crowd import IDLE, SETTINGS, Bounds, check, crowds
from starting import start

__all__ = ["start"]  # a fixture

pytestmark = [pytest.mark.real_servers, pytest.mark.timeout(120 + 60 * IDLE)]

SECONDS = 24.0
"""For all servers at the same time, and a thousand requests."""

WORST = Bounds(stale=0.01, opened=1.5)
"""The targets are 0.001 and 1.2. The first is reached here by a wide margin, where the way to the server is
short: this much is for a busy machine. The second is reached with limits of some seconds, of which what is
left for our own scheduling (20 ms of 1 s) is a small part."""


HINTED = Bounds(stale=0.01, opened=math.inf, gets=300)
"""A hint of one second is less than what is kept off it, so such a connection carries one request."""


@pytest.mark.parametrize("bounds", [WORST, HINTED], ids=["learned", "hinted"])
def test_hardly_a_request_meets_the_end_and_few_connections_are_opened_for_it(
    start: Start, bounds: Bounds
) -> None:
    settings = [one for one in SETTINGS if bounds is WORST or one.kind.hint]
    servers = [(start(one.kind, one.idle), one) for one in settings]
    seen = crowds(
        servers, UNHINTED if bounds is WORST else None, SECONDS * bounds.gets / WORST.gets, bounds.gets
    )
    for server, _ in servers:
        server.stop()
    for (server, setting), all_seen in zip(servers, seen, strict=True):
        check(server, setting, all_seen, bounds)
