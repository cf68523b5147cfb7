"""What became of a request: the client's word, held against the server's ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import holdfast
from holdfast._demo.clients import OWN_ERRORS, Answer
from holdfast._demo.traffic import Order
from holdfast.testing import Execution

__all__ = ["Outcome", "Score", "judge"]

_OK = 200


class Outcome(NamedTuple):
    """The client's word: an answer, or an error (which is not kept: it holds sockets)."""

    order: Order
    answer: Answer | None = None
    error: str | None = None
    report: holdfast.FailureReport | None = None
    foreign: bool = False
    """The error is none that users of the library expect."""

    @classmethod
    def failed(cls, order: Order, error: Exception) -> Outcome:
        kind = type(error)
        return cls(
            order,
            error=f"{kind.__module__.partition('.')[0]}.{kind.__name__}",
            report=holdfast.report(error),
            foreign=not isinstance(error, OWN_ERRORS),
        )


@dataclass
class Score:
    """Counts; adding two of them adds each count."""

    requests: int = 0
    failed: int = 0
    """An exception, or an answer that reports an error."""
    failed_unexecuted: int = 0
    """Of these, the ones the server never executed."""
    failed_once_only: int = 0
    """Of these, the ones that may run only once: POST without a key."""
    executed_twice: int = 0
    """That may run only once."""
    repeated_idempotent: int = 0
    """GET and PUT executed more than once, which is legitimate."""
    repeated_with_key: int = 0
    """POST with a key that arrived more than once; the server tells by the key."""
    wrong: int = 0
    """Success reported, but the answer is not this request's, or the server has not got what was
    sent."""
    connections: int = 0
    foreign_errors: int = 0
    """Failed with what users of the library do not expect."""
    explained: int = 0
    """Failed, and ``holdfast.report()`` knows why."""
    errors: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: Score) -> Score:
        theirs = vars(other)
        return Score(**{name: count + theirs[name] for name, count in vars(self).items()})

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**vars(self), "errors": dict(sorted(self.errors.items()))}


def judge(outcome: Outcome, executions: Sequence[Execution]) -> Score:
    """``executions``: those of this very request."""
    score = Score(requests=1)
    _count_executions(score, outcome.order, len(executions))
    if outcome.answer is None or outcome.answer.status != _OK:
        score.failed = 1
        score.failed_unexecuted = int(not executions)
        score.failed_once_only = int(not outcome.order.kind.may_run_again)
        score.foreign_errors = int(outcome.foreign)
        score.explained = int(outcome.report is not None)
        score.errors[outcome.error or f"status {outcome.answer and outcome.answer.status}"] += 1
    elif not _is_right(outcome.order, outcome.answer, executions):
        score.wrong = 1
    return score


def _count_executions(score: Score, order: Order, times: int) -> None:
    again = int(times > 1)
    if not order.kind.may_run_again:
        score.executed_twice = again
    elif order.key is not None:
        score.repeated_with_key = again
    else:
        score.repeated_idempotent = again


def _is_right(order: Order, answer: Answer, executions: Sequence[Execution]) -> bool:
    # The last execution is the one that was answered; what the server holds in the end is its body.
    return (
        answer.body == f"{order.method} {order.path}".encode()
        and bool(executions)
        and executions[-1].body == order.content
    )
