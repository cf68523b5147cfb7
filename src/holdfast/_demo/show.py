"""What a person sees: progress on stderr, then on stdout the table, the verdict, some reports."""

from __future__ import annotations

import io
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from holdfast._demo.clients import ClientKind
from holdfast._demo.result import Result
from holdfast._demo.score import Score
from holdfast._demo.traffic import Kind
from holdfast._demo.trial import Failure, Trial

__all__ = ["console", "progress", "story"]

WIDTH = 120
"""Columns of the table of all four clients. A narrower screen gets two tables instead."""

_NAMES = 32
"""Columns of the longest label of a scenario, and one."""

_LABEL = 12
"""Columns of a label in a failure report."""

_ALL = [tuple(ClientKind)]
_PAIRS = [
    (ClientKind.URLLIB3, ClientKind.HOLDFAST_URLLIB3),
    (ClientKind.REQUESTS, ClientKind.HOLDFAST_REQUESTS),
]


class _Column(NamedTuple):
    title: str
    counted: str
    """The field of Score."""
    style: str


_TWICE = "2×"  # noqa: RUF001 - as in arithmetic

_COLUMNS = (
    _Column("failed", "failed", "yellow"),
    _Column(_TWICE, "executed_twice", "bold red"),
    _Column("wrong", "wrong", "bold red"),
    _Column("conns", "connections", ""),
)

_LEGEND = (
    ("failed", "an exception, or an answer that reports an error: the caller knows"),
    (
        _TWICE,
        (
            "executed twice though it may run only once, that is POST without Idempotency-Key; GET, PUT"
            " and POST with a key may be repeated (RFC 9110 §9.2.2) and are not counted here"
        ),
    ),
    (
        "wrong",
        (
            "reported as a success, but the answer is not this request's own or is incomplete, or the"
            " server got only a part of the upload"
        ),
    ),
    ("conns", "connections opened"),
)


def console() -> Console:
    """Stdout; where that is no terminal, as wide as the table."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Better a question mark than no table, where the locale has no multiplication sign.
        sys.stdout.reconfigure(errors="replace")
    screen = Console(highlight=False)
    return screen if screen.is_terminal else Console(highlight=False, width=WIDTH)


def progress(trials: Iterable[Trial], total: int) -> Iterator[Trial]:
    """Hands the trials on, and shows on stderr how far they are."""
    columns = (BarColumn(), TextColumn("{task.completed}/{task.total}"), TimeElapsedColumn())
    screen = Console(stderr=True)
    bar = Progress(
        *columns,
        TextColumn("{task.description}", markup=False),
        console=screen,
        transient=True,
        disable=not screen.is_terminal,
    )
    with bar:
        task = bar.add_task("starting", total=total)
        for trial in trials:
            bar.update(task, advance=1, description=f"{trial.scenario.label}: {trial.client.value}")
            yield trial


def story(result: Result, width: int) -> RenderableType:
    """All of it, from top to bottom."""
    groups = _ALL if width >= WIDTH else _PAIRS
    return Group(
        *(Padding(_table(result, clients), (0, 0, 1, 0)) for clients in groups),
        _legend(result),
        _verdict(result),
        *_reports(result.worth_reading(), width),
    )


# The table


def _table(result: Result, clients: Sequence[ClientKind]) -> Table:
    table = Table(box=box.MINIMAL, padding=0, show_edge=False, header_style="", pad_edge=False)
    table.add_column(Text("\nwhat the server did"), no_wrap=True, min_width=_NAMES)
    for client in clients:
        table.add_column(_heading(client), no_wrap=True)
    rows = result.rows()
    for trials, following in zip(rows, [*rows[1:], None], strict=True):
        scenario = trials[0].scenario
        scores = {trial.client: trial.score for trial in trials}
        last = following is None or following[0].scenario.stage is not scenario.stage
        table.add_row(scenario.label, *(_cells(scores[kind]) for kind in clients), end_section=last)
    table.add_row(Text("all", style="bold"), *(_cells(result.of(kind)) for kind in clients))
    return table


def _heading(client: ClientKind) -> Text:
    titles = " ".join(column.title for column in _COLUMNS)
    name = Text(client.value.center(len(titles)), style="bold green" if client.wrapped else "bold")
    return Text.assemble(name, "\n", (titles, "dim"))


def _cells(score: Score) -> Text:
    return Text(" ").join(_cell(column, getattr(score, column.counted)) for column in _COLUMNS)


def _cell(column: _Column, count: int) -> Text:
    width = len(column.title)
    return Text(f"{count:{width}}", column.style) if count else Text("·".rjust(width), "dim")


def _legend(result: Result) -> RenderableType:
    sent, faults = result.of(ClientKind.URLLIB3).requests, len(result.rows())
    legend = Table.grid(padding=(0, 2))
    for title, meaning in _LEGEND:
        legend.add_row(title, meaning)
    intro = (
        f"Every client sent the same {sent} requests (seed {result.seed}). Each fault struck"
        f" {len(Kind) * result.rounds} of about {sent // faults}: GET, PUT, POST and POST with"
        " Idempotency-Key in turn."
    )
    return Group(Text(intro, "dim"), Padding(legend, (0, 0, 1, 2), style="dim"))


# The verdict


def _verdict(result: Result) -> RenderableType:
    bare, wrapped = result.total(wrapped=False), result.total(wrapped=True)
    reasons = result.why_not_repeated().most_common()
    return Group(
        Text(f"Bare, urllib3 and requests {_harm(bare)}; {bare.failed} requests failed."),
        *_price(result.of(ClientKind.URLLIB3)),
        Text(
            f"Wrapped by holdfast, they {_harm(wrapped)}; {wrapped.failed} requests failed,"
            f" {wrapped.explained} of them with a reason:",
            "bold green" if result.ok else "bold red",
        ),
        *(f"{n:6}  {why.value}" for why, n in reasons),
        *_complaint(wrapped),
    )


def _price(urllib3: Score) -> Iterator[str]:
    # Else a reader wonders why the wrapped one fails where this one does not.
    if urllib3.executed_twice or urllib3.wrong:
        yield (
            "(Where bare urllib3 fails less often, it repeated what it must not: any request behind"
            " a proxy or after a TLS error, and the rest of a streamed upload as if it were all.)"
        )


def _harm(score: Score) -> str:
    twice, wrong = score.executed_twice, score.wrong
    if not twice and not wrong:
        return "executed nothing twice and took nothing wrong for right"
    return (
        f"executed {twice or 'no'} requests twice that may run only once, and took"
        f" {wrong or 'no'} wrong answers or cut uploads for good ones"
    )


def _complaint(wrapped: Score) -> Iterator[RenderableType]:
    if wrapped.foreign_errors:
        kinds = ", ".join(sorted(wrapped.errors))
        yield Text(
            f"{wrapped.foreign_errors} errors are none of urllib3's or requests' own, which is a"
            f" bug of holdfast; all that were raised: {kinds}.",
            "bold red",
        )


# The reports


def _reports(failures: Sequence[Failure], width: int) -> Iterator[RenderableType]:
    if failures:
        yield Text("\nWhat holdfast.report(exception) says about some of these:", "bold")
    for failure in failures:
        title = (
            f"{failure.scenario.label}: {failure.kind.value} through"
            f" {failure.client.value} raised {failure.error}"
        )
        yield Text(f"\n{title}", "bold")
        yield Text("\n".join(_folded(str(failure.report), width)))


def _folded(report: str, width: int) -> Iterator[str]:
    """Lines too long for the screen go on below their own text, not below their label."""
    for line in report.splitlines():
        depth = len(line) - len(line.lstrip())
        hanging = " " * (depth + _LABEL)
        yield textwrap.fill(line, width, initial_indent="  ", subsequent_indent="  " + hanging)
