"""The two cases beyond what a client can know, pinned. Everything that the client's kernel sees says
that the peer had hung up first, and the request was executed all the same.

Whoever makes one of these tests fail has moved a limit, and says so in the documentation.
"""

from __future__ import annotations

import pytest
from cases import Adversary, Path
from crew import run_trials
from on_the_wire import lab, trials
from scoring import score
from wire import Lab

__all__ = ["lab"]

pytestmark = pytest.mark.wire


def test_limit_a_peer_that_half_closes_executes_and_aborts_can_have_a_post_executed_twice(lab: Lab) -> None:
    outcomes = run_trials(lab, trials(lab, Adversary.HALF_CLOSES_EXECUTES_ABORTS, paths=[Path.PLAIN]))
    seen = score(outcomes, lab.ledger())
    assert seen.wrong_claims > 0
    assert seen.twice > 0


def test_limit_a_middlebox_that_forges_a_fin_can_have_a_post_executed_twice(lab: Lab) -> None:
    outcomes = run_trials(lab, trials(lab, Adversary.FORGED_FIN, paths=[Path.PLAIN]))
    seen = score(outcomes, lab.ledger())
    assert seen.wrong_claims > 0
    assert seen.twice > 0
