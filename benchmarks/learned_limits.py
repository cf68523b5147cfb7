"""After it has learned an origin's limits, does a client meet at most 1 stale connection in 1,000 requests,
and open at most 1.2 times the connections of an oracle that knows them?

    python benchmarks/learned_limits.py [--quick] [--plot FILE.png]

Simulated servers and a simulated client: see _idle_servers.py and _idle_client.py. The exit status is 0 for
yes, 1 for no, 2 if it could not run. See README.md beside this file.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table

from _idle_client import Mind, run
from _idle_servers import SERVERS, THINKING, Server
from _rounds import Circumstances

__all__ = ["main"]

MOST_STALE = 1.0
MOST_OPENED = 1.2
QUESTION = (
    f"After it has learned, does a client meet at most {MOST_STALE:g} stale connection in 1,000 requests, and"
    f" open at most {MOST_OPENED:g} times the connections of an oracle that knows the limit?"
)

_SHOWN = (Mind.BLIND, Mind.LEARNING, Mind.ORACLE)


@dataclass(frozen=True)
class _Row:
    """All for 1,000 requests, means over the runs."""

    server: Server
    thinking: str
    stale: dict[Mind, float]
    opened: dict[Mind, float]
    at_first: float
    """Stale uses while it learned, in each run."""

    @property
    def times_oracle(self) -> float:
        return self.opened[Mind.LEARNING] / self.opened[Mind.ORACLE]

    @property
    def missed(self) -> str:
        missed = []
        if self.stale[Mind.LEARNING] > MOST_STALE:
            missed.append(f"{self.stale[Mind.LEARNING]:.1f} stale")
        if self.times_oracle > MOST_OPENED:
            missed.append(f"{self.times_oracle:.2f} times the connections")
        return " and ".join(missed)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="1 run of 2,000 requests instead of 5 of 5,000")
    parser.add_argument("--plot", metavar="FILE.png", help="draw it as well; needs matplotlib")
    arguments = parser.parse_args(argv)
    requests, runs = (2000, 1) if arguments.quick else (5000, 5)
    circumstances = Circumstances(["holdfast"])
    rows = [_row(server, thinking, requests, runs) for server in SERVERS for thinking in THINKING]
    status = _tell(rows, requests, runs)
    print(circumstances)
    if arguments.plot and not _draw(rows, arguments.plot):
        return 2
    return status


def _row(server: Server, thinking: str, requests: int, runs: int) -> _Row:
    stale, opened, at_first = {}, {}, 0.0
    for mind in Mind:
        counts = [
            run(server, mind, THINKING[thinking], requests=requests, seed=1 + seed) for seed in range(runs)
        ]
        of = sum(one.requests for one in counts) / 1000
        stale[mind] = sum(one.stale for one in counts) / of
        opened[mind] = sum(one.opened for one in counts) / of
        if mind is Mind.LEARNING:
            at_first = sum(one.at_first for one in counts) / runs
    return _Row(server, thinking, stale, opened, at_first)


def _tell(rows: list[_Row], requests: int, runs: int) -> int:
    missed = list(_missed(rows))
    print(QUESTION)
    print("No." if missed else "Yes.")
    for line in missed:
        print(f"  {line}")
    print(f"\nFor 1,000 requests; {runs} runs of {requests:,} each.")
    Console(width=165).print(_table(rows))
    return 1 if missed else 0


def _missed(rows: list[_Row]) -> Iterator[str]:
    for row in rows:
        if row.missed:
            why = f" ({row.server.missed})" if row.server.missed else ""
            yield f"{row.server.name}, {row.thinking}: {row.missed}{why}"


def _table(rows: list[_Row]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, header_style="dim")
    table.add_column("\nserver", no_wrap=True)
    table.add_column("\nthinking", no_wrap=True)
    for title in (
        "stale\nblind",
        "\nlearned",
        "\noracle",
        "\nat first",
        "opened\nblind",
        "\nlearned",
        "\noracle",
        "times\noracle",
        "opened,\nheedless",
    ):
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row.server.name,
            row.thinking,
            *(f"{row.stale[mind]:.2f}" for mind in _SHOWN),
            f"{row.at_first:.1f}",
            *(f"{row.opened[mind]:.0f}" for mind in _SHOWN),
            f"{row.times_oracle:.2f}",
            f"{row.opened[Mind.HEEDLESS]:.0f}" if row.server.hint else "",
        )
    return table


def _draw(rows: list[_Row], file: str) -> bool:
    try:
        from _learned_plot import plot  # noqa: PLC0415 - only those who ask for a picture need matplotlib
    except ImportError as error:
        print(f"learned_limits: {error}", file=sys.stderr)
        return False
    worst = [
        (row.server.name, row.stale[Mind.BLIND], row.stale[Mind.LEARNING])
        for row in rows
        if row.thinking == next(iter(THINKING))
    ]
    plot(worst, MOST_STALE, file)
    return True


if __name__ == "__main__":
    sys.exit(main())
