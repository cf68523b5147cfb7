"""All trials together: sums, the verdict on the wrapped clients, and the failures worth reading."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import holdfast
from holdfast import Cause, Verdict
from holdfast._demo.clients import ClientKind
from holdfast._demo.score import Score
from holdfast._demo.trial import Failure, Trial

__all__ = ["Result"]

_REPORTS = 3


@dataclass(frozen=True, kw_only=True)
class Result:
    """``trials``: each client once for each scenario, always in the same order."""

    seed: int
    rounds: int
    seconds: float
    trials: Sequence[Trial]

    @property
    def ok(self) -> bool:
        """The wrapped clients executed nothing twice, returned nothing wrong, and raised only what
        the library raises that they wrap."""
        wrapped = self.total(wrapped=True)
        return not (wrapped.executed_twice or wrapped.wrong or wrapped.foreign_errors)

    def total(self, *, wrapped: bool) -> Score:
        """Of the two clients that are wrapped, or of the two that are not."""
        return sum((self.of(kind) for kind in ClientKind if kind.wrapped is wrapped), Score())

    def of(self, client: ClientKind) -> Score:
        """One client's sum over all scenarios."""
        return sum((trial.score for trial in self.trials if trial.client is client), Score())

    def rows(self) -> list[tuple[Trial, ...]]:
        """The trials of each scenario, one for each client."""
        columns = [[trial for trial in self.trials if trial.client is kind] for kind in ClientKind]
        return list(zip(*columns, strict=True))

    def failures(self) -> list[Failure]:
        """Every failed request that holdfast explains."""
        return [failure for trial in self.trials for failure in trial.failures]

    def why_not_repeated(self) -> Counter[Verdict]:
        """Of the wrapped clients' failed requests: why the last attempt was the last."""
        return Counter(failure.report.verdict for failure in self.failures())

    def worth_reading(self) -> list[Failure]:
        """A few with different causes; of each the one that has most to tell."""
        chosen: dict[Cause, Failure] = {}
        for failure in self.failures():
            rival = chosen.setdefault(failure.report.cause, failure)
            if failure.report.earlier and not rival.report.earlier:
                chosen[failure.report.cause] = failure
        return list(chosen.values())[:_REPORTS]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "holdfast": holdfast.__version__,
            "seed": self.seed,
            "rounds": self.rounds,
            "seconds": round(self.seconds, 3),
            "ok": self.ok,
            "faults": [_row(trials) for trials in self.rows()],
            "totals": {kind.value: self.of(kind).as_dict() for kind in ClientKind},
            "not_repeated": {why.name: n for why, n in self.why_not_repeated().most_common()},
            "reports": [_report(failure) for failure in self.worth_reading()],
        }


def _row(trials: Sequence[Trial]) -> dict[str, Any]:
    scenario = trials[0].scenario
    return {
        "name": scenario.name,
        "when": scenario.stage.value,
        "fault": scenario.fault.name,
        "via": scenario.via.name,
        "tls": scenario.tls,
        "clients": {trial.client.value: trial.score.as_dict() for trial in trials},
    }


def _report(failure: Failure) -> dict[str, Any]:
    return {
        "fault": failure.scenario.label,
        "client": failure.client.value,
        "request": failure.kind.value,
        "error": failure.error,
        "report": failure.report.as_dict(),
        "text": str(failure.report),
    }
