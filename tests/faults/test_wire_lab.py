"""The lab itself: that its wire is as long as it says, and that it bites who is not protected."""

from __future__ import annotations

from collections import Counter

import pytest
from cases import Adversary, Path, Sky
from crew import run_trials
from on_the_wire import lab, trials
from scoring import score
from trial import close, make_manager, origin_of
from wire import Lab, percentile

__all__ = ["lab"]

pytestmark = pytest.mark.wire

DIRECT = [path for path in Path if not path.proxied]
"""Behind a proxy urllib3 repeats any POST: it takes a lost request for a proxy never reached. So it
does after an error of TLS."""


def test_a_round_trip_takes_two_delays(lab: Lab) -> None:
    with lab.measured_round_trips(every=0.01) as trips:
        run_trials(lab, trials(lab, Adversary.FIN_CROSSES, count=10))
    assert 2 * lab.delay <= percentile(trips, 0.5) < 2 * lab.delay + 0.002


def test_a_lossy_sky_loses_packets_and_still_everything_arrives(lab: Lab) -> None:
    before = Counter(lab.wire_report())
    with lab.client():
        manager = make_manager(Path.PLAIN, Sky.LOSS, lab.client_context())
        numbers = lab.numbers(40)
        for number in numbers:
            response = manager.request("POST", f"{origin_of(Path.PLAIN, Sky.LOSS)}/do/{number}")
            assert response.data == str(number).encode()
        close(manager)
    after = Counter(lab.wire_report())
    assert 0 < after["lost"] - before["lost"] < 0.2 * (after["packets"] - before["packets"])
    assert [lab.ledger().executions[number] for number in numbers] == [1] * 40


def test_without_holdfast_a_post_that_a_fin_crosses_fails_and_was_lost(lab: Lab) -> None:
    outcomes = run_trials(lab, trials(lab, Adversary.FIN_CROSSES, count=10, paths=DIRECT, client="urllib3"))
    seen = score(outcomes, lab.ledger())
    assert seen.failed >= 0.9 * seen.sent
    assert seen.lost == seen.failed


def test_without_holdfast_a_post_behind_a_proxy_is_executed_twice(lab: Lab) -> None:
    planned = trials(lab, Adversary.READS_ALL_THEN_FIN, count=10, paths=[Path.FORWARD], client="urllib3")
    outcomes = run_trials(lab, planned)
    assert score(outcomes, lab.ledger()).twice == len(outcomes)


@pytest.mark.parametrize("adversary", [Adversary.IDLE_408, Adversary.STRAY_200])
def test_without_holdfast_stray_answers_are_handed_to_the_caller(lab: Lab, adversary: Adversary) -> None:
    outcomes = run_trials(lab, trials(lab, adversary, count=10, paths=DIRECT, client="urllib3"))
    seen = score(outcomes, lab.ledger())
    assert seen.strays >= 0.5 * seen.sent


@pytest.mark.parametrize(
    "adversary",
    [Adversary.READS_ALL_THEN_RST, Adversary.READS_ALL_THEN_LATE_RST, Adversary.READS_ALL_THEN_FIN],
)
def test_what_was_read_to_its_last_byte_is_in_the_ledger(lab: Lab, adversary: Adversary) -> None:
    outcomes = run_trials(lab, trials(lab, adversary, count=3, paths=DIRECT, client="urllib3"))
    seen = score(outcomes, lab.ledger())
    assert seen.failed == seen.sent
    assert seen.lost == 0


@pytest.mark.parametrize(
    "adversary", [Adversary.READS_HALF_THEN_RST, Adversary.LAST_BYTE_WITHHELD, Adversary.DIES_UNREAD]
)
def test_what_was_not_read_is_not(lab: Lab, adversary: Adversary) -> None:
    outcomes = run_trials(lab, trials(lab, adversary, count=10, paths=[Path.PLAIN], client="urllib3"))
    seen = score(outcomes, lab.ledger())
    assert seen.failed == seen.lost == seen.sent
