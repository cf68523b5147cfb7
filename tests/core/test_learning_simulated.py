"""A client with a fake clock in front of simulated servers: what learning is worth.

The client, and what an oracle would do in its place, are described in ``benchmarks/_idle_client.py``.
``benchmarks/learned_limits.py`` runs the same for longer and prints the table.
"""

from __future__ import annotations

import pytest

from _idle_client import Mind, run
from _idle_servers import SERVERS, THINKING, Server

REQUESTS = 3000
SEEDS = (1, 2)


def totals(server: Server, mind: Mind, thinking: str, *, unsafe: bool = False) -> tuple[float, float]:
    """Stale uses and connections opened, for 1,000 requests."""
    counts = [
        run(server, mind, THINKING[thinking], requests=REQUESTS, seed=seed, unsafe=unsafe) for seed in SEEDS
    ]
    of = sum(one.requests for one in counts) / 1000
    return sum(one.stale for one in counts) / of, sum(one.opened for one in counts) / of


@pytest.mark.parametrize("thinking", THINKING, ids=str)
@pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.name)
def test_stale_uses_are_rare_and_connections_hardly_more_than_an_oracle_opens(
    server: Server, thinking: str
) -> None:
    stale, opened = totals(server, Mind.LEARNING, thinking)
    _, by_oracle = totals(server, Mind.ORACLE, thinking)
    reached = stale <= 1.0 and opened <= 1.2 * by_oracle
    if thinking == "worst":
        assert reached is not bool(server.missed), "the table says otherwise"
    else:
        assert reached or server.missed


@pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.name)
def test_an_unsafe_request_meets_an_end_no_more_often(server: Server) -> None:
    stale, _ = totals(server, Mind.LEARNING, "worst", unsafe=True)
    safe, _ = totals(server, Mind.LEARNING, "worst")
    assert stale <= max(1.0, safe)


def test_without_learning_the_worst_is_bad() -> None:
    blind = run(SERVERS[0], Mind.BLIND, THINKING["worst"], requests=REQUESTS)
    assert blind.stale > 20


def test_the_oracle_meets_no_end_that_can_be_known() -> None:
    for server in SERVERS:
        if server.restarts[0] == float("inf"):
            assert run(server, Mind.ORACLE, THINKING["worst"], requests=500).stale == 0


def test_the_same_seed_gives_the_same_run() -> None:
    one, other = (run(SERVERS[3], Mind.LEARNING, THINKING["worst"], requests=300, seed=7) for _ in range(2))
    assert one == other
