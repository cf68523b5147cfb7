"""The rules of DESIGN section 5, with the numbers it was tried with: a wire with 30 ms round trip."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast._core.evidence import (
    CLOSE,
    CLOSE_WAIT,
    ESTABLISHED,
    Ending,
    TcpSnapshot,
    is_stray,
    who_closed_first,
)
from holdfast.vocabulary import Evidence

RTT = 30_000  # microseconds
TICK = 0.004
WRITTEN = 312
FIN_WAIT2 = 5

BEFORE = TcpSnapshot(
    state=ESTABLISHED,
    retransmits=0,
    rto_us=230_000,
    unacked=0,
    last_data_sent_ms=5_000,
    last_data_recv_ms=4_970,
    rtt_us=RTT,
    total_retrans=0,
    bytes_acked=1_841,
    notsent_bytes=0,
    min_rtt_us=RTT,
)
RESET = BEFORE._replace(state=CLOSE, unacked=1)
CROSSED = Ending(fin_seen=True, last=RESET, outq=WRITTEN)


def snapshot(**facts: int) -> TcpSnapshot:
    return BEFORE._replace(**facts)


def judged(ending: Ending = CROSSED, *, before: TcpSnapshot = BEFORE, exact: bool = True) -> Evidence:
    return who_closed_first(before, ending, WRITTEN, exact=exact)


# -- who closed first


def test_a_fin_without_a_byte_of_the_request_and_then_a_reset_is_a_proof() -> None:
    assert judged() is Evidence.FIN_BEFORE_REQUEST


@pytest.mark.parametrize(
    "left_over", [{"unacked": 1}, {"notsent_bytes": 1}, {"unacked": 2, "notsent_bytes": 9}]
)
def test_not_where_earlier_bytes_were_still_on_their_way(left_over: dict[str, int]) -> None:
    """An acknowledgement might then be one of theirs."""
    assert judged(before=snapshot(**left_over)) is Evidence.UNCLEAR_START


def test_a_bare_reset_proves_nothing() -> None:
    """400 of 400 peers that read the request and reset at once had not acknowledged it."""
    assert judged(CROSSED._replace(fin_seen=False)) is Evidence.NO_FIN


@pytest.mark.parametrize("acknowledged", [1, WRITTEN - 1, WRITTEN])
def test_one_acknowledged_byte_of_the_request_is_enough(acknowledged: int) -> None:
    last = RESET._replace(bytes_acked=BEFORE.bytes_acked + acknowledged)
    assert judged(CROSSED._replace(last=last)) is Evidence.ACKNOWLEDGED


def test_an_acknowledged_fin_of_ours_counts_as_such_too() -> None:
    """Linux counts our FIN as a byte. We have sent none when we ask; if we had, the doubt is a no."""
    last = RESET._replace(bytes_acked=BEFORE.bytes_acked + 1)
    assert judged(CROSSED._replace(last=last)) is Evidence.ACKNOWLEDGED


@pytest.mark.parametrize("state", [CLOSE_WAIT, ESTABLISHED, FIN_WAIT2])
def test_a_fin_alone_proves_nothing(state: int) -> None:
    """A peer that half-closed may still read and execute."""
    assert judged(CROSSED._replace(last=RESET._replace(state=state))) is Evidence.NOT_OVER


@pytest.mark.parametrize("outq", [None, 0, WRITTEN - 1])
@pytest.mark.parametrize("exact", [True, False])
def test_the_queue_must_hold_the_request(outq: int | None, exact: bool) -> None:
    assert judged(CROSSED._replace(outq=outq), exact=exact) is Evidence.UNCLEAR_QUEUE


def test_on_a_plain_connection_it_holds_just_the_request_over_tls_it_is_longer() -> None:
    longer = CROSSED._replace(outq=WRITTEN + 22)
    assert judged(longer, exact=True) is Evidence.UNCLEAR_QUEUE
    assert judged(longer, exact=False) is Evidence.FIN_BEFORE_REQUEST


snapshots: Any = st.builds(
    TcpSnapshot,
    state=st.sampled_from([ESTABLISHED, CLOSE, CLOSE_WAIT, FIN_WAIT2]),
    unacked=st.integers(0, 2),
    bytes_acked=st.integers(1_841, 1_843),
    notsent_bytes=st.integers(0, 2),
    **{
        name: st.integers(0, 2**32 - 1)
        for name in (
            "retransmits",
            "rto_us",
            "last_data_sent_ms",
            "last_data_recv_ms",
            "rtt_us",
            "total_retrans",
            "min_rtt_us",
        )
    },
)


@given(
    snapshots, snapshots, st.booleans(), st.none() | st.integers(0, 400), st.integers(1, 400), st.booleans()
)
def test_a_claim_is_made_only_if_every_condition_holds(
    before: TcpSnapshot, last: TcpSnapshot, fin_seen: bool, outq: int | None, written: int, exact: bool
) -> None:
    ending = Ending(fin_seen, last, outq)
    if who_closed_first(before, ending, written, exact=exact) is Evidence.FIN_BEFORE_REQUEST:
        assert before.unacked == before.notsent_bytes == 0
        assert fin_seen
        assert last.bytes_acked == before.bytes_acked
        assert last.state == CLOSE
        assert outq is not None
        assert outq == written if exact else outq >= written


# -- causality


def stray(one_send: bool = True, before: TcpSnapshot = BEFORE, **now: int) -> bool:
    facts = {"last_data_sent_ms": 31, "last_data_recv_ms": 0, "bytes_acked": BEFORE.bytes_acked + WRITTEN}
    return is_stray(before, snapshot(**(facts | now)), one_send=one_send, tick=TICK)


def test_an_answer_acknowledges_a_byte_of_its_request() -> None:
    assert not stray()
    assert not stray(bytes_acked=BEFORE.bytes_acked + 1)


def test_what_came_while_nothing_was_acknowledged_is_none() -> None:
    assert stray(bytes_acked=BEFORE.bytes_acked)
    assert stray(bytes_acked=BEFORE.bytes_acked, one_send=False)


def test_after_an_unclear_start_nothing_is_refused() -> None:
    for before in (snapshot(unacked=1), snapshot(notsent_bytes=1)):
        assert not stray(before=before, bytes_acked=BEFORE.bytes_acked)
        assert not stray(before=before, last_data_sent_ms=0)


def test_what_came_sooner_than_half_the_smallest_round_trip_is_none() -> None:
    """A reader who looks late finds the request acknowledged, whatever the bytes are."""
    assert stray(last_data_sent_ms=200, last_data_recv_ms=200)
    assert stray(last_data_sent_ms=206, last_data_recv_ms=200)
    assert not stray(last_data_sent_ms=208, last_data_recv_ms=200)  # 8 ms and two ticks: a doubt
    assert not stray(last_data_sent_ms=230, last_data_recv_ms=200)


def test_not_for_a_request_of_several_sends() -> None:
    """The server may have answered the first."""
    assert not stray(one_send=False, last_data_sent_ms=200, last_data_recv_ms=200)


@pytest.mark.parametrize("min_rtt", [0, 20, 200, 4_000, 15_999])
def test_on_a_short_path_the_ticks_are_too_coarse_to_tell(min_rtt: int) -> None:
    assert not stray(min_rtt_us=min_rtt, last_data_sent_ms=0, last_data_recv_ms=0)


def test_a_kernel_without_a_smallest_round_trip_refuses_nothing() -> None:
    """It says 2**32 - 1 (no sample yet)."""
    assert not stray(min_rtt_us=2**32 - 1, last_data_sent_ms=5, last_data_recv_ms=0)


@given(snapshots, snapshots, st.booleans())
def test_a_good_answer_is_never_refused(before: TcpSnapshot, now: TcpSnapshot, one_send: bool) -> None:
    """One that came a whole round trip after its request, and acknowledged it."""
    good = now._replace(
        bytes_acked=before.bytes_acked + 1,
        last_data_sent_ms=now.last_data_recv_ms + now.min_rtt_us // 1_000 + 1,
    )
    assert not is_stray(before, good, one_send=one_send, tick=TICK)


# -- waiting for the reset


@pytest.mark.parametrize(
    ("rtt", "rto", "seconds"),
    [
        (30_000, 230_000, 0.26),  # one round trip after the first retransmission
        (300_000, 200_000, 0.6),  # two round trips
        (20, 201_000, 0.20102),
        (0, 0, 0.005),
        (4_000_000, 60_000_000, 1.0),
    ],
)
def test_the_peers_kernel_is_given_its_time_and_not_more(rtt: int, rto: int, seconds: float) -> None:
    assert snapshot(rtt_us=rtt, rto_us=rto).patience == pytest.approx(seconds)


def test_a_round_trip_is_told_in_seconds() -> None:
    assert [BEFORE.rtt, BEFORE.min_rtt] == pytest.approx([0.03, 0.03])


# -- how long an answer to a probe is waited for


@pytest.mark.parametrize(
    ("rtt_ms", "rttvar_ms", "patience"),
    [(0, 0, 0.05), (30, 3, 0.08), (30, 15, 0.12), (200, 5, 0.42), (200, 100, 0.65), (900, 10, 1.0)],
)
def test_a_probe_is_waited_for_as_long_as_the_path_may_take(
    rtt_ms: int, rttvar_ms: int, patience: float
) -> None:
    seen = snapshot(rtt_us=rtt_ms * 1000, rttvar_us=rttvar_ms * 1000)
    assert seen.probe_patience == pytest.approx(patience)


@given(rtt=st.integers(0, 2**32 - 1), rttvar=st.integers(0, 2**32 - 1))
def test_no_probe_keeps_a_request_for_longer_than_three_round_trips_and_a_little(
    rtt: int, rttvar: int
) -> None:
    patience = snapshot(rtt_us=rtt, rttvar_us=rttvar).probe_patience
    assert 0.05 <= patience <= min(1.0, 3 * rtt / 1e6 + 0.1)


def test_whatever_came_last_is_the_last_sign_of_life() -> None:
    assert snapshot(last_data_recv_ms=5_000, last_ack_recv_ms=1_200).unheard_for == pytest.approx(1.2)
    assert snapshot(last_data_recv_ms=700, last_ack_recv_ms=1_200).unheard_for == pytest.approx(0.7)


# -- how long what was sent may stay unacknowledged


@pytest.mark.parametrize(("rto_ms", "seconds"), [(201, 1.0), (230, 1.0), (500, 1.5), (3_000, 9.0)])
def test_a_hurry_leaves_room_for_two_retransmissions(rto_ms: int, seconds: float) -> None:
    assert snapshot(rto_us=rto_ms * 1000).hurried == pytest.approx(seconds)
