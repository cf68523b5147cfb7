"""What came of the trials: the client's outcomes held against the server's ledger."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields

from cases import LIMITS, STRAYS, Adversary, Outcome, Sky
from wire import Ledger

__all__ = ["CLAIM", "Score", "complaints", "crossed", "score", "why_late"]

CLAIM = "PEER_CLOSED_FIRST"
_NEVER_EXECUTED = frozenset({"NOT_SENT", "INCOMPLETE", CLAIM})
"""What a client that says so claims of its attempt."""


@dataclass(frozen=True)
class Score:
    """Counts of requests."""

    sent: int = 0
    died: int = 0
    """Their connection failed under them."""
    unexecuted: int = 0
    """Of these: not executed on that connection, so that they could be repeated."""
    recovered: int = 0
    """Of the died: answered all the same."""
    failed: int = 0
    """An error for the caller."""
    lost: int = 0
    """Of these: never executed."""
    answered: int = 0
    strays: int = 0
    """The caller was handed an answer that is not his."""
    foreign: int = 0
    """The caller got an error of a kind that urllib3 does not raise."""
    claims: int = 0
    """An attempt was said to have met a peer that had closed first."""
    wrong_claims: int = 0
    """An attempt was said not to have been executed, for whatever reason, and it was."""
    twice: int = 0
    """Executed more than once."""
    unwarmed: int = 0
    """Not sent: the connection did not come that far."""

    def __add__(self, other: Score) -> Score:
        return Score(*(getattr(self, item.name) + getattr(other, item.name) for item in fields(self)))

    def share(self, count: int) -> float:
        return count / self.sent if self.sent else 0.0


def score(outcomes: Iterable[Outcome], ledger: Ledger) -> Score:
    return sum((_score_of(outcome, ledger) for outcome in outcomes), Score())


def _score_of(outcome: Outcome, ledger: Ledger) -> Score:
    if outcome.answer == "unwarmed":
        return Score(unwarmed=1)
    executions = ledger.executions[outcome.trial.number]
    failed = outcome.answer == "error"
    died = failed or bool(outcome.attempts)
    return Score(
        sent=1,
        died=died,
        unexecuted=died and not ledger.by_port[outcome.trial.number, outcome.first_port],
        recovered=outcome.answer == "own" and died,
        failed=failed,
        lost=failed and executions == 0,
        answered=outcome.answer == "own",
        strays=outcome.answer == "stray",
        foreign=outcome.answer == "foreign",
        claims=any(progress == CLAIM for progress, _ in outcome.attempts),
        wrong_claims=_claims_wrongly(outcome, ledger),
        twice=executions > 1,
    )


def _claims_wrongly(outcome: Outcome, ledger: Ledger) -> bool:
    claimed = [progress in _NEVER_EXECUTED for progress, _ in outcome.attempts]
    if not claimed:
        return False
    number = outcome.trial.number
    if claimed[0] and ledger.by_port[number, outcome.first_port]:
        return True
    return all(claimed) and ledger.executions[number] > (outcome.answer == "own")


def crossed(outcome: Outcome, ledger: Ledger, delay: float) -> bool:
    """What the server did at T was on its way before the request can have arrived."""
    return ledger.acts.get(outcome.trial.number, math.inf) < outcome.sent + delay


def complaints(
    outcomes: Iterable[Outcome], ledger: Ledger, *, delay: float, strays_allowed: float
) -> list[str]:
    """What must not be, the pinned limits apart; empty if all is well.

    Strays are counted where they cross a request on a wire that loses and reorders nothing: one that
    is sent again after the request arrived looks like its answer.
    """
    held = [outcome for outcome in outcomes if Adversary[outcome.trial.adversary] not in LIMITS]
    total = score(held, ledger)
    stray_trials = [outcome for outcome in held if Adversary[outcome.trial.adversary] in STRAYS]
    elsewhere = total.strays - score(stray_trials, ledger).strays
    strays = score(
        [
            outcome
            for outcome in stray_trials
            if outcome.trial.sky == Sky.CLEAR.name and crossed(outcome, ledger, delay)
        ],
        ledger,
    )
    found = {
        f"{total.twice} requests were executed twice": total.twice,
        f"{total.wrong_claims} claims that a request was not executed were wrong": total.wrong_claims,
        f"{total.foreign} errors are none of urllib3's": total.foreign,
        f"{strays.strays} of {strays.sent} stray answers that crossed were handed to the caller": (
            strays.share(strays.strays) > strays_allowed
        ),
        f"{elsewhere} answers were wrong where no stray was sent": elsewhere,
        f"{total.unwarmed} of {total.unwarmed + total.sent} trials did not come about": (
            total.unwarmed > 0.05 * total.sent
        ),
    }
    return [complaint for complaint, is_so in found.items() if is_so]


def why_late(outcome: Outcome, ledger: Ledger, delay: float) -> str:
    """A stray that was handed over, and whether the client could have told: the ACK of its request
    comes back a round trip after it was sent, and from then on the two look alike."""
    trial, took = outcome.trial, outcome.ended - outcome.sent
    ahead = outcome.sent + delay - ledger.acts.get(trial.number, math.nan)
    order = "before" if ahead > 0 else "after"
    return (
        f"trial {trial.number} ({trial.adversary}, {trial.path}, {trial.sky}, {trial.method}):"
        f" handed over {took * 1000:.1f} ms after it had sent (a round trip is {2000 * delay:g} ms);"
        f" the stray left the server {abs(ahead) * 1000:.1f} ms {order} the request can have arrived"
    )
