from __future__ import annotations

import errno
import json
import pickle
from dataclasses import fields, replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from holdfast._core.evidence import ESTABLISHED, TcpSnapshot
from holdfast._core.failure import FailureReport, TcpFacts
from holdfast.vocabulary import Cause, EndedBy, Evidence, Phase, Progress, Verdict

TCP = TcpFacts(rtt=0.0301, min_rtt=0.0298, retransmits=2, unacknowledged=1, unsent=0)
FIRST = FailureReport(
    origin="https://example.org:443",
    method="GET",
    phase=Phase.AWAIT,
    progress=Progress.MAYBE_PROCESSED,
    evidence=Evidence.NO_FIN,
    verdict=Verdict.REPEATED_STALE,
    cause=Cause.KEEP_ALIVE_LIMIT,
    ended_by=EndedBy.RESET,
    error="ConnectionResetError: [Errno 104] Connection reset by peer",
    errno=errno.ECONNRESET,
    sent=312,
    reused=True,
    age=61.25,
    idle=60.5,
    uses=7,
    keep_alive_timeout=65,
    keep_alive_max=93,
    tcp=TCP,
)
OPENING = replace(
    FIRST,
    phase=Phase.CONNECT,
    progress=Progress.NOT_SENT,
    verdict=Verdict.RECONNECTED,
    cause=Cause.REFUSED,
    ended_by=EndedBy.NOT_OPENED,
    error="NewConnectionError",
    errno=errno.ECONNREFUSED,
    reused=False,
    tcp=None,
    earlier=FIRST,
)
LAST = replace(FIRST, verdict=Verdict.REFUSED_ATTEMPTS, reused=False, waited=0.125, earlier=OPENING)


def test_the_attempts_come_in_their_order() -> None:
    assert LAST.attempts == (FIRST, OPENING, LAST)
    assert FIRST.attempts == (FIRST,)


def test_it_prints_for_people() -> None:
    lines = str(FIRST).splitlines()
    assert lines[0] == (
        "GET to https://example.org:443 failed: ConnectionResetError: [Errno 104] Connection reset by peer"
    )
    told = "\n".join(lines)
    for word in (
        Progress.MAYBE_PROCESSED.value,
        "MAYBE_PROCESSED",
        Phase.AWAIT.value,
        Evidence.NO_FIN.value,
        EndedBy.RESET.value,
        Verdict.REPEATED_STALE.value,
        Cause.KEEP_ALIVE_LIMIT.value,
        "61.250 s old",
        "idle 60.500 s",
        "7 answered before",
        "keep-alive 65 s, 93 more requests",
        "round trip 30.1 ms, 2 retransmitted, 1 segments unacknowledged, 0 bytes unsent",
    ):
        assert word in told


def test_it_prints_every_attempt_with_its_wait() -> None:
    told = str(LAST)
    assert "attempt 1:" in told
    assert "attempt 2:" in told
    assert "attempt 3:" not in told  # that is what the lines above tell
    assert "reused connection" in told
    assert "opening connection" in told
    assert "after 0.500 s, new connection" in str(replace(LAST, earlier=replace(LAST, waited=0.5)))


def test_it_prints_also_where_little_is_known() -> None:
    told = str(replace(OPENING, method=None, earlier=None))
    assert told.startswith("Connecting to https://example.org:443 failed")
    assert "not opened" in told
    assert "network:" not in told
    silent = replace(FIRST, keep_alive_timeout=None, keep_alive_max=None)
    assert "no hint" in str(silent)
    assert "hint: close" in str(replace(silent, announced_close=True))


def test_it_goes_through_json() -> None:
    plain = json.loads(json.dumps(LAST.as_dict()))
    assert plain["verdict"] == "REFUSED_ATTEMPTS"
    assert plain["ended_by"] == "RESET"
    assert plain["evidence"] == "NO_FIN"
    assert plain["tcp"]["rtt"] == TCP.rtt
    assert plain["errno"] == errno.ECONNRESET


def test_it_pickles_and_compares() -> None:
    assert pickle.loads(pickle.dumps(LAST)) == LAST
    assert hash(LAST) == hash(replace(LAST))
    assert LAST != FIRST


def test_a_story_of_many_attempts_can_be_told() -> None:
    report = FIRST
    for _ in range(100):
        report = replace(OPENING, earlier=report)
    assert len(report.attempts) == 101
    assert str(report)
    assert json.dumps(report.as_dict())
    assert pickle.loads(pickle.dumps(report)).attempts[0] == FIRST
    assert repr(report)
    assert report == replace(report)


def test_it_has_no_place_for_secrets() -> None:
    """No URL path, header or body: what is here is all there is."""
    assert {field.name for field in fields(FailureReport)} == {
        "origin",
        "method",
        "phase",
        "progress",
        "evidence",
        "verdict",
        "cause",
        "ended_by",
        "error",
        "errno",
        "waited",
        "sent",
        "received",
        "reused",
        "age",
        "idle",
        "uses",
        "keep_alive_timeout",
        "keep_alive_max",
        "announced_close",
        "tcp",
        "left_out",
        "earlier",
    }


def test_the_kernels_numbers_are_told_in_seconds_and_bytes() -> None:
    snapshot = TcpSnapshot(ESTABLISHED, 3, 200_000, 2, 0, 0, 30_100, 5, 100, 17, 29_800)
    facts = TcpFacts.of(snapshot)
    assert (round(facts.rtt, 6), round(facts.min_rtt, 6)) == (0.0301, 0.0298)
    assert (facts.retransmits, facts.unacknowledged, facts.unsent) == (5, 2, 17)


_numbers: Any = st.floats(0, 1e9)
reports = st.builds(
    FailureReport,
    origin=st.just("http://h:1"),
    method=st.none() | st.just("POST"),
    phase=st.sampled_from(Phase),
    progress=st.sampled_from(Progress),
    evidence=st.sampled_from(Evidence),
    verdict=st.sampled_from(Verdict),
    cause=st.sampled_from(Cause),
    ended_by=st.sampled_from(EndedBy),
    error=st.text(max_size=20),
    errno=st.none() | st.integers(1, 133),
    waited=_numbers,
    reused=st.booleans(),
    age=_numbers,
    idle=_numbers,
    uses=st.integers(0),
    keep_alive_timeout=st.none() | _numbers,
    keep_alive_max=st.none() | st.integers(0),
    announced_close=st.booleans(),
    tcp=st.none() | st.just(TCP),
    earlier=st.none() | st.just(FIRST),
)


@given(reports)
def test_whatever_it_says_it_prints_serialises_and_pickles(report: FailureReport) -> None:
    assert report.verdict.value in str(report)
    assert json.loads(json.dumps(report.as_dict()))["cause"] == report.cause.name
    assert pickle.loads(pickle.dumps(report)) == report
