"""What a client knows ahead, on a wire: limits that it has learned, and connections that a firewall forgot.

Numbers are for `ahead.py` to print; what is asserted here holds on a busy machine as well.
"""

from __future__ import annotations

import pytest
from ahead import LEARNERS, TIMEOUT, Row, forgotten, limited
from cases import Path
from on_the_wire import TRIALS, lab
from wire import Lab

__all__ = ["lab"]

pytestmark = [pytest.mark.wire, pytest.mark.timeout(300)]

COUNT = 5 * min(TRIALS, 60)
THREADS = 50


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("how", ["fin", "rst"])
def test_a_limit_is_learned_before_it_costs_much(lab: Lab, how: str, method: str) -> None:
    row = limited(lab, how, method, COUNT, THREADS)
    assert len(row.failed) <= (0 if method == "GET" else COUNT // 100), row.failed
    assert row.executed_twice == 0


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", [Path.PLAIN, Path.TLS_1_3, Path.CONNECT], ids=lambda path: path.name)
def test_no_request_hangs_on_a_connection_that_was_forgotten_in_silence(
    lab: Lab, path: Path, method: str
) -> None:
    row = forgotten(lab, path, method, COUNT // 2, THREADS)
    assert row.failed == []
    assert row.executed_twice == 0
    # Only those that taught it were found out by the silence that they met.
    assert len(_that_hung(row)) <= (LEARNERS if method == "GET" else 0) + COUNT // 50


def _that_hung(row: Row) -> list[float]:
    return [ride.seconds for ride in row.rides if ride.seconds > TIMEOUT / 10]
