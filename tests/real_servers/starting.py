"""A server that is not installed skips its tests; on CI (``CI`` in the environment) it fails them.

No conftest.py: mypy takes two of them for the same module.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from conversation import Start
from servers import RealServer, Settings


@pytest.fixture
def start() -> Iterator[Start]:
    """``start(Nginx)``; what it started is stopped and removed after the test."""
    started: list[RealServer] = []

    def start(kind: type[RealServer], idle: int = 1, max_requests: int | None = None) -> RealServer:
        require(kind)
        server = kind(Settings(idle, max_requests))
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.remove()


def require(kind: type[RealServer]) -> None:
    """That it is installed."""
    missing = kind.missing()
    if missing is None:
        return
    reason = f"{missing} is not installed (.ci/install_servers does it)"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
