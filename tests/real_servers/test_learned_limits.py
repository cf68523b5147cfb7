"""When a server hangs up is learned from the server: all of them at once, at the worst think times there are.

    HOLDFAST_REAL_IDLE=5 pytest -s tests/real_servers/test_learned_limits.py

shows the numbers, with limits of five seconds in place of one.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from conversation import UNHINTED, Start
from crowd import IDLE, SETTINGS, Bounds, Setting, check, crowds
from starting import start

from holdfast import Policy

__all__ = ["start"]  # a fixture

pytestmark = [pytest.mark.real_servers, pytest.mark.timeout(120 + 60 * IDLE)]

SECONDS = 24.0
"""For all servers at the same time, and a thousand requests."""

BOUNDS = Bounds(stale=0.01, opened=1.5)
"""The targets are 0.001 and 1.2. The first is reached here by a wide margin, where the way to the server is
short: this much is for a busy machine. The second is reached with limits of some seconds, of which what is
left for our own scheduling (20 ms of 1 s) is a small part."""

HINTED = [replace(one, hinted=True) for one in SETTINGS if one.kind.hint]


@pytest.mark.parametrize(
    ("settings", "policy"), [(SETTINGS, UNHINTED), (HINTED, None)], ids=["learned", "hinted"]
)
def test_hardly_a_request_meets_the_end_and_few_connections_are_opened_for_it(
    start: Start, settings: list[Setting], policy: Policy | None
) -> None:
    servers = [(start(one.kind, one.idle), one) for one in settings]
    seen = crowds(servers, policy, SECONDS)
    for server, _ in servers:
        server.stop()
    for (server, setting), all_seen in zip(servers, seen, strict=True):
        check(server, setting, all_seen, BOUNDS)
