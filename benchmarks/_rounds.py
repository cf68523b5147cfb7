"""Rounds of blocks, each contestant a process of its own. See _contest.py for why it is done this way.

A contestant is a script of this directory: told its name, it reads lines "how many" and answers each
with numbers: the seconds that one of them took, and perhaps the longest that somebody waited.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median

from _contest import ask, line, process
from _result import Ratio

__all__ = ["Circumstances", "Times", "measure"]

_PATIENCE = 120.0
"""Seconds a heat may take before its processes are ended."""


@dataclass(frozen=True)
class Times:
    """By heat, contestant and round: what it answered."""

    heats: Sequence[dict[str, list[Sequence[float]]]]

    def time(self, one: str) -> float:
        return median(seconds for heat in self.heats for seconds, *_ in heat[one])

    def worst(self, one: str) -> float:
        return max(waited for heat in self.heats for _, waited in heat[one])

    def usual_worst(self, one: str) -> float:
        """The median over the rounds of the longest wait in each."""
        return median(waited for heat in self.heats for _, waited in heat[one])

    def ratio(self, one: str, other: str) -> Ratio:
        """Within rounds; of a heat the median, of the heats the range."""
        return Ratio(tuple(_ratio(heat[one], heat[other]) for heat in self.heats))


def measure(
    script: str,
    contestants: Sequence[str],
    *,
    heats: int,
    rounds: int,
    block: int,
    arguments: Sequence[str] = (),
    seed: int = 1,
) -> Times:
    dice = random.Random(seed)
    done = []
    for number in range(1, heats + 1):
        print(f"heat {number} of {heats}", file=sys.stderr)
        with ExitStack() as stack:
            crew = {one: stack.enter_context(process(script, one, *arguments)) for one in contestants}
            watchdog = threading.Timer(_PATIENCE, _end_all, [list(crew.values())])
            stack.callback(watchdog.cancel)
            watchdog.start()
            for one in contestants:
                _block(crew[one], one, block)
            heat: dict[str, list[Sequence[float]]] = {one: [] for one in contestants}
            for _ in range(rounds):
                for one in dice.sample(contestants, len(contestants)):
                    heat[one].append(_block(crew[one], one, block))
            done.append(heat)
    return Times(done)


@dataclass(frozen=True)
class Circumstances:
    """The small print. Made before the measurement, printed after it."""

    packages: Iterable[str]
    began: float = field(default_factory=time.time)
    load: float = field(default_factory=lambda: os.getloadavg()[0])

    def __str__(self) -> str:
        versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in self.packages)
        date = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(self.began))
        return (
            f"{date}, {time.time() - self.began:.0f} s; {os.cpu_count()} cores, load {self.load:.1f} before"
            f" and {os.getloadavg()[0]:.1f} after; {platform.python_implementation()}"
            f" {platform.python_version()}, {versions}"
        )


def _block(its: subprocess.Popen[str], one: str, times: int) -> Sequence[float]:
    ask(its, one, str(times))
    return [float(number) for number in line(its, one).split()]


def _ratio(one: Sequence[Sequence[float]], other: Sequence[Sequence[float]]) -> float:
    return median(a[0] / b[0] for a, b in zip(one, other, strict=True))


def _end_all(crew: Sequence[subprocess.Popen[str]]) -> None:
    for its in crew:
        its.kill()
