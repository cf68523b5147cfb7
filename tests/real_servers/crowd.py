"""Many clients, each with one connection to a real server, that think about as long as it keeps them.

What they open and what fails them is held against an oracle that knows the limit, and that reuses a
connection up to it.
"""

from __future__ import annotations

import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from conversation import wrapped
from servers import Gunicorn, Haproxy, Httpd, Nginx, Node, RealServer, Tomcat
from urllib3.exceptions import HTTPError

import holdfast
from holdfast import Policy

__all__ = ["IDLE", "SETTINGS", "Bounds", "Seen", "Setting", "check", "crowds"]

IDLE = int(os.environ.get("HOLDFAST_REAL_IDLE", "1"))
"""Seconds that the servers keep a connection. With more a run takes as many times as long, and what our
own scheduling costs counts for less: that is how the servers are met in the field."""
GETS = 1000
"""For each server, after learning."""
GETS_FOR_A_POST = 5
LEARNING = 3
"""Requests of each client that are not counted, for the limit is learned from them."""
NEAR = 0.1
"""Of the limit, before and after it: the worst think times."""
MOST_POSTS_FAILED = 0.01


@dataclass(frozen=True)
class Setting:
    """How a server is met at its worst."""

    kind: type[RealServer]
    idle: int = IDLE
    late: float = 0.0
    """Seconds beyond its limit within which it gets round to hanging up."""
    hinted: bool = False
    """It says so. The oracle, and those who think, keep to that."""

    @property
    def limit(self) -> float:
        return self.idle if self.hinted else self.idle + self.kind.grace

    def think(self, chance: random.Random) -> float:
        if self.late and chance.random() < 0.5:
            return chance.uniform(self.limit, self.limit + self.late)
        return self.limit * chance.uniform(1 - NEAR, 1 + NEAR)

    @property
    def mean_think(self) -> float:
        return self.limit + self.late / 4


# gunicorn looks once a second for what is older than its limit, Tomcat up to two seconds late.
SETTINGS = [
    Setting(Nginx),
    Setting(Httpd),
    Setting(Haproxy),
    Setting(Node),
    Setting(Tomcat, late=2.0),
    Setting(Gunicorn, idle=max(IDLE, 2), late=1.0),
]


@dataclass
class Seen:
    """Of the requests after learning, but for ``failed``."""

    idles: list[float] = field(default_factory=list)
    """Seconds, from the end of one request to the beginning of the next."""
    opened: int = 0
    stale: int = 0
    """Requests that failed on a connection that had carried others, repaired or not."""
    stale_while_learning: int = 0
    failed: list[str] = field(default_factory=list)
    """What the caller was told, at any time."""

    def __add__(self, other: Seen) -> Seen:
        return Seen(
            self.idles + other.idles,
            self.opened + other.opened,
            self.stale + other.stale,
            self.stale_while_learning + other.stale_while_learning,
            self.failed + other.failed,
        )

    def opened_by_oracle(self, limit: float) -> int:
        return sum(idle >= limit for idle in self.idles)


class Client:
    """One connection, used by one thread that thinks between two requests."""

    def __init__(self, server: RealServer, setting: Setting, policy: Policy | None, path: str) -> None:
        self._pool = wrapped(server, policy, maxsize=1)
        self._setting = setting
        self._path = path
        self._ended = 0.0
        self.seen = Seen()

    def run(self, method: str, name: str, rounds: int) -> Seen:
        chance = random.Random(name)
        with self._pool:
            time.sleep(chance.uniform(0, self._setting.limit))
            self._request(method, f"{name}-first")
            opened = stale = 0
            for number in range(LEARNING + rounds):
                if number == LEARNING:
                    opened, stale = self._opened(), self._stale()
                time.sleep(self._setting.think(chance))
                idle = time.monotonic() - self._ended
                self._request(method, f"{name}-{number}")
                if number >= LEARNING:
                    self.seen.idles.append(idle)
            self.seen.opened = self._opened() - opened
            self.seen.stale, self.seen.stale_while_learning = self._stale() - stale, stale
        return self.seen

    def _request(self, method: str, name: str) -> None:
        body = b"body" if method == "POST" else None
        try:
            response = self._pool.request(method, f"{self._path}?id={name}", body=body)
        except HTTPError as error:
            report = holdfast.report(error)
            self.seen.failed.append(f"{name}: {error!r} {report and (report.verdict, report.reused)}")
        else:
            assert response.status == 200
        self._ended = time.monotonic()

    def _opened(self) -> int:
        return holdfast.stats(self._pool).opened

    def _stale(self) -> int:
        stats = holdfast.stats(self._pool)
        return sum(stats.repeated.values()) + sum(stats.refused.values())


def crowd(
    server: RealServer, setting: Setting, policy: Policy | None, path: str, seconds: float, gets: int
) -> dict[str, Seen]:
    """By method, what all clients of one server saw."""
    rounds = round(seconds * IDLE / setting.mean_think)
    shares = [("GET", -(-gets // rounds)), ("POST", -(-gets // GETS_FOR_A_POST // rounds))]
    with ThreadPoolExecutor(sum(count for _, count in shares)) as threads:
        running = [
            (
                method,
                threads.submit(Client(server, setting, policy, path).run, method, f"{method}-{n}", rounds),
            )
            for method, count in shares
            for n in range(count)
        ]
        seen = {method: Seen() for method, _ in shares}
        for method, one in running:
            seen[method] += one.result()
    return seen


def crowds(
    servers: list[tuple[RealServer, Setting]], policy: Policy | None, seconds: float, gets: int = GETS
) -> list[dict[str, Seen]]:
    """All servers at the same time, for about so many seconds (times ``IDLE``)."""
    with ThreadPoolExecutor(len(servers)) as threads:
        running = [
            threads.submit(
                crowd,
                server,
                setting,
                policy,
                server.path if setting.hinted else server.path_without_hint,
                seconds,
                gets,
            )
            for server, setting in servers
        ]
        return [one.result() for one in running]


@dataclass(frozen=True)
class Bounds:
    """What is allowed at the most."""

    stale: float
    """Of the requests after learning."""
    opened: float
    """Times what the oracle opens."""
    gets: int = GETS
    round_trip: float = 0.0
    """Seconds. A request that is sent so long before the limit arrives too late, and the oracle knows it: the
    server's time began half a round trip before its answer was here."""


def show(server: RealServer, setting: Setting, method: str, seen: Seen, bounds: Bounds) -> None:
    limits = [
        one.idle_limit for name, one in holdfast.learned().limits().items() if f":{server.port} " in name
    ]
    print(  # noqa: T201
        f"{server.name} {method}: {seen.stale} of {len(seen.idles)} requests went out on a stale connection "
        f"(while learning {seen.stale_while_learning}), {len(seen.failed)} failed; opened {seen.opened}, "
        f"the oracle {seen.opened_by_oracle(setting.limit - bounds.round_trip)}; limit {setting.limit:g}, learned {limits}"
    )


def check(server: RealServer, setting: Setting, all_seen: dict[str, Seen], bounds: Bounds) -> None:
    for method, seen in all_seen.items():
        show(server, setting, method, seen, bounds)
    gets, posts = all_seen["GET"], all_seen["POST"]
    executed = server.executed()
    assert len(gets.idles) >= bounds.gets
    assert gets.failed == []
    assert gets.stale <= bounds.stale * len(gets.idles)
    assert gets.opened <= bounds.opened * gets.opened_by_oracle(setting.limit - bounds.round_trip)
    assert len(posts.failed) <= MOST_POSTS_FAILED * len(posts.idles), posts.failed
    assert [name for name, times in executed.items() if times > 1] == []
    assert len(executed) >= len(posts.idles) - len(posts.failed)
