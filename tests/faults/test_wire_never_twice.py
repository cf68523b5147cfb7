"""POSTs that cross a FIN succeed, and whatever the adversary does, nothing is executed twice.

`table.py` does the same with more of everything, and prints what came of it.
"""

from __future__ import annotations

import pytest
from cases import LIMITS, Adversary, Path
from crew import run_trials
from on_the_wire import TRIALS, lab, trials
from scoring import complaints, crossed, score
from table import STRAYS_ALLOWED, make_trials
from wire import Lab

__all__ = ["lab"]

pytestmark = [pytest.mark.wire, pytest.mark.timeout(900)]

UNNOTICED = 0.98
SLACK = 0.04
"""Of the share of stray answers, whose own test is stricter: here there are few of them."""


@pytest.mark.parametrize("late", [0.0, 0.05], ids=["at once", "late"])
@pytest.mark.parametrize("path", Path, ids=lambda path: path.name)
def test_a_post_that_a_fin_crosses_succeeds_without_the_caller_noticing(
    lab: Lab, path: Path, late: float
) -> None:
    """Also where the client looks so late that it finds FIN and RST together."""
    outcomes = run_trials(lab, trials(lab, Adversary.FIN_CROSSES, paths=[path], late=late), threads=12)
    ledger = lab.ledger()
    crossing = [one for one in outcomes if crossed(one, ledger, lab.delay)]
    assert len(crossing) > 0.9 * len(outcomes)
    seen = score(crossing, ledger)
    assert seen.twice == seen.wrong_claims == 0
    assert seen.answered >= UNNOTICED * seen.sent, [one for one in crossing if one.answer != "own"]


def test_whatever_the_adversary_does_nothing_is_executed_twice(lab: Lab) -> None:
    planned = make_trials(12 * TRIALS, lab.seed)
    planned = make_trials(12 * TRIALS, lab.seed, start=lab.numbers(len(planned))[0])
    outcomes = run_trials(lab, planned, threads=40)
    held = [one for one in outcomes if Adversary[one.trial.adversary] not in LIMITS]
    assert complaints(held, lab.ledger(), delay=lab.delay, strays_allowed=STRAYS_ALLOWED + SLACK) == []


def test_a_request_whose_last_byte_was_withheld_is_known_to_be_incomplete(lab: Lab) -> None:
    outcomes = run_trials(lab, trials(lab, Adversary.LAST_BYTE_WITHHELD, count=4))
    assert score(outcomes, lab.ledger()).lost == len(outcomes)
    for outcome in outcomes:
        ((progress, verdict),) = outcome.attempts
        assert not verdict.startswith("REPEATED")
        # A FIN lets the kernel take the last byte, after which it was handed over: a doubt is a "no".
        assert progress in ("INCOMPLETE", "MAYBE_PROCESSED")
    assert sum(outcome.attempts[0][0] == "INCOMPLETE" for outcome in outcomes) >= len(outcomes) // 4
