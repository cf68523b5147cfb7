"""The adversarial table: `python tests/faults/table.py [--posts N] [--seed S] [--json FILE]`.

Every adversary meets POSTs over every path in every weather, on a wire of 15 ms each way; what the
client says is held against what the server executed. Exit status 1 if anything was executed twice,
said wrongly or answered wrongly (the two pinned limits apart), 2 if there can be no wire here.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path as File
from typing import Any

from cases import LIMITS, STRAYS, Adversary, Outcome, Path, Sky, Trial
from crew import run_trials
from namespaces import why_not
from rich.console import Console
from rich.table import Table
from scoring import Score, complaints, score, why_late
from wire import Lab, Ledger, percentile

__all__ = ["make_trials"]

DELAY = 0.015
STRAYS_ALLOWED = 0.01
_BODIES = (10, 10, 10, 1_000, 20_000)
"""Bytes: mostly one segment; one that follows the head; more than the first window."""
_LATE = (0.0, 0.0, 0.0, 0.05)
"""Seconds: some clients find the whole fall of a connection at once. Not those that meet a stray
answer, which a client that is so late cannot tell from its own."""
_EXPLAINED = 20
"""Stray answers that were handed to the caller."""
_FORGEABLE = (Path.PLAIN, Path.FORWARD)
"""The middlebox knows the request that it forges behind by its text."""
_COLUMNS: dict[str, Callable[[Score], int]] = {
    "POSTs": lambda score: score.sent,
    "their\nconnection\ndied": lambda score: score.died,
    "of these\nnot\nexecuted": lambda score: score.unexecuted,
    "of those\nrecovered": lambda score: score.recovered,
    "failed for\nthe caller": lambda score: score.failed,
    "executed\ntwice": lambda score: score.twice,
    "stray\nanswers": lambda score: score.strays,
    "said: peer\nclosed\nfirst": lambda score: score.claims,
    "wrong\nclaims": lambda score: score.wrong_claims,
}


@dataclass(frozen=True)
class Run:
    outcomes: list[Outcome]
    bare: list[Outcome]
    """The stray answers once more, with urllib3 as it is."""
    ledger: Ledger
    seconds: float
    round_trips: list[float]
    wire: dict[str, Any]

    def of(self, adversary: Adversary, path: Path | None = None, sky: Sky | None = None) -> Score:
        return score(
            [
                outcome
                for outcome in self.outcomes
                if outcome.trial.adversary == adversary.name
                and (path is None or outcome.trial.path == path.name)
                and (sky is None or outcome.trial.sky == sky.name)
            ],
            self.ledger,
        )


def make_trials(posts: int, seed: int, *, start: int = 1, client: str = "holdfast") -> list[Trial]:
    """At least so many, the same number for every adversary on every path in every weather."""
    chance = random.Random(seed)
    cells = [
        (adversary, path, sky)
        for adversary in Adversary
        for path in (_FORGEABLE if adversary is Adversary.FORGED_FIN else Path)
        for sky in Sky
        if client == "holdfast" or adversary in STRAYS
    ]
    cells *= -(-posts // len(cells))
    chance.shuffle(cells)
    return [
        Trial(
            number,
            adversary.name,
            path.name,
            sky.name,
            client=client,
            offset=chance.uniform(-1, 1),
            body=10 if adversary is Adversary.FORGED_FIN else chance.choice(_BODIES),
            late=0.0 if adversary in STRAYS else chance.choice(_LATE),
        )
        for number, (adversary, path, sky) in enumerate(cells, start)
    ]


def run(posts: int, seed: int, threads: int) -> Run:
    trials = make_trials(posts, seed)
    bare = make_trials(posts // 20, seed, start=len(trials) + 1, client="urllib3")
    started = time.monotonic()
    with Lab(delay=DELAY, seed=seed) as lab:
        with lab.measured_round_trips() as round_trips:
            outcomes = run_trials(lab, trials + bare, threads=threads // 2, processes=2)
        return Run(
            outcomes[: len(trials)],
            outcomes[len(trials) :],
            lab.ledger(),
            time.monotonic() - started,
            round_trips,
            lab.wire_report(),
        )


# -- what is printed


def print_grid(run: Run, console: Console, *, short: bool) -> None:
    table = _table("adversary", "path")
    for adversary in Adversary:
        paths = [path for path in Path if not short and run.of(adversary, path).sent]
        for path in paths:
            table.add_row(adversary.name, path.value, *_cells(run.of(adversary, path)))
        table.add_row(adversary.name, "all", *_cells(run.of(adversary)), style="bold", end_section=True)
    console.print(table)


def print_sums(run: Run, console: Console) -> None:
    """Without the limits."""
    table = _table("sum over", "")
    held = [adversary for adversary in Adversary if adversary not in LIMITS]
    for path in Path:
        table.add_row("path", path.value, *_cells(_sum(run.of(one, path) for one in held)))
    for sky in Sky:
        table.add_row("weather", sky.value, *_cells(_sum(run.of(one, sky=sky) for one in held)))
    table.add_row("everything", "", *_cells(_sum(run.of(one) for one in held)), style="bold")
    table.add_row("the two limits", "", *_cells(_sum(run.of(one) for one in LIMITS)))
    table.add_row("bare urllib3", "stray answers only", *_cells(score(run.bare, run.ledger)))
    console.print(table)


def print_the_rest(run: Run, console: Console, found: Sequence[str]) -> None:
    trips, wire = run.round_trips, run.wire
    console.print(
        f"{len(run.outcomes) + len(run.bare):,} trials in {run.seconds:.0f} s. The wire carried"
        f" {wire['packets']:,} packets, lost {wire.get('lost', 0):,}, held back {wire.get('held back', 0):,}."
        f" Round trip, {2000 * DELAY:g} ms by design: median {percentile(trips, 0.5) * 1000:.1f},"
        f" p99 {percentile(trips, 0.99) * 1000:.1f} ms; packets left"
        f" {wire['late p50'] * 1000:.1f} (median), {wire['late p99'] * 1000:.1f} (p99) ms late."
    )
    handed = [outcome for outcome in run.outcomes if outcome.answer == "stray"]
    for outcome in handed[:_EXPLAINED]:
        console.print(f"  {why_late(outcome, run.ledger, DELAY)}")
    for complaint in found:
        console.print(f"[bold red]{complaint}")
    console.print("[bold red]NOT as promised" if found else "[bold green]as promised")


def _table(*names: str) -> Table:
    table = Table()
    for name in names:
        table.add_column(name, no_wrap=True)
    for name in _COLUMNS:
        table.add_column(name, justify="right")
    return table


def _cells(score: Score) -> list[str]:
    return [f"{column(score):,}" for column in _COLUMNS.values()]


def _sum(scores: Any) -> Score:
    return sum(scores, Score())


def as_dict(run: Run, found: Sequence[str]) -> dict[str, Any]:
    cells = [
        {"adversary": adversary.name, "path": path.name, "weather": sky.name, **asdict(result)}
        for adversary in Adversary
        for path in Path
        for sky in Sky
        if (result := run.of(adversary, path, sky)).sent
    ]
    return {
        "cells": cells,
        "bare urllib3, stray answers": asdict(score(run.bare, run.ledger)),
        "seconds": run.seconds,
        "round trip": {"median": percentile(run.round_trips, 0.5), "p99": percentile(run.round_trips, 0.99)},
        "wire": {name: value for name, value in run.wire.items() if not name.startswith("SYN")},
        "complaints": list(found),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", 2)[1] if __doc__ else None)
    parser.add_argument("--posts", type=int, default=10_000, help="how many, at least")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=40, help="clients at the same time")
    parser.add_argument("--short", action="store_true", help="one line for each adversary")
    parser.add_argument("--json", type=File, metavar="FILE")
    options = parser.parse_args()
    reason = why_not()
    if reason is not None:
        Console(stderr=True).print(reason)
        return 2
    result = run(options.posts, options.seed, options.threads)
    found = complaints(result.outcomes, result.ledger, delay=DELAY, strays_allowed=STRAYS_ALLOWED)
    console = Console(width=None if sys.stdout.isatty() else 170)
    print_grid(result, console, short=options.short)
    print_sums(result, console)
    print_the_rest(result, console, found)
    if options.json is not None:
        options.json.write_text(json.dumps(as_dict(result, found), indent=1) + "\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
