"""What a client knows ahead: `python tests/faults/ahead.py [--count N] [--threads N]`.

On a wire of 15 ms each way, connections that lay idle meet a server that hangs up at a limit, by FIN or by
RST, with requests as close to it as 60 ms before and after; or a firewall that forgot them in silence.
The first few trials of each row are made one after the other: what a client learns it learns from these.
They are counted with the others. Exit status 1 if anything was executed twice or a target is missed, 2 if
there can be no wire here.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import urllib3
from cases import Path, Sky
from namespaces import why_not
from rich.console import Console
from rich.table import Table
from trial import close, make_manager, origin_of
from urllib3.exceptions import HTTPError
from wire import Lab, percentile

import holdfast

__all__ = ["LIMIT", "TIMEOUT", "Ride", "Row", "forgotten", "hinted", "limited", "ride"]

DELAY = 0.015
LIMIT = 1.0
NEAR = 0.06
"""Seconds before and after the limit."""
FORGETS, LIES = 1.0, 2.0
"""Seconds of silence after which the firewall forgets a connection, and that the clients are silent."""
TIMEOUT = 10.0
LEARNERS = {"limit": 3, "do": 1, "hint": 0}
"""Trials that are made one after the other, before all others at once."""
BARE = 30
"""Trials of each row with urllib3 as it is."""


@dataclass
class Ride:
    """One request on a connection that lay idle."""

    number: int
    seconds: float
    error: str | None


@dataclass
class Row:
    what: str
    path: Path
    method: str
    client: str
    rides: list[Ride] = field(default_factory=list)
    executed_twice: int = 0
    repeated: int = 0
    """Requests that met the end of their connection, and were sent again unnoticed."""
    fresh: float = 0.0
    """Seconds that the same request takes on a new connection, by the median."""

    @property
    def failed(self) -> list[Ride]:
        return [ride for ride in self.rides if ride.error]

    def beyond(self, share: float) -> float:
        """Seconds beyond what a new connection takes."""
        return percentile([ride.seconds for ride in self.rides], share) - self.fresh


class Rider:
    """A client with one connection, which it lets lie between two requests."""

    def __init__(self, lab: Lab, row: Row, kind: str) -> None:
        self._row = row
        self._url = f"{origin_of(row.path, Sky.CLEAR)}/{kind}"
        self._method = row.method
        self._manager = make_manager(
            row.path, Sky.CLEAR, lab.client_context(), timeout=urllib3.Timeout(TIMEOUT)
        )
        if row.client == "holdfast":
            holdfast.wrap(self._manager)

    def ask(self, number: int) -> str | None:
        try:
            response = self._manager.request(
                self._method, f"{self._url}/{number}", body=b"x" if self._method == "POST" else None
            )
        except HTTPError as error:
            return repr(error)
        return None if response.data == str(number).encode() else f"answered {response.data!r}"

    def ride(self, numbers: tuple[int, int], idle: float) -> Ride:
        warm = self.ask(numbers[0])
        if warm is not None:
            return Ride(numbers[0], 0.0, f"on a connection in steady use: {warm}")
        time.sleep(idle)
        began = time.monotonic()
        error = self.ask(numbers[1])
        return Ride(numbers[1], time.monotonic() - began, error)

    def leave(self) -> None:
        if self._row.client == "holdfast":
            self._row.repeated += sum(holdfast.stats(self._manager).repeated.values())
        close(self._manager)


def limited(lab: Lab, how: str, method: str, count: int, threads: int, client: str = "holdfast") -> Row:
    """A server that hangs up at the limit; ``how``: ``fin`` or ``rst``."""
    row = Row(
        f"{how.upper()} after {LIMIT:g} s, requests {NEAR * 1000:g} ms around", Path.PLAIN, method, client
    )
    chance = random.Random(f"{lab.seed} {how} {method}")
    idles = [LIMIT + chance.uniform(-NEAR, NEAR) for _ in range(count)]
    return ride(lab, row, f"limit/{LIMIT}/{how}", idles, threads)


def forgotten(
    lab: Lab,
    path: Path,
    method: str,
    count: int,
    threads: int,
    client: str = "holdfast",
    *,
    tells: bool = False,
) -> Row:
    """A firewall that drops what was silent for too long, and says nothing; or refuses it (``tells``)."""
    what = "refused" if tells else "dropped"
    row = Row(f"{what} after {FORGETS:g} s, requests after {LIES:g} s", path, method, client)
    with lab.firewall(FORGETS, tells=tells):
        return ride(lab, row, "do", [LIES] * count, threads)


def hinted(lab: Lab, method: str, count: int, threads: int) -> Row:
    """A server that says ``Keep-Alive: timeout=1``, and a firewall that then forgets in silence."""
    row = Row(f"says timeout={FORGETS:g}, then dropped", Path.PLAIN, method, "holdfast")
    chance = random.Random(f"{lab.seed} hint {method}")
    with lab.firewall(FORGETS):
        return ride(lab, row, f"hint/{FORGETS:g}", [chance.uniform(0.1, LIES) for _ in range(count)], threads)


def ride(lab: Lab, row: Row, kind: str, idles: Sequence[float], threads: int) -> Row:
    numbers = lab.numbers(2 * len(idles))
    pairs = list(zip(numbers[::2], numbers[1::2], strict=True))

    def some(share: slice) -> list[Ride]:
        with _riding(Rider(lab, row, kind)) as rider:
            return [rider.ride(pair, idle) for pair, idle in zip(pairs[share], idles[share], strict=True)]

    def on_a_new_connection(number: int) -> float:
        with _riding(Rider(lab, row, kind)) as rider:
            began = time.monotonic()
            rider.ask(number)
            return time.monotonic() - began

    holdfast.learned().forget()
    with lab.client(), ThreadPoolExecutor(threads) as crew:
        learners = LEARNERS[kind.partition("/")[0]] if row.client == "holdfast" else 0
        row.rides = some(slice(learners))
        shares = [slice(learners + first, None, threads) for first in range(threads)]
        row.rides += [one for rides in crew.map(some, shares) for one in rides]
        row.fresh = percentile([on_a_new_connection(number) for number in lab.numbers(9)], 0.5)
    executions = lab.ledger().executions
    row.executed_twice = sum(executions[one.number] > 1 for one in row.rides) if row.method == "POST" else 0
    return row


@contextmanager
def _riding(rider: Rider) -> Iterator[Rider]:
    try:
        yield rider
    finally:
        rider.leave()


# -- the table


def complaints(row: Row) -> list[str]:
    name = f"{row.what}, {row.path.value}, {row.method}"
    found = []
    allowed = len(row.rides) // 100 if row.method == "POST" and "around" in row.what else 0
    if len(row.failed) > allowed:
        found.append(f"{name}: {len(row.failed)} failed, {allowed} allowed")
    if row.executed_twice:
        found.append(f"{name}: {row.executed_twice} executed twice")
    most = 3 * 2 * DELAY + 0.1
    if "dropped" in row.what and row.beyond(0.99) > most:
        found.append(
            f"{name}: p99 {row.beyond(0.99) * 1000:.0f} ms beyond a new connection, not {most * 1000:.0f}"
        )
    return found


def run(lab: Lab, count: int, threads: int) -> Iterator[Row]:
    for client, some in (("urllib3", min(count, BARE)), ("holdfast", count)):
        for how in ("fin", "rst"):
            for method in ("GET", "POST"):
                yield limited(lab, how, method, some, threads, client)
        for path in (Path.PLAIN, Path.TLS_1_3, Path.CONNECT):
            for method in ("GET", "POST"):
                yield forgotten(lab, path, method, some, threads, client)
        for method in ("GET", "POST"):
            yield forgotten(lab, Path.PLAIN, method, some, threads, client, tells=True)


def show(rows: Sequence[Row], console: Console) -> None:
    table = Table()
    for name in ("client", "what happens to the connection", "path", "method"):
        table.add_column(name, no_wrap=True)
    for name in ("trials", "failed for\nthe caller", "executed\ntwice", "ms beyond\nnew, p50", "p99"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            row.client,
            row.what,
            row.path.value,
            row.method,
            f"{len(row.rides)}",
            f"{len(row.failed)}",
            f"{row.executed_twice}",
            f"{row.beyond(0.5) * 1000:.0f}",
            f"{row.beyond(0.99) * 1000:.0f}",
        )
    console.print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", 2)[1] if __doc__ else None)
    parser.add_argument("--count", type=int, default=300, help="trials of each row")
    parser.add_argument("--threads", type=int, default=30, help="clients at the same time")
    options = parser.parse_args()
    reason = why_not()
    if reason is not None:
        Console(stderr=True).print(reason)
        return 2
    with Lab(delay=DELAY, seed=1) as lab:
        rows = list(run(lab, options.count, options.threads))
    console = Console(width=None if sys.stdout.isatty() else 140)
    show(rows, console)
    found = [complaint for row in rows if row.client == "holdfast" for complaint in complaints(row)]
    for complaint in found:
        console.print(f"[bold red]{complaint}")
    console.print("[bold red]NOT as promised" if found else "[bold green]as promised")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
