"""A server that is down for a second and a half, as in a restart, fails nobody: a refused connection
took no request, so any method may wait for the server to come back.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
import urllib3
from cases import Path, Sky
from on_the_wire import lab
from test_wire_cuts import session_for
from trial import close, make_manager, origin_of
from wire import Lab

import holdfast

__all__ = ["lab"]

pytestmark = pytest.mark.wire

SECONDS = 1.5
EACH = 4
"""Clients of each kind."""
MOST_CONNECTIONS = 12
"""Tried for each request, at the most, in that time."""

Ask = Callable[[str, str], "tuple[int, bytes]"]


@pytest.mark.parametrize("warmed", [True, False], ids=["with a pooled connection", "on a new one"])
@pytest.mark.parametrize("path", [Path.PLAIN, Path.TLS_1_3], ids=lambda path: path.name)
def test_nobody_notices_a_server_that_is_down_for_a_moment(lab: Lab, path: Path, *, warmed: bool) -> None:
    with lab.client():
        clients = [made for _ in range(EACH) for made in _clients(path, lab)]
        kinds = [(ask, method) for ask, _ in clients for method in ("GET", "POST")]
        if warmed:
            for ask, _ in clients:
                ask("GET", _url(path, lab.numbers(1)[0]))
        lab.take_down(path, Sky.CLEAR, SECONDS)
        tried = lab.connections_tried(path, Sky.CLEAR)
        time.sleep(2 * lab.delay)  # the connections' ends are on their way
        numbers = lab.numbers(len(kinds))
        with ThreadPoolExecutor(len(kinds)) as threads:
            seen = list(threads.map(_answer, kinds, numbers, [path] * len(kinds)))
        for _, end in clients:
            end()
    assert [one for one in seen if one is not None] == []
    ledger = lab.ledger()
    assert [number for number in numbers if ledger.executions[number] != 1] == []
    assert lab.connections_tried(path, Sky.CLEAR) - tried <= MOST_CONNECTIONS * len(kinds)


def _answer(kind: tuple[Ask, str], number: int, path: Path) -> str | None:
    """What went wrong."""
    ask, method = kind
    started = time.monotonic()
    try:
        status, data = ask(method, _url(path, number))
    except Exception as error:
        return f"{method} after {time.monotonic() - started:.2f} s: {error!r}\n{holdfast.report(error)}"
    return None if (status, data) == (200, str(number).encode()) else f"{method}: {status} {data!r}"


def _url(path: Path, number: int) -> str:
    return f"{origin_of(path, Sky.CLEAR)}/do/{number}"


def _clients(path: Path, lab: Lab) -> list[tuple[Ask, Callable[[], None]]]:
    """urllib3 with its defaults, without retries, and requests; and what closes them."""
    default = holdfast.wrap(make_manager(path, Sky.CLEAR, lab.client_context()))
    without = holdfast.wrap(make_manager(path, Sky.CLEAR, lab.client_context()))
    session = holdfast.wrap(session_for(path, lab))
    return [
        (_by_manager(default), lambda: close(default)),
        (_by_manager(without, retries=False), lambda: close(without)),
        (_by_session(session), session.close),
    ]


def _by_manager(manager: urllib3.PoolManager, **settings: Any) -> Ask:
    def ask(method: str, url: str) -> tuple[int, bytes]:
        response = manager.request(method, url, **settings)
        return response.status, response.data

    return ask


def _by_session(session: requests.Session) -> Ask:
    lock = threading.Lock()  # a session is for one thread at a time

    def ask(method: str, url: str) -> tuple[int, bytes]:
        with lock:
            response = session.request(method, url, timeout=10)
        return response.status_code, response.content

    return ask
