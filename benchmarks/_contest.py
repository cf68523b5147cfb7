"""Who runs when: heats of rounds of blocks.

A block is some requests of one kind by one contestant, alone; in a round each contestant runs one
block, in an order drawn anew, twins as neighbours. Blocks last milliseconds, so what the machine
does meanwhile hits neighbours alike, and a ratio is always taken within a round. A heat has fresh processes: hash seed
and memory layout favour one of two equal processes by a percent or two for as long as they live,
and no number of rounds averages that out.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from _field import FAMILIES, Contestant, Workload

__all__ = ["ContestError", "Heat", "Sample", "Settings", "ask", "heats", "line", "process"]

_HERE = Path(__file__).parent
_PATIENCE = 60.0
"""Seconds a heat may take beyond its share before its processes are ended."""

_NEEDED = ("PATH", "HOME", "LANG", "LC_", "TMP", "TEMP", "PYTHON", "VIRTUAL_ENV", "LD_LIBRARY", "SYSTEMROOT")


class ContestError(Exception):
    """A process ended, or did not answer in time."""


class Sample(NamedTuple):
    """Seconds of one request, averaged over one block."""

    seconds: float
    cpu: float


Heat = dict[tuple[Workload, Contestant], list[Sample]]
"""What one set of processes did; entry i of each list is of round i."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    workloads: Sequence[Workload]
    heats: int
    rounds: int
    block: int = 30
    """Requests. Some 10 ms: long beside the clock and the pipe, short beside a burst of load."""
    warm_up: int = 200
    """Requests of each kind. Specialisation settles within some dozens."""
    budget: float
    """Seconds; when they are used up, rounds are left out."""
    seed: int = 1
    """Of the order within rounds."""


def heats(settings: Settings, certificates: tuple[str, str] | None) -> Iterator[Heat]:
    """``certificates``: the server's chain with its key, and the authority; None for plain HTTP."""
    dice = random.Random(settings.seed)
    ends = time.monotonic() + settings.budget
    own, authority = certificates or (None, None)
    with process("_server.py", *([own] if own else [])) as server:
        port = int(line(server, "the server"))
        url = f"{'https' if own else 'http'}://127.0.0.1:{port}"
        for number in range(settings.heats):
            share = (ends - time.monotonic()) / (settings.heats - number)
            yield _heat(settings, dice, share, [url, authority] if authority else [url])


def _heat(settings: Settings, dice: random.Random, share: float, where: list[str]) -> Heat:
    ends = time.monotonic() + share
    with ExitStack() as stack:
        field = {one: stack.enter_context(process("_client.py", one.value, *where)) for one in Contestant}
        watchdog = threading.Timer(max(share, 0.0) + _PATIENCE, _end_all, [list(field.values())])
        stack.callback(watchdog.cancel)
        watchdog.start()
        for one in Contestant:
            # All of them import and warm up before any is timed.
            for workload in settings.workloads:
                _block(one, field[one], workload, settings.warm_up)
        heat: Heat = {(workload, one): [] for workload in settings.workloads for one in Contestant}
        for number in range(settings.rounds):
            if number and time.monotonic() >= ends:
                break
            _round(heat, field, settings, dice)
        return heat


def _round(
    heat: Heat, field: dict[Contestant, subprocess.Popen[str]], settings: Settings, dice: random.Random
) -> None:
    for workload in settings.workloads:
        for one in _order(dice):
            heat[workload, one].append(_block(one, field[one], workload, settings.block))


def _order(dice: random.Random) -> Iterator[Contestant]:
    for family in dice.sample(FAMILIES, len(FAMILIES)):
        yield from dice.sample(family, len(family))


def _block(one: Contestant, its: subprocess.Popen[str], workload: Workload, times: int) -> Sample:
    ask(its, one.value, f"{times} {workload.value}")
    seconds, cpu = line(its, one.value).split()
    return Sample(float(seconds), float(cpu))


def ask(its: subprocess.Popen[str], name: str, question: str) -> None:
    assert its.stdin is not None
    try:
        its.stdin.write(question + "\n")
        its.stdin.flush()
    except BrokenPipeError:
        raise ContestError(f"{name} has ended; what it said is above") from None


def line(its: subprocess.Popen[str], name: str) -> str:
    """What it says next."""
    assert its.stdout is not None
    said = its.stdout.readline()
    if not said:
        raise ContestError(f"{name} has ended, or did not answer in time; what it said is above")
    return said


@contextmanager
def process(script: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Ours end by themselves when their standard input does, even if we are killed."""
    its = subprocess.Popen(
        [sys.executable, str(_HERE / script), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=_environment(),
    )
    with its:
        try:
            yield its
        finally:
            its.kill()


def _end_all(processes: Sequence[subprocess.Popen[str]]) -> None:
    for its in processes:
        its.kill()


def _environment() -> dict[str, str]:
    """The few variables that a program needs. Others would lead clients, each in its own way, to a
    proxy or another authority; and requests reads through all there are, for every request, which
    on a machine with 35 of them was a sixth of its time."""
    return {name: value for name, value in os.environ.items() if name.upper().startswith(_NEEDED)}
