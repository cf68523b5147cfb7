"""A client that is given another address while its connections lie idle, as by a VPN or another Wi-Fi."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from cases import CLIENT, SERVER, Path, Sky, port
from firewall import why_no_firewall
from on_the_wire import demand, lab
from urllib3 import HTTPConnectionPool
from wire import Lab

import holdfast
from holdfast import CloseReason, Reply

__all__ = ["lab"]  # a fixture

pytestmark = pytest.mark.wire

OTHER = "10.77.0.3"
COUNT = 3
HEARD_OF = 1.1
"""Seconds after which a kernel can be asked."""
PATIENCE = 10.0


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@contextmanager
def another_address() -> Iterator[None]:
    ip("address", "del", f"{CLIENT}/24", "dev", "wire0")
    ip("address", "add", f"{OTHER}/24", "dev", "wire0")
    try:
        yield
    finally:
        ip("address", "del", f"{OTHER}/24", "dev", "wire0")
        ip("address", "add", f"{CLIENT}/24", "dev", "wire0")


def fill(pool: HTTPConnectionPool, numbers: range) -> None:
    for answer in [pool.urlopen("GET", f"/do/{number}", preload_content=False) for number in numbers]:
        answer.read()


def wait_for_the_news(pool: Any) -> None:
    until = time.monotonic() + PATIENCE
    known, lay = pool.pool.queue[-1]._holdfast.known, pool.pool.queue[-1]._holdfast.entry.idle_since
    while known.suspect < lay:
        assert time.monotonic() < until, "nobody was told"
        time.sleep(0.005)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_no_request_goes_out_from_the_old_one(lab: Lab, method: str) -> None:
    demand(why_no_firewall())  # which needs ip as well
    with lab.client():
        pool = HTTPConnectionPool(
            SERVER, port(Path.PLAIN, Sky.CLEAR), maxsize=COUNT, retries=False, timeout=10
        )
        with holdfast.wrap(pool):
            fill(pool, lab.numbers(COUNT))
            time.sleep(HEARD_OF)
            with another_address():
                wait_for_the_news(pool)
                for number in lab.numbers(2):
                    body = b"x" if method == "POST" else None
                    assert pool.request(method, f"/do/{number}", body=body).status == 200
                stats = holdfast.stats(pool)
    assert CloseReason.FAILED not in stats.closed
    assert not stats.probes.get(Reply.ANSWERED)
    assert stats.closed.get(CloseReason.UNANSWERED, 0) >= 1, stats
