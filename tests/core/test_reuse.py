"""The connection is asked at given seconds; nothing waits."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast._core.entry import Entry
from holdfast._core.peer import PeerTerms
from holdfast._core.reuse import lay_down, why_expired, why_not_keep
from holdfast.policy import PoolLimits
from holdfast.vocabulary import CloseReason

LIMITS = PoolLimits(idle_timeout=50, max_age=1000, max_age_jitter=0.1, max_uses=3, keep_alive_margin=1.0)
UNLIMITED = PoolLimits(idle_timeout=None, max_age=None)


def answered(at: float, terms: PeerTerms | None = None, *, opened: float = 0.0, jitter: float = 0.0) -> Entry:
    entry = Entry(opened, jitter=jitter)
    entry.uses = 1
    entry.heard(terms or PeerTerms(persistent=True))
    entry.idle_since = at
    return entry


def reason_at(entry: Entry, limits: PoolLimits, now: float) -> CloseReason | None:
    reason = lay_down(entry, limits)
    if reason is None and now >= entry.expires_at:
        return why_expired(entry, limits, now)
    return reason


@pytest.mark.parametrize(("now", "reason"), [(10, None), (59.9, None), (60, CloseReason.IDLE_TIMEOUT)])
def test_a_connection_expires_when_it_was_idle_too_long(now: float, reason: CloseReason | None) -> None:
    assert reason_at(answered(10.0), LIMITS, now) is reason


@pytest.mark.parametrize(("now", "reason"), [(13.9, None), (14, CloseReason.HINT_EXPIRED)])
def test_the_peers_timeout_is_obeyed_with_a_margin(now: float, reason: CloseReason | None) -> None:
    entry = answered(10.0, PeerTerms(persistent=True, idle_timeout=5))
    assert reason_at(entry, LIMITS, now) is reason


@pytest.mark.parametrize(("now", "reason"), [(10.4, None), (10.5, CloseReason.HINT_EXPIRED)])
def test_the_margin_takes_at_most_half_of_a_short_timeout(now: float, reason: CloseReason | None) -> None:
    entry = answered(10.0, PeerTerms(persistent=True, idle_timeout=1))
    assert reason_at(entry, LIMITS, now) is reason


def test_a_timeout_of_zero_means_do_not_reuse() -> None:
    assert lay_down(answered(10.0, PeerTerms(persistent=True, idle_timeout=0)), LIMITS) is CloseReason.HINT_EXPIRED


def test_the_peers_request_limit_is_counted_by_the_peer() -> None:
    assert lay_down(answered(10.0, PeerTerms(persistent=True, remaining=1)), LIMITS) is None
    assert lay_down(answered(10.0, PeerTerms(persistent=True, remaining=0)), LIMITS) is CloseReason.HINT_USED_UP


def test_a_response_that_says_close_ends_it() -> None:
    assert lay_down(answered(10.0, PeerTerms(persistent=False)), LIMITS) is CloseReason.PEER_ASKED


@pytest.mark.parametrize(("jitter", "end"), [(0.0, 1000), (0.5, 950), (1.0, 900)])
def test_age_ends_it_earlier_by_its_share_of_the_jitter(jitter: float, end: float) -> None:
    entry = answered(end - 1, jitter=jitter)
    assert reason_at(entry, LIMITS, end - 0.1) is None
    assert reason_at(entry, LIMITS, end) is CloseReason.MAX_AGE


def test_uses_are_counted() -> None:
    entry = answered(10.0)
    entry.uses = 2
    assert lay_down(entry, LIMITS) is None
    entry.uses = 3
    assert lay_down(entry, LIMITS) is CloseReason.MAX_USES


def test_without_limits_it_never_expires() -> None:
    entry = answered(10.0)
    assert lay_down(entry, UNLIMITED) is None
    assert entry.expires_at == math.inf


def test_the_first_reason_stays() -> None:
    entry = answered(10.0)
    entry.doom(CloseReason.STRAY_BYTES)
    entry.doom(CloseReason.FAILED)
    assert lay_down(entry, LIMITS) is CloseReason.STRAY_BYTES


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
    opened, now = 1000.0, 1000.0 + age + idle
    entry = answered(opened + age, terms, opened=opened, jitter=jitter)
    entry.uses = uses
    if reason_at(entry, limits, now) is not None:
        return
    assert terms.persistent
    assert terms.remaining != 0
    assert limits.max_uses is None or uses < limits.max_uses
    slack = 1e-6 * now
    assert limits.idle_timeout is None or idle <= limits.idle_timeout + slack
    assert limits.max_age is None or age + idle <= limits.max_age + slack
    if terms.idle_timeout is not None:
        assert idle <= terms.idle_timeout - min(limits.keep_alive_margin, terms.idle_timeout / 2) + slack


@given(limits=limits, terms=terms, now=seconds)
def test_every_refusal_has_a_reason(limits: PoolLimits, terms: PeerTerms, now: float) -> None:
    entry = answered(0.0, terms)
    if lay_down(entry, limits) is None and now >= entry.expires_at:
        assert why_expired(entry, limits, now) in CloseReason
    assert why_not_keep(entry, limits) is None or entry.expires_at == math.inf
