"""A server that is reloaded under traffic hangs up on connections that are in use all the time."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

import pytest
from conversation import Start, wrapped
from servers import Gunicorn, Haproxy, Httpd, Nginx, RealServer
from starting import start
from urllib3 import HTTPConnectionPool
from urllib3.exceptions import HTTPError

import holdfast
from holdfast import FailureReport

__all__ = ["start"]  # a fixture

pytestmark = pytest.mark.real_servers

RELOADABLE: list[type[RealServer]] = [Nginx, Httpd, Haproxy, Gunicorn]
RELOADS = 3
SECONDS_BETWEEN = 0.5


@dataclass
class Traffic:
    server: RealServer
    pool: HTTPConnectionPool
    over: threading.Event = field(default_factory=threading.Event)
    answered: list[str] = field(default_factory=list)
    failed: dict[str, tuple[HTTPError, FailureReport | None]] = field(default_factory=dict)

    def flow(self, method: str, number: int) -> None:
        sent = 0
        while not self.over.is_set():
            sent += 1
            name = f"{method}-{number}-{sent}"
            try:
                assert self.pool.request(method, f"{self.server.path}?id={name}").status == 200
            except HTTPError as error:
                self.failed[name] = (error, holdfast.report(error))
            else:
                self.answered.append(name)


@pytest.mark.parametrize("kind", RELOADABLE, ids=lambda kind: kind.name)
def test_a_reload_under_traffic_fails_no_get_and_executes_no_post_twice(
    start: Start, kind: type[RealServer]
) -> None:
    server = start(kind)
    with wrapped(server, maxsize=3) as pool:
        traffic = Traffic(server, pool)
        flows = [
            threading.Thread(target=traffic.flow, args=(method, number))
            for number, method in enumerate(["GET", "GET", "POST"])
        ]
        for each in flows:
            each.start()
        for _ in range(RELOADS):
            time.sleep(SECONDS_BETWEEN)  # of traffic
            server.reload()
        time.sleep(SECONDS_BETWEEN)
        traffic.over.set()
        for each in flows:
            each.join()
        stats = holdfast.stats(pool)
    server.stop()
    executed = server.executed()
    print(kind.name, stats.as_dict())  # noqa: T201

    assert {name: why for name, why in traffic.failed.items() if name.startswith("GET")} == {}
    assert set(executed.values()) == {1}
    assert {name for name in traffic.answered if name.startswith("POST")} <= set(executed)
    assert all(report is not None for _, report in traffic.failed.values())
    # It did hang up on somebody.
    assert stats.opened > len(flows)
