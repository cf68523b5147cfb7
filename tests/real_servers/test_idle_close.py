"""Real servers hang up on idle connections: seen where it can be seen, survived where it cannot."""

from __future__ import annotations

import threading
import time
from collections import Counter

import pytest
from conversation import UNHINTED, Start, get, post, wait_for_hang_up, wrapped
from servers import (
    Gunicorn,
    Haproxy,
    Httpd,
    Nginx,
    Node,
    RealServer,
    ResettingTomcat,
    Tomcat,
    Uvicorn,
    Waitress,
)
from starting import start
from urllib3 import HTTPConnectionPool
from urllib3.exceptions import HTTPError

import holdfast
from holdfast import CloseReason, FailureReport, Phase

__all__ = ["start"]  # a fixture

pytestmark = pytest.mark.real_servers

SERVERS: list[type[RealServer]] = [
    Nginx,
    Httpd,
    Haproxy,
    Tomcat,
    ResettingTomcat,
    Node,
    Gunicorn,
    Uvicorn,
    Waitress,
]

every_server = pytest.mark.parametrize("kind", SERVERS, ids=lambda kind: kind.name)


@every_server
def test_after_the_idle_close_the_next_request_goes_out_on_a_new_connection(
    start: Start, kind: type[RealServer]
) -> None:
    server = start(kind)
    with wrapped(server) as for_get, wrapped(server) as for_post, wrapped(server, UNHINTED) as unhinted:
        get(for_get, server.path)
        post(for_post, server.path, "first")
        post(unhinted, server.path_without_hint, "unhinted")
        for pool in (for_get, for_post, unhinted):
            wait_for_hang_up(pool)
        get(for_get, server.path)
        post(for_post, server.path, "second")
        post(unhinted, server.path_without_hint, "again")
        stats = [holdfast.stats(pool) for pool in (for_get, for_post, unhinted)]
    server.stop()
    assert server.executed() == dict.fromkeys(["first", "second", "unhinted", "again"], 1)
    noticed = CloseReason.PEER_RESET if kind is ResettingTomcat else CloseReason.PEER_CLOSED
    assert [dict(each.closed) for each in stats] == [{noticed: 1}] * 3
    assert [(each.opened, each.reused) for each in stats] == [(2, 0)] * 3


def test_haproxys_408_on_a_connection_opened_ahead_is_not_taken_for_an_answer(start: Start) -> None:
    server = start(Haproxy)
    with wrapped(server) as pool:
        ahead = pool._get_conn()
        ahead.connect()
        pool._put_conn(ahead)
        wait_for_hang_up(pool)
        assert holdfast.stats(pool).closed == {CloseReason.STRAY_BYTES: 1}
        post(pool, server.path, "only")
        stats = holdfast.stats(pool)
    assert (stats.opened, stats.closed) == (2, {CloseReason.STRAY_BYTES: 1})


# -- around the moment itself

OFFSETS = [-0.02, -0.004, -0.001, -0.0005, 0.0, 0.0003, 0.0006, 0.001, 0.0015, 0.003, 0.006, 0.02]
TRIES = [(method, offset) for offset in OFFSETS for method in ("GET", "POST")]


class Race:
    """Requests, each on a pool of its own, sent around the moment of the idle close."""

    def __init__(self, server: RealServer) -> None:
        self.server = server
        self.together = threading.Barrier(len(TRIES), timeout=20)
        self.first_hang_up = threading.Event()
        self.answered: list[str] = []
        self.failed: dict[str, FailureReport | None] = {}
        self.closed: Counter[str] = Counter()
        self.repeated = 0

    def run(self) -> None:
        tries = [
            threading.Thread(target=self._try, args=(number, *each)) for number, each in enumerate(TRIES)
        ]
        for each in tries:
            each.start()
        for each in tries:
            each.join()

    def _try(self, number: int, method: str, offset: float) -> None:
        name, path = f"{method}-{number}", self.server.path_without_hint
        with wrapped(self.server, UNHINTED) as pool:
            self.together.wait()
            get(pool, path)
            self._wait_for_the_moment(pool, number, offset)
            try:
                assert pool.request(method, f"{path}?id={name}").status == 200
            except HTTPError as error:
                self.failed[name] = holdfast.report(error)
            else:
                self.answered.append(name)
            stats = holdfast.stats(pool)
        self.closed.update(reason.name for reason in stats.closed)
        self.repeated += sum(stats.repeated.values())

    def _wait_for_the_moment(self, pool: HTTPConnectionPool, number: int, offset: float) -> None:
        if not self.server.closes_in_rounds:
            # The server's idle limit has to pass, and this is before it is known to have: the race.
            time.sleep(self.server.closes_after + offset)
        elif number == 0:
            wait_for_hang_up(pool)
            self.first_hang_up.set()
        else:
            # Nobody knows when the round comes, but when it reached one, it is about to reach the rest.
            self.first_hang_up.wait(timeout=20)


@every_server
def test_requests_around_the_idle_close_are_answered_or_explained_and_none_is_executed_twice(
    start: Start, kind: type[RealServer]
) -> None:
    server = start(kind)
    race = Race(server)
    race.run()
    server.stop()
    executed = server.executed()
    refused = {name: report.error for name, report in race.failed.items() if report}
    print(kind.name, dict(race.closed), "repeated:", race.repeated, "refused:", refused)  # noqa: T201

    assert len(race.answered) + len(race.failed) == len(TRIES)
    assert [name for name in race.failed if name.startswith("GET")] == []
    assert set(executed.values()) <= {1}
    assert {name for name in race.answered if name.startswith("POST")} <= set(executed)
    for name, report in race.failed.items():
        assert report is not None, name
        assert report.reused
        assert report.phase in (Phase.SEND, Phase.AWAIT)
