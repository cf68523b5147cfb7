"""What a person reads: question, answer, and the numbers as tables."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from _field import PAIRS, REFERENCE, USUAL, Contestant, label
from _result import QUESTION, Answer, Result

__all__ = ["story"]

_STYLE = {Answer.YES: "bold green", Answer.NO: "bold red", Answer.OPEN: "bold yellow"}


def story(result: Result) -> RenderableType:
    """All of it, from top to bottom."""
    return Group(
        Text(QUESTION, "bold"),
        Text(result.answer.value.capitalize() + ".", _STYLE[result.answer]),
        *_answers(result),
        "",
        Text(
            f"Times the same client bare: median of {len(result.heats)} heats and its range;"
            f" the range is {result.confidence:.1%} sure."
        ),
        _twins(result),
        "",
        "Median time of a request, and times that of a bare urllib3 pool.",
        _field(result),
        "",
        Text(result.setting, "dim"),
    )


def _answers(result: Result) -> Iterator[Text]:
    for workload, one, ratio, answer in result.answers():
        if answer is not Answer.YES:
            error = f"{result.error(workload):.3f}, by which two equal pools differ"
            yield Text(f"  {workload.value}, {one.value}: {ratio}, ± {error}: {answer.value}", _STYLE[answer])


def _twins(result: Result) -> Table:
    table = Table(box=box.SIMPLE_HEAD, header_style="dim")
    for title in ("request", "client"):
        table.add_column(title, no_wrap=True)
    for title in ("time", "CPU time of the client"):
        table.add_column(title, justify="right", no_wrap=True)
    for workload in result.settings.workloads:
        for one, twin in PAIRS.items():
            time, cpu = (result.ratio(workload, one, twin, cpu=cpu) for cpu in (False, True))
            table.add_row(workload.value, label(one), str(time), str(cpu))
        table.add_section()
    return table


def _field(result: Result) -> Table:
    table = Table(box=box.SIMPLE_HEAD, header_style="dim")
    table.add_column("client")
    for workload in USUAL:
        table.add_column(workload.value, justify="right", no_wrap=True)
        table.add_column("ratio", justify="right")
    for one in Contestant:
        cells = []
        for workload in USUAL:
            cells.append(f"{result.time(workload, one) * 1e6:.0f} µs")
            cells.append(f"{result.ratio(workload, one, REFERENCE).middle:.2f}")
        table.add_row(one.value, *cells)
    return table
