"""Answers that left the server before it had our request are not handed out; all others are."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from answers import Asker, ask_for_answers
from cases import Adversary, Path, Sky
from crew import run_trials
from on_the_wire import TRIALS, lab, trials
from scoring import crossed, score, why_late
from wire import Lab, percentile

__all__ = ["lab"]

pytestmark = [pytest.mark.wire, pytest.mark.timeout(900)]

STRAYS_ALLOWED = 0.01
BUSY_ALLOWED = 0.04
"""Where the machine keeps even its kernel waiting, and so the client. Each miss must be explained by
that all the same."""
NOISE = 0.003
"""Seconds of a round trip; a quiet machine adds one or less."""
DETOUR = 0.1
"""Seconds: the round trip is 230 ms."""


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("adversary", [Adversary.IDLE_408, Adversary.STRAY_200])
def test_a_stray_answer_that_crosses_a_request_is_not_handed_to_the_caller(
    lab: Lab, adversary: Adversary, method: str
) -> None:
    # Few at a time: a client that is kept waiting for its turn looks too late.
    with lab.measured_round_trips() as trips:
        outcomes = run_trials(lab, trials(lab, adversary, method=method), threads=8, processes=2)
    busy = percentile(trips, 0.99) > 2 * lab.delay + NOISE
    ledger = lab.ledger()
    crossing = [one for one in outcomes if crossed(one, ledger, lab.delay)]
    assert len(crossing) > 0.9 * len(outcomes)
    handed = [one for one in crossing if one.answer == "stray"]
    explained = [why_late(one, ledger, lab.delay) for one in handed]
    assert [one for one in handed if one.ended - one.sent < 2 * lab.delay] == [], explained
    assert len(handed) <= (BUSY_ALLOWED if busy else STRAYS_ALLOWED) * len(crossing), explained
    if method == "GET":
        assert [one for one in outcomes if one.answer == "error"] == []
    else:
        assert score(outcomes, ledger).twice == 0


def test_no_good_answer_is_refused(lab: Lab) -> None:
    count = max(1_200, 20 * TRIALS)
    seen = ask_for_answers(lab, count)
    assert not seen.complaints, "\n".join(seen.complaints)
    assert seen.answered >= count


def test_no_good_answer_is_refused_because_it_follows_a_retransmission(lab: Lab) -> None:
    """The ACK of a request was lost, so the request is sent again, and right behind it comes the
    answer to the first copy: sooner than any round trip, and a good one."""
    with lab.detour(DETOUR):
        seen = ask_for_answers(lab, 14 * TRIALS, skies=[Sky.LOSS], slowest=0.7)
    assert not seen.complaints, "\n".join(seen.complaints)


def test_a_path_that_becomes_shorter_makes_no_good_answer_look_early(lab: Lab) -> None:
    skies = [(path, sky) for path in Path for sky in Sky]
    with lab.client(), ThreadPoolExecutor(len(skies)) as threads:
        tls = lab.client_context()
        askers = [Asker(path, sky, tls, seed=f"{lab.seed} {path} {sky}") for path, sky in skies]
        with lab.detour(DETOUR):
            list(threads.map(Asker.ask, askers, lab.numbers(len(askers))))
        for _ in range(5):
            list(threads.map(Asker.ask, askers, lab.numbers(len(askers))))
        for asker in askers:
            asker.leave()
    complaints = [complaint for asker in askers for complaint in asker.seen.complaints]
    assert not complaints, "\n".join(complaints)
