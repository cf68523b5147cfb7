"""Every fault of the fault server, over every kind of path, with every kind of request.

Whatever happens: no unsafe request is executed twice, no answer is handed over that is not the
caller's, every failure has a report; and for the faults that make a reused connection stale, a
safe request never fails.

The seeded trials are few by default. HOLDFAST_TRIALS=500 is what the slow lane of CI runs.
"""

from __future__ import annotations

import os
import random
import ssl
from typing import Any, NamedTuple

import pytest
from urllib3.exceptions import HTTPError

import holdfast
from holdfast.testing import Fault, FaultServer, Via, on_reuse

TRIALS = int(os.environ.get("HOLDFAST_TRIALS", "20"))


class Path(NamedTuple):
    tls: bool
    via: Via


PATHS = {
    "plain": Path(tls=False, via=Via.DIRECT),
    "tls": Path(tls=True, via=Via.DIRECT),
    "forward": Path(tls=False, via=Via.FORWARD),
    "connect": Path(tls=True, via=Via.CONNECT),
}
# Faults that follow an answer; the others meet a request.
AFTER_THE_ANSWER = {
    Fault.CLOSE_WHILE_IDLE,
    Fault.RESET_WHILE_IDLE,
    Fault.HALF_CLOSE_WHILE_IDLE,
    Fault.IDLE_408,
    Fault.STRAY_BYTES_WHILE_IDLE,
    Fault.STRAY_BYTES_AFTER,
    Fault.ANSWER_THEN_CLOSE,
    Fault.ANNOUNCE_CLOSE_AND_STAY,
}
MAKE_IT_STALE = AFTER_THE_ANSWER | {
    Fault.CLOSE_AS_REQUEST_LEAVES,
    Fault.RESET_AS_REQUEST_LEAVES,
    Fault.HALF_CLOSE_AS_REQUEST_LEAVES,
    Fault.READ_HALF_THEN_RESET,
    Fault.READ_THEN_CLOSE,
    Fault.READ_THEN_RESET,
}
FAULTS = [fault for fault in Fault if fault is not Fault.READ_THEN_SILENCE]
KEY = {"Idempotency-Key": "k"}
SAFE: list[tuple[str, dict[str, str]]] = [
    ("GET", {}),
    ("HEAD", {}),
    ("PUT", {}),
    ("DELETE", {}),
    ("POST", KEY),
]
UNSAFE: list[tuple[str, dict[str, str]]] = [("POST", {}), ("PATCH", {})]
RETRIES = [None, False, 0, 3]


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_nothing_twice_nothing_wrong_nothing_unexplained(
    fault: Fault, path: Path, client: Any, server_tls: ssl.SSLContext
) -> None:
    if fault is Fault.CORRUPT_TLS_RECORD and not path.tls:
        return
    chance = random.Random(f"{fault.name} {path}")
    for number in range(TRIALS):
        method, headers = chance.choice(SAFE + UNSAFE * 2)
        plan = [fault] if fault in AFTER_THE_ANSWER else on_reuse(fault, after=chance.randint(1, 2))
        with FaultServer([plan], ssl_context=server_tls if path.tls else None, via=path.via) as server:
            manager = client(server)
            for warm in range(max(1, len(plan) - 1)):
                manager.request("GET", f"{server.url}/warm/{warm}")
            server.settle()
            send(
                manager, server, method, headers, chance, expect_success=fault in MAKE_IT_STALE, number=number
            )
            close(manager)


def close(manager: Any) -> None:
    # Not clear(): log records keep the error, its frames and so the pools alive for a while.
    for pool in list(manager.pools._container.values()):
        pool.close()


def send(
    manager: Any,
    server: FaultServer,
    method: str,
    headers: dict[str, str],
    chance: random.Random,
    *,
    expect_success: bool,
    number: int,
) -> None:
    target = f"/r/{number}"
    body = (
        chance.randbytes(chance.choice([0, 10, 3_000, 30_000]))
        if method in ("POST", "PUT", "PATCH")
        else None
    )
    safe = (method, headers) in SAFE
    try:
        response = manager.request(
            method, server.url + target, body=body, headers=headers, retries=chance.choice(RETRIES)
        )
    except HTTPError as error:
        assert not (safe and expect_success), f"{method} failed although it can be repeated: {error!r}"
        assert holdfast.report(error) is not None
    else:
        assert response.status == 200
        assert response.data == (b"" if method == "HEAD" else f"{method} {target}".encode())
    if not safe:
        assert server.ledger.count(method, target) <= 1


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize(
    "fault", [Fault.READ_THEN_RESET, Fault.READ_THEN_CLOSE, Fault.CUT_HEAD, Fault.CUT_BODY]
)
def test_on_a_fresh_connection_nothing_twice_either(
    fault: Fault, path: Path, client: Any, server_tls: ssl.SSLContext
) -> None:
    chance = random.Random(f"{fault.name} {path}")
    for number in range(TRIALS // 4 or 1):
        with FaultServer([[fault]] * 9, ssl_context=server_tls if path.tls else None, via=path.via) as server:
            manager = client(server)
            method, headers = chance.choice(UNSAFE)
            send(manager, server, method, headers, chance, expect_success=False, number=number)
            close(manager)
