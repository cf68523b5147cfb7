from __future__ import annotations

import errno
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast._core.causes import Facts, likely_cause
from holdfast._core.evidence import ESTABLISHED, TcpSnapshot
from holdfast._core.peer import SILENT, PeerTerms
from holdfast.vocabulary import Cause, EndedBy, Evidence, Phase, Progress

OPENING = Facts(phase=Phase.CONNECT, progress=Progress.NOT_SENT, ended_by=EndedBy.NOT_OPENED, terms=SILENT)
STALE = Facts(
    phase=Phase.AWAIT,
    progress=Progress.MAYBE_PROCESSED,
    ended_by=EndedBy.FIN,
    reused=True,
    idle=20.0,
    terms=SILENT,
)
FRESH = replace(STALE, reused=False, idle=0.0)
TCP = TcpSnapshot(ESTABLISHED, 0, 200_000, 0, 0, 0, 30_000, 0, 0, 0, 30_000)


@pytest.mark.parametrize(
    ("phase", "number", "cause"),
    [
        (Phase.CONNECT, errno.ECONNREFUSED, Cause.REFUSED),
        (Phase.CONNECT, errno.ECONNRESET, Cause.REFUSED),
        (Phase.CONNECT, errno.ETIMEDOUT, Cause.NOT_REACHED_IN_TIME),
        (Phase.CONNECT, errno.EADDRNOTAVAIL, Cause.PORTS_EXHAUSTED),
        (Phase.CONNECT, errno.EADDRINUSE, Cause.ADDRESS_IN_USE),
        (Phase.CONNECT, errno.EHOSTUNREACH, Cause.UNREACHABLE),
        (Phase.CONNECT, errno.ENETUNREACH, Cause.UNREACHABLE),
        (Phase.CONNECT, errno.ENETDOWN, Cause.UNREACHABLE),
        (Phase.CONNECT, None, Cause.NOT_REACHED),
        (Phase.RESOLVE, None, Cause.UNRESOLVED),
        (Phase.TUNNEL, None, Cause.PROXY_REFUSED),
        (Phase.TLS, errno.ECONNRESET, Cause.TLS_CUT),
        (Phase.TLS, None, Cause.TLS_CUT),
    ],
)
def test_while_opening_the_errors_name_it(phase: Phase, number: int | None, cause: Cause) -> None:
    assert likely_cause(replace(OPENING, phase=phase, errno=number)) is cause


def test_a_certificate_that_does_not_fit_is_not_a_cut() -> None:
    refused = replace(OPENING, phase=Phase.TLS, ended_by=EndedBy.PROTOCOL)
    assert likely_cause(refused) is Cause.TLS_FAILED


def test_nobody_took_the_connection_in_time() -> None:
    assert likely_cause(replace(OPENING, timed_out=True)) is Cause.NOT_REACHED_IN_TIME
    assert likely_cause(replace(OPENING, phase=Phase.TLS, timed_out=True)) is Cause.NOT_REACHED_IN_TIME


@pytest.mark.parametrize(
    ("facts", "cause"),
    [
        (STALE, Cause.KEEP_ALIVE_LIMIT),
        (replace(STALE, ended_by=EndedBy.RESET), Cause.KEEP_ALIVE_LIMIT),
        (replace(STALE, idle=0.3), Cause.SERVER_WENT_AWAY),
        (replace(STALE, ended_by=EndedBy.RESET, idle=61.0), Cause.FLOW_FORGOTTEN),
        (replace(STALE, ended_by=EndedBy.FIN, idle=61.0), Cause.KEEP_ALIVE_LIMIT),
        (replace(STALE, terms=PeerTerms(persistent=False)), Cause.ANNOUNCED_CLOSE),
        (replace(STALE, terms=PeerTerms(persistent=True, remaining=1)), Cause.REQUEST_LIMIT),
        (replace(STALE, evidence=Evidence.STRAY, ended_by=EndedBy.PROTOCOL), Cause.STRAY_ANSWER),
        (replace(STALE, ended_by=EndedBy.LOCAL), Cause.CLOSED_LOCALLY),
        (replace(STALE, ended_by=EndedBy.SILENCE), Cause.UNACKNOWLEDGED),
        (replace(STALE, ended_by=EndedBy.TIMEOUT, timed_out=True), Cause.NO_ANSWER_IN_TIME),
        (replace(STALE, ended_by=EndedBy.PROTOCOL), Cause.NOT_HTTP),
        (replace(STALE, progress=Progress.RESPONSE_STARTED, phase=Phase.BODY), Cause.CUT_RESPONSE),
        (FRESH, Cause.CRASHED_ON_REQUEST),
        (replace(FRESH, proxied=True), Cause.PROXY_GAVE_UP),
        (replace(FRESH, progress=Progress.INCOMPLETE, phase=Phase.SEND), Cause.REJECTED_UPLOAD),
    ],
)
def test_afterwards_it_is_a_guess(facts: Facts, cause: Cause) -> None:
    assert likely_cause(facts) is cause


def test_a_timeout_while_packets_are_sent_again_and_again_is_not_a_slow_server() -> None:
    late = replace(STALE, ended_by=EndedBy.TIMEOUT, timed_out=True)
    assert likely_cause(replace(late, tcp=TCP)) is Cause.NO_ANSWER_IN_TIME
    assert likely_cause(replace(late, tcp=TCP._replace(unacked=1))) is Cause.NO_ANSWER_IN_TIME
    assert likely_cause(replace(late, tcp=TCP._replace(unacked=1, retransmits=3))) is Cause.UNACKNOWLEDGED


@given(
    st.builds(
        Facts,
        phase=st.sampled_from(Phase),
        progress=st.sampled_from(Progress),
        evidence=st.sampled_from(Evidence),
        ended_by=st.sampled_from(EndedBy),
        errno=st.none() | st.sampled_from(sorted(errno.errorcode)),
        timed_out=st.booleans(),
        proxied=st.booleans(),
        reused=st.booleans(),
        idle=st.floats(0, 1e6),
        terms=st.builds(PeerTerms, persistent=st.booleans(), remaining=st.none() | st.integers(0, 3)),
        tcp=st.none() | st.just(TCP),
    )
)
def test_there_is_always_one_and_opening_is_not_mixed_up_with_the_rest(facts: Facts) -> None:
    cause = likely_cause(facts)
    of_opening = {
        Cause.REFUSED,
        Cause.NOT_REACHED_IN_TIME,
        Cause.UNREACHABLE,
        Cause.UNRESOLVED,
        Cause.PORTS_EXHAUSTED,
        Cause.ADDRESS_IN_USE,
        Cause.PROXY_REFUSED,
        Cause.TLS_CUT,
        Cause.TLS_FAILED,
        Cause.NOT_REACHED,
    }
    assert (cause in of_opening) == facts.phase.opens
