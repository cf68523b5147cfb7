"""Sends one client through one scenario: for each story a new server and a new client."""

from __future__ import annotations

import contextlib
import gc
import ssl
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import trustme

import holdfast
from holdfast._demo.clients import Client, ClientKind, Site
from holdfast._demo.scenarios import SCENARIOS, Scenario, Upload
from holdfast._demo.score import Outcome, Score, judge
from holdfast._demo.traffic import Kind, Order, Story, stories
from holdfast.testing import Execution, FaultServer, Via

__all__ = ["Failure", "Trial", "trials"]

# A trial mostly waits: for timeouts, and bare clients behind a proxy 40 ms for each request with a
# body, because urllib3 leaves Nagle's algorithm on there.
_AT_ONCE = 8


class Failure(NamedTuple):
    """A failed request that can be explained."""

    scenario: Scenario
    client: ClientKind
    kind: Kind
    error: str
    report: holdfast.FailureReport


class Trial(NamedTuple):
    """What one client made of one scenario."""

    scenario: Scenario
    client: ClientKind
    score: Score
    failures: list[Failure]


def trials(*, seed: int, rounds: int) -> Iterator[Trial]:
    """Runs each client through all scenarios, one client after the other."""
    with _trust() as trust, ThreadPoolExecutor(_AT_ONCE, "holdfast-demo") as pool:
        coming = [
            pool.submit(_trial, scenario, client, trust, seed=seed, rounds=rounds)
            # In this order large uploads of several clients do not meet: each takes much memory.
            for client in ClientKind
            for scenario in SCENARIOS
        ]
        try:
            for trial in coming:
                yield trial.result()
        finally:
            # Whoever has had enough does not wait for what has not begun.
            pool.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True)
class _Trust:
    """A certificate authority of our own, as both sides need it."""

    server: ssl.SSLContext
    ca_file: str


@contextlib.contextmanager
def _trust() -> Iterator[_Trust]:
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(server)
    with tempfile.TemporaryDirectory(prefix="holdfast-demo-") as folder:
        ca_file = Path(folder, "ca.pem")
        ca_file.write_bytes(authority.cert_pem.bytes())
        yield _Trust(server, str(ca_file))


def _trial(scenario: Scenario, client: ClientKind, trust: _Trust, *, seed: int, rounds: int) -> Trial:
    score = Score()
    failures = []
    for story in stories(scenario, seed=seed, rounds=rounds):
        outcomes, part = _play(scenario, story, client, trust)
        score += part
        failures += [
            Failure(scenario, client, outcome.order.kind, outcome.error, outcome.report)
            for outcome in outcomes
            if outcome.error is not None and outcome.report is not None
        ]
        if scenario.upload is Upload.LARGE:
            # Exceptions and servers are full of cycles, and here each of these holds megabytes.
            gc.collect()
    return Trial(scenario, client, score, failures)


def _play(scenario: Scenario, story: Story, kind: ClientKind, trust: _Trust) -> tuple[list[Outcome], Score]:
    with _serving(scenario, story, trust) as server:
        with contextlib.closing(Client(kind, _site(scenario, server, trust))) as client:
            outcomes = [_send(client, order, server) for order in story.orders]
        connections = server.connections
    by_request: dict[tuple[str, str], list[Execution]] = {}
    for execution in server.ledger:
        by_request.setdefault(execution.identity, []).append(execution)
    score = Score(connections=connections)
    for outcome in outcomes:
        score += judge(outcome, by_request.get((outcome.order.method, outcome.order.path), []))
    return outcomes, score


def _serving(scenario: Scenario, story: Story, trust: _Trust) -> FaultServer:
    return FaultServer(
        scenario.script(story.warm_ups),
        ssl_context=trust.server if scenario.tls else None,
        via=scenario.via,
        headers=scenario.headers,
    )


def _site(scenario: Scenario, server: FaultServer, trust: _Trust) -> Site:
    return Site(
        url=server.url,
        proxy_url=None if scenario.via is Via.DIRECT else server.proxy_url,
        ca_file=trust.ca_file,
        timeout=scenario.timeout,
    )


def _send(client: Client, order: Order, server: FaultServer) -> Outcome:
    # What was to befall an idle connection has befallen it, and the client's kernel knows.
    server.settle()
    try:
        return Outcome(order, client.send(order))
    except Exception as error:  # noqa: BLE001 - counted, and told apart if it is a stranger
        return Outcome.failed(order, error)
