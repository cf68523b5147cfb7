"""From samples to ratios to an answer.

A heat's ratio is the median over its rounds. The result is the median over the heats, with the range
that holds the true median with 95 % confidence, whatever the distribution: it leaves out as many of
the lowest and of the highest heats as coin tosses allow.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from math import comb
from statistics import median
from typing import Any

from _contest import Heat, Settings
from _field import PAIRS, REFERENCE, Contestant, Workload

__all__ = ["LIMIT", "QUESTION", "Answer", "Ratio", "Result"]

LIMIT = 1.03
"""What a wrapped client may cost, times its bare twin."""

_DOUBT = 0.05

QUESTION = f"Does a keep-alive request through a wrapped client take at most {LIMIT} times as long?"

_PACKAGES = ("holdfast", "urllib3", "requests", "httpx", "aiohttp")


class Answer(Enum):
    YES = "yes"
    NO = "no"
    OPEN = "not decided by this run"


@dataclass(frozen=True)
class Ratio:
    heats: tuple[float, ...]

    @property
    def middle(self) -> float:
        return median(self.heats)

    @property
    def low(self) -> float:
        return sorted(self.heats)[_left_out(len(self.heats))]

    @property
    def high(self) -> float:
        return sorted(self.heats)[-1 - _left_out(len(self.heats))]

    def __str__(self) -> str:
        return f"{self.middle:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def as_dict(self) -> dict[str, Any]:
        return {"median": self.middle, "low": self.low, "high": self.high, "heats": list(self.heats)}


@dataclass(frozen=True, kw_only=True)
class Result:
    settings: Settings
    tls: bool
    heats: Sequence[Heat]
    began: str
    """Date and time, UTC."""
    seconds: float
    load: tuple[float, float]
    """Of the machine, over a minute: before and after."""

    def time(self, workload: Workload, one: Contestant) -> float:
        """Seconds of one request: the median of all blocks."""
        return median(sample.seconds for heat in self.heats for sample in heat[workload, one])

    def ratio(self, workload: Workload, one: Contestant, other: Contestant, *, cpu: bool = False) -> Ratio:
        def of(heat: Heat) -> float:
            rounds = zip(heat[workload, one], heat[workload, other], strict=True)
            return median(a.cpu / b.cpu if cpu else a.seconds / b.seconds for a, b in rounds)

        return Ratio(tuple(of(heat) for heat in self.heats))

    def answers(self) -> Iterator[tuple[Workload, Contestant, Ratio, Answer]]:
        for workload in self.settings.workloads:
            if workload is Workload.GET_FOLDED:
                continue
            for one, twin in PAIRS.items():
                if one.wrapped:
                    ratio = self.ratio(workload, one, twin)
                    yield workload, one, ratio, self._answer(workload, ratio)

    def _answer(self, workload: Workload, ratio: Ratio) -> Answer:
        error = self.error(workload)
        if ratio.high + error <= LIMIT:
            return Answer.YES
        return Answer.NO if ratio.low - error > LIMIT else Answer.OPEN

    def control(self, workload: Workload) -> Ratio:
        return self.ratio(workload, Contestant.POOL_AGAIN, Contestant.POOL)

    def error(self, workload: Workload) -> float:
        """By how much two equal pools differ; it is held against the wrapped ones."""
        return abs(self.control(workload).middle - 1)

    @property
    def answer(self) -> Answer:
        """To the question as a whole."""
        found = {answer for *_, answer in self.answers()}
        if Answer.NO in found:
            return Answer.NO
        return Answer.OPEN if Answer.OPEN in found else Answer.YES

    @property
    def confidence(self) -> float:
        """Of each ratio's range."""
        return 1 - _missed(len(self.heats), _left_out(len(self.heats)))

    @property
    def rounds(self) -> int:
        return sum(len(heat[self.settings.workloads[0], REFERENCE]) for heat in self.heats)

    @property
    def setting(self) -> str:
        versions = ", ".join(f"{name} {version}" for name, version in _versions().items())
        return (
            f"{self.began}, {'TLS' if self.tls else 'plain HTTP'}, {len(self.heats)} heats,"
            f" {self.rounds} rounds of {self.settings.block} requests, {self.seconds:.0f} s;"
            f" {os.cpu_count()} cores, load {self.load[0]:.1f} before and {self.load[1]:.1f} after;"
            f" {platform.python_implementation()} {platform.python_version()}, {versions}"
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, the samples among them: [seconds, CPU seconds] of each block."""
        return {
            "question": QUESTION,
            "answer": self.answer.value,
            "limit": LIMIT,
            "confidence": self.confidence,
            "began": self.began,
            "seconds": round(self.seconds, 1),
            "tls": self.tls,
            "load": self.load,
            "cores": os.cpu_count(),
            "platform": platform.platform(),
            "python": sys.version,
            "versions": _versions(),
            "block": self.settings.block,
            "seed": self.settings.seed,
            "workloads": {workload.value: self._as_dict(workload) for workload in self.settings.workloads},
        }

    def _as_dict(self, workload: Workload) -> dict[str, Any]:
        return {
            "to_twin": {
                one.value: {
                    "twin": twin.value,
                    "time": self.ratio(workload, one, twin).as_dict(),
                    "cpu": self.ratio(workload, one, twin, cpu=True).as_dict(),
                }
                for one, twin in PAIRS.items()
            },
            "clients": {
                one.value: {
                    "seconds": self.time(workload, one),
                    "to_bare_pool": self.ratio(workload, one, REFERENCE).as_dict(),
                    "samples": [heat[workload, one] for heat in self.heats],
                }
                for one in Contestant
            },
        }


def _left_out(heats: int) -> int:
    """On each side. With fewer than 6 heats none, and the range is less sure."""
    return max((k for k in range(heats // 2) if _missed(heats, k) <= _DOUBT), default=0)


def _missed(heats: int, left_out: int) -> float:
    """The chance that at most so many heats lie on one side of the true median."""
    return float(2 * sum(comb(heats, k) for k in range(left_out + 1)) / 2**heats)


def _versions() -> dict[str, str]:
    return {name: _version(name) for name in _PACKAGES}


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        # On the path without being installed, as in a checkout.
        return str(getattr(importlib.import_module(name), "__version__", "?"))
