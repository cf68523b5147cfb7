"""The connection is asked at given seconds; nothing waits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast._core.entry import Entry
from holdfast._core.peer import PeerTerms
from holdfast._core.reuse import heard, opened, why_not_reuse
from holdfast.policy import PoolLimits
from holdfast.vocabulary import CloseReason

LIMITS = PoolLimits(idle_timeout=50, max_age=1000, max_age_jitter=0.1, max_uses=3, keep_alive_margin=1.0)
UNLIMITED = PoolLimits(idle_timeout=None, max_age=None)
SILENT = PeerTerms(persistent=True)


def answered(
    at: float,
    terms: PeerTerms = SILENT,
    limits: PoolLimits = LIMITS,
    *,
    opened_at: float = 0.0,
    jitter: float = 0.0,
    uses: int = 1,
) -> Entry:
    """A connection whose last response ended at a given second."""
    entry = Entry(opened_at)
    opened(entry, limits, jitter)
    entry.uses = uses
    heard(entry, terms, limits)
    entry.idle_since = at
    return entry


@pytest.mark.parametrize(("now", "reason"), [(10, None), (59.9, None), (60, CloseReason.IDLE_TIMEOUT)])
def test_a_connection_expires_when_it_was_idle_too_long(now: float, reason: CloseReason | None) -> None:
    assert why_not_reuse(answered(10.0), LIMITS, now) is reason


@pytest.mark.parametrize(("now", "reason"), [(13.9, None), (14, CloseReason.HINT_EXPIRED)])
def test_the_peers_timeout_is_obeyed_with_a_margin(now: float, reason: CloseReason | None) -> None:
    entry = answered(10.0, PeerTerms(persistent=True, idle_timeout=5))
    assert why_not_reuse(entry, LIMITS, now) is reason


@pytest.mark.parametrize(("now", "reason"), [(10.4, None), (10.5, CloseReason.HINT_EXPIRED)])
def test_the_margin_takes_at_most_half_of_a_short_timeout(now: float, reason: CloseReason | None) -> None:
    entry = answered(10.0, PeerTerms(persistent=True, idle_timeout=1))
    assert why_not_reuse(entry, LIMITS, now) is reason


@pytest.mark.parametrize(
    ("kept", "now", "reason"),
    [
        (4.0, 13.9, None),
        (4.0, 14.0, CloseReason.HINT_EXPIRED),
        (4.1, 14.0, None),
        (60.0, 14.94, None),
        (60.0, 14.96, CloseReason.HINT_EXPIRED),
    ],
)
def test_a_peer_that_was_seen_to_keep_its_word_is_undercut_by_less(
    kept: float, now: float, reason: CloseReason | None
) -> None:
    entry = answered(10.0)
    heard(entry, PeerTerms(persistent=True, idle_timeout=5), LIMITS, kept)
    assert why_not_reuse(entry, LIMITS, now) is reason
    assert entry.unsafe_allowance == 4.0


@pytest.mark.parametrize("kept", [0.0, 60.0])
def test_what_is_configured_holds_whatever_the_peer_keeps(kept: float) -> None:
    entry = answered(10.0)
    heard(entry, PeerTerms(persistent=True, idle_timeout=90), LIMITS, kept)
    assert (entry.idle_allowance, entry.unsafe_allowance) == (50, 50)
    assert why_not_reuse(entry, LIMITS, 60) is CloseReason.IDLE_TIMEOUT


def test_a_new_connection_that_was_never_used_is_bound_by_the_same_limits() -> None:
    entry = Entry(0.0)
    opened(entry, LIMITS, jitter=0.0)
    assert why_not_reuse(entry, LIMITS, 49.9) is None
    assert why_not_reuse(entry, LIMITS, 50) is CloseReason.IDLE_TIMEOUT


@pytest.mark.parametrize(
    ("terms", "reason"),
    [
        (PeerTerms(persistent=True, idle_timeout=0), CloseReason.HINT_EXPIRED),
        (PeerTerms(persistent=True, remaining=0), CloseReason.HINT_USED_UP),
        (PeerTerms(persistent=False), CloseReason.PEER_ASKED),
        (PeerTerms(persistent=True, remaining=1), None),
    ],
)
def test_what_the_peer_rules_out_is_doomed_at_once(terms: PeerTerms, reason: CloseReason | None) -> None:
    assert answered(10.0, terms).doomed is reason


def test_a_later_response_may_lift_an_earlier_hint() -> None:
    entry = answered(10.0, PeerTerms(persistent=True, idle_timeout=5))
    heard(entry, SILENT, LIMITS)
    assert why_not_reuse(entry, LIMITS, 40) is None


@pytest.mark.parametrize(("jitter", "end"), [(0.0, 1000), (0.5, 950), (1.0, 900)])
def test_age_ends_it_earlier_by_its_share_of_the_jitter(jitter: float, end: float) -> None:
    entry = answered(end - 1, jitter=jitter)
    assert why_not_reuse(entry, LIMITS, end - 0.1) is None
    assert why_not_reuse(entry, LIMITS, end) is CloseReason.MAX_AGE


def test_uses_are_counted() -> None:
    assert why_not_reuse(answered(10.0, uses=2), LIMITS, 10) is None
    assert why_not_reuse(answered(10.0, uses=3), LIMITS, 10) is CloseReason.MAX_USES


def test_without_limits_it_never_expires() -> None:
    assert why_not_reuse(answered(10.0, limits=UNLIMITED), UNLIMITED, 1e9) is None


def test_the_first_reason_stays() -> None:
    entry = answered(10.0)
    entry.doom(CloseReason.STRAY_BYTES)
    entry.doom(CloseReason.FAILED)
    assert why_not_reuse(entry, LIMITS, 11) is CloseReason.STRAY_BYTES


seconds = st.floats(min_value=0.001, max_value=1e6)
limits = st.builds(
    PoolLimits,
    idle_timeout=st.none() | seconds,
    max_age=st.none() | seconds,
    max_age_jitter=st.floats(min_value=0, max_value=1),
    max_uses=st.none() | st.integers(min_value=1, max_value=10),
    keep_alive_margin=st.floats(min_value=0, max_value=1e3),
)
terms = st.builds(
    PeerTerms,
    persistent=st.booleans(),
    idle_timeout=st.none() | st.integers(min_value=0, max_value=1000),
    remaining=st.none() | st.integers(min_value=0, max_value=3),
)


@given(limits=limits, terms=terms, uses=st.integers(1, 12), jitter=st.floats(0, 1), idle=seconds, age=seconds)
def test_whatever_is_lent_breaks_no_limit(
    limits: PoolLimits, terms: PeerTerms, uses: int, jitter: float, idle: float, age: float
) -> None:
    opened_at, now = 1000.0, 1000.0 + age + idle
    entry = answered(opened_at + age, terms, limits, opened_at=opened_at, jitter=jitter, uses=uses)
    if why_not_reuse(entry, limits, now) is not None:
        return
    slack = 1e-6 * now
    assert terms.persistent
    assert terms.remaining != 0
    assert limits.max_uses is None or uses < limits.max_uses
    assert limits.idle_timeout is None or idle <= limits.idle_timeout + slack
    assert limits.max_age is None or age + idle <= limits.max_age + slack
    if terms.idle_timeout is not None:
        assert idle <= terms.idle_timeout - min(limits.keep_alive_margin, terms.idle_timeout / 2) + slack


@given(limits=limits, terms=terms, idle=seconds)
def test_a_limit_is_blamed_only_if_it_is_there(limits: PoolLimits, terms: PeerTerms, idle: float) -> None:
    reason = why_not_reuse(answered(0.0, terms, limits), limits, idle)
    assert reason is not CloseReason.IDLE_TIMEOUT or limits.idle_timeout is not None
    assert reason is not CloseReason.MAX_AGE or limits.max_age is not None
    assert reason is not CloseReason.HINT_EXPIRED or terms.idle_timeout is not None
