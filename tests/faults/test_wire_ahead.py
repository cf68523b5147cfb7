"""What a client knows ahead, on a wire: limits that it has learned, and connections that a firewall forgot.

Numbers are for `ahead.py` to print; what is asserted here holds on a busy machine as well.
"""

from __future__ import annotations

import time

import pytest
from ahead import TIMEOUT, Row, forgotten, hinted, limited
from cases import Path, Sky
from on_the_wire import lab
from trial import close, make_manager, origin_of
from urllib3.exceptions import HTTPError
from wire import Lab

import holdfast
from holdfast import EndedBy, Policy, PoolLimits, Progress, TcpKeepalive

__all__ = ["lab"]

pytestmark = [pytest.mark.wire, pytest.mark.timeout(300)]

COUNT = 300
"""What one in a hundred is of."""
THREADS = 50


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("how", ["fin", "rst"])
def test_a_limit_is_learned_before_it_costs_much(lab: Lab, how: str, method: str) -> None:
    row = limited(lab, how, method, COUNT, THREADS)
    assert len(row.failed) <= (0 if method == "GET" else COUNT // 100), row.failed
    assert row.executed_twice == 0


@pytest.mark.parametrize(
    ("path", "method"),
    [(Path.PLAIN, "GET"), (Path.PLAIN, "POST"), (Path.TLS_1_3, "GET"), (Path.CONNECT, "POST")],
    ids=lambda one: getattr(one, "name", one),
)
def test_no_request_hangs_on_a_connection_that_was_forgotten_in_silence(
    lab: Lab, path: Path, method: str
) -> None:
    row = forgotten(lab, path, method, COUNT // 2, THREADS)
    assert row.failed == []
    assert row.executed_twice == 0
    # Only those that taught it were found out by the silence that they met, or a few on a busy machine.
    assert len(_that_hung(row)) <= COUNT // 50


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_firewall_that_refuses_what_it_forgot_costs_nobody_a_request(lab: Lab, method: str) -> None:
    row = forgotten(lab, Path.PLAIN, method, 100, THREADS, tells=True)
    assert row.failed == []
    assert row.executed_twice == 0


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_no_request_meets_a_silence_that_was_announced(lab: Lab, method: str) -> None:
    row = hinted(lab, method, 150, THREADS)
    assert row.failed == []
    assert _that_hung(row) == []
    assert row.repeated == 0


def test_silence_over_tls_is_reported_as_silence(lab: Lab) -> None:
    """Python reads it as an end of file, and a reset looks the same."""
    with lab.client(), lab.firewall(0.5):
        manager = make_manager(Path.TLS_1_3, Sky.CLEAR, lab.client_context())
        unasked = PoolLimits(learn=False, probe_unsafe_after=None)
        holdfast.wrap(manager, Policy(limits=unasked, keepalive=TcpKeepalive(user_timeout=1.0)))
        url = f"{origin_of(Path.TLS_1_3, Sky.CLEAR)}/do"
        first, second = lab.numbers(2)
        manager.request("GET", f"{url}/{first}")
        time.sleep(1.0)  # what the firewall wants
        with pytest.raises(HTTPError) as caught:
            manager.request("POST", f"{url}/{second}", body=b"x")
        report = holdfast.report(caught.value)
        close(manager)
    assert report is not None
    assert (report.ended_by, report.progress) == (EndedBy.SILENCE, Progress.MAYBE_PROCESSED)


def _that_hung(row: Row) -> list[float]:
    return [ride.seconds for ride in row.rides if ride.seconds > TIMEOUT / 10]
