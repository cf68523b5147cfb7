"""One trial from the client's side: connect, be answered, wait for the moment, send, compare.

The client is as its user would make it: a manager, wrapped with the default policy, one request at a time,
never an Idempotency-Key. A listener is added, which takes notes; and a clock, by which each client learns for
itself only: the second would stay out of the way of what the first has met.
"""

from __future__ import annotations

import io
import ssl
import threading
import time
from collections.abc import Iterator
from typing import Any

import urllib3
from cases import PROXY_ORIGIN, SERVER, Outcome, Path, Sky, Trial, port
from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError

import holdfast
from holdfast.events import Event, RepeatDecided

__all__ = ["close", "let_clients_be_late", "make_manager", "origin_of", "proxy_of", "run"]

_TIMEOUT = urllib3.Timeout(connect=10.0, read=10.0)


class _Notes(threading.local):
    attempts: list[tuple[str, str]]
    late = 0.0


_notes = _Notes()


def _listen(event: Event) -> None:
    # Called in the thread whose request it is about.
    if isinstance(event, RepeatDecided):
        _notes.attempts.append((event.progress.name, event.verdict.name))


_POLICY = holdfast.Policy(listener=_listen, clock=time.monotonic)


def let_clients_be_late() -> None:
    """Once per process. Below everything that holdfast does, and only for the first attempt."""
    look_for_answer = HTTPConnection.getresponse

    def getresponse(conn: HTTPConnection) -> Any:
        late, _notes.late = _notes.late, 0.0
        time.sleep(late)
        return look_for_answer(conn)

    HTTPConnection.getresponse = getresponse  # type: ignore[assignment, method-assign]


def make_manager(
    path: Path, sky: Sky, tls: ssl.SSLContext, *, timeout: urllib3.Timeout = _TIMEOUT
) -> urllib3.PoolManager:
    """Not wrapped yet."""
    if path.proxied:
        return urllib3.ProxyManager(proxy_of(path, sky), ssl_context=tls, timeout=timeout)
    return urllib3.PoolManager(ssl_context=tls, timeout=timeout)


def proxy_of(path: Path, sky: Sky) -> str:
    return f"http://{SERVER}:{port(path, sky)}"


def origin_of(path: Path, sky: Sky) -> str:
    scheme = "https" if path.tls else "http"
    return f"{scheme}://{PROXY_ORIGIN}" if path.proxied else f"{scheme}://{SERVER}:{port(path, sky)}"


def run(trial: Trial, delay: float, tls: ssl.SSLContext) -> Outcome:
    _notes.attempts = []
    outcome = Outcome(trial, attempts=_notes.attempts)
    path, sky = Path[trial.path], Sky[trial.sky]
    manager = make_manager(path, sky, tls)
    if trial.client == "holdfast":
        holdfast.wrap(manager, _POLICY)
    try:
        _go(trial, outcome, manager, origin_of(path, sky), delay)
    finally:
        close(manager)
    return outcome


def _go(trial: Trial, outcome: Outcome, manager: Any, origin: str, delay: float) -> None:
    try:
        warm = manager.request("GET", f"{origin}/warm/{trial.adversary}/{trial.number}", retries=False)
        outcome.moment = float(warm.headers["X-T"])
        outcome.first_port = _pooled_socket(manager).getsockname()[1]
    except (HTTPError, OSError, KeyError, AttributeError) as error:
        outcome.answer, outcome.error = "unwarmed", repr(error)
        return
    del outcome.attempts[:]
    time.sleep(max(0.0, outcome.moment + trial.offset * delay - time.monotonic()))
    _send(trial, outcome, manager, origin, delay)


def _send(trial: Trial, outcome: Outcome, manager: Any, origin: str, delay: float) -> None:
    kind = "forge" if trial.adversary == "FORGED_FIN" else "do"
    body, headers = _body(trial, delay)
    _notes.late = trial.late
    outcome.sent = time.monotonic()
    try:
        response = manager.request(
            trial.method, f"{origin}/{kind}/{trial.number}", body=body, headers=headers
        )
    except (HTTPError, OSError) as error:
        outcome.answer = "error"
        report = holdfast.report(error)
        outcome.error = f"{error!r}" if report is None else f"{report.progress.name}: {report.error}"
    except Exception as error:
        # Whoever catches what urllib3 raises does not catch this.
        outcome.answer, outcome.error = "foreign", repr(error)
    else:
        own = response.status == 200 and response.data == str(trial.number).encode()
        outcome.answer = "own" if own else "stray"
    outcome.ended = time.monotonic()


class Withheld(io.BytesIO):
    """A file that can be read again, and whose last byte comes so late that the peer has hung up."""

    def __init__(self, size: int, late: float) -> None:
        super().__init__(b"x" * size)
        self._size, self._late = size, late

    def read(self, size: int | None = -1) -> bytes:
        left = self._size - self.tell()
        if left > 1:
            return super().read(left - 1)
        if left == 1:
            time.sleep(self._late)
        return super().read(size)


def _withheld_chunk(size: int, late: float) -> Iterator[bytes]:
    yield b"x" * (size - 1)
    time.sleep(late)
    yield b"x"


def _body(trial: Trial, delay: float) -> tuple[Any, dict[str, str]]:
    if trial.method != "POST":
        return None, {}
    if trial.adversary != "LAST_BYTE_WITHHELD":
        return b"x" * trial.body, {}
    late = 4 * delay  # the first half is there after one, the peer's answer to it after two
    if trial.number % 2:
        return _withheld_chunk(trial.body, late), {}
    return Withheld(trial.body, late), {"Content-Length": str(trial.body)}


def _pooled_socket(manager: Any) -> Any:
    (pool,) = manager.pools._container.values()
    return pool.pool.queue[-1].sock


def close(manager: Any) -> None:
    for pool in list(manager.pools._container.values()):
        pool.close()
    manager.clear()
