"""What the tests of this directory say to a server, and how they wait for it to hang up."""

from __future__ import annotations

import time
from typing import Any, Protocol

from servers import RealServer
from urllib3 import HTTPConnectionPool

import holdfast
from holdfast import Policy, PoolLimits

# Real servers hang up when it suits them; Tomcat after up to three times its limit.
SECONDS_TO_HANG_UP = 10.0

UNHINTED = Policy(limits=PoolLimits(ask_keep_alive=False))
"""For servers that give hints to those who ask: without one, holdfast has to notice by itself."""


class Start(Protocol):
    def __call__(
        self, kind: type[RealServer], idle: int = 1, max_requests: int | None = None
    ) -> RealServer: ...


def wrapped(server: RealServer, policy: Policy | None = None, **settings: Any) -> HTTPConnectionPool:
    """A pool whose user retries nothing: what succeeds is holdfast's work."""
    return holdfast.wrap(HTTPConnectionPool(server.host, server.port, retries=False, **settings), policy)


def get(pool: HTTPConnectionPool, path: str) -> None:
    assert pool.request("GET", path).status == 200


def post(pool: HTTPConnectionPool, path: str, name: str) -> None:
    """``name`` is found again in ``server.executed()``."""
    assert pool.request("POST", f"{path}?id={name}", body=b"body").status == 200


def pooled(pool: HTTPConnectionPool) -> Any:
    """The connection that will be lent next."""
    assert pool.pool is not None
    return pool.pool.queue[-1]


def wait_for_hang_up(pool: HTTPConnectionPool) -> None:
    """Until the server has hung up on the idle connection, and the watcher has closed and counted it."""
    until = time.monotonic() + SECONDS_TO_HANG_UP
    while (stats := holdfast.stats(pool)).idle or not stats.closed:
        assert time.monotonic() < until, "the server did not hang up"
        time.sleep(0.0005)
