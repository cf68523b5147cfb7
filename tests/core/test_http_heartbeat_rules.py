"""When an HTTP heartbeat is due, what it says, and what its answer does to the connection's limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast._core.entry import Entry
from holdfast._core.http_heartbeat import Place, answered, compose, is_answer, next_beat, place_of
from holdfast._core.peer import PeerTerms
from holdfast._core.reuse import heard, opened, why_not_reuse
from holdfast.policy import HttpRequest, PoolLimits
from holdfast.vocabulary import CloseReason

LIMITS = PoolLimits(idle_timeout=50, max_age=1000, max_uses=10)
UNLIMITED = PoolLimits(idle_timeout=None, max_age=None)
HEAD = HttpRequest("HEAD", "/healthz")
HOME = Place("home.test")


def idle_since(
    at: float, *, uses: int = 1, limits: PoolLimits = LIMITS, remaining: int | None = None
) -> Entry:
    entry = Entry(0.0)
    opened(entry, limits, 0.0)
    entry.uses, entry.idle_since = uses, at
    heard(entry, PeerTerms(persistent=True, remaining=remaining), limits)
    return entry


@pytest.mark.parametrize(("now", "left"), [(100, 15), (110, 5), (115, 0), (120, 0)])
def test_a_beat_is_due_when_the_connection_lay_idle_for_the_interval(now: float, left: float) -> None:
    assert next_beat(idle_since(100), 15, LIMITS, now) == left


@pytest.mark.parametrize(
    ("entry", "now"),
    [
        (idle_since(0, uses=0), 1),  # its first request is still to come
        (idle_since(0, uses=9), 1),  # its tenth is somebody's
        (idle_since(0, remaining=1), 1),
        (idle_since(0), 50),  # its idle time is over
        (idle_since(990), 1000),  # it is old
    ],
)
def test_a_connection_that_cannot_carry_a_request_after_it_is_not_asked(entry: Entry, now: float) -> None:
    assert next_beat(entry, 5, LIMITS, now) is None


def test_a_doomed_connection_is_not_asked() -> None:
    entry = idle_since(0)
    entry.doom(CloseReason.SUSPECT)
    assert next_beat(entry, 5, LIMITS, 5) is None


def test_an_answer_begins_the_idle_time_anew_but_not_the_age() -> None:
    entry = idle_since(0)
    for now in range(40, 1000, 40):
        answered(entry, 11, None, None, UNLIMITED, now)
        assert entry.idle_since == now
    assert why_not_reuse(entry, LIMITS, 1000) is not None


def test_it_uses_up_a_use_and_is_none() -> None:
    entry = idle_since(0, limits=PoolLimits(max_uses=3))
    answered(entry, 11, None, None, PoolLimits(max_uses=3), 1)
    assert (entry.uses, entry.last_use) == (1, 2)


def test_it_uses_up_one_of_the_peers_max_also_where_the_answer_does_not_say_so() -> None:
    entry = idle_since(0, remaining=2)
    answered(entry, 11, "keep-alive", None, LIMITS, 1)
    assert entry.terms.remaining == 1
    assert entry.doomed is None
    assert next_beat(entry, 5, LIMITS, 6) is None


@pytest.mark.parametrize(
    ("version", "connection", "keep_alive", "doomed"),
    [
        (11, None, None, None),
        (11, "close", None, CloseReason.PEER_ASKED),
        (11, "close", "timeout=5, max=7", CloseReason.PEER_ASKED),
        (10, None, None, CloseReason.PEER_ASKED),
        (10, "keep-alive", None, None),
        (11, "keep-alive", "timeout=0", CloseReason.HINT_EXPIRED),
        (11, None, "max=0", CloseReason.HINT_USED_UP),
        (11, None, "timeout=5, max=7", None),
    ],
)
def test_what_the_answer_says_of_the_connection_holds(
    version: int, connection: str | None, keep_alive: str | None, doomed: CloseReason | None
) -> None:
    entry = idle_since(0)
    answered(entry, version, connection, keep_alive, LIMITS, 1)
    assert entry.doomed is doomed


def test_a_hint_of_the_answer_takes_the_place_of_the_one_before() -> None:
    entry = idle_since(0)
    answered(entry, 11, "keep-alive", "timeout=5", LIMITS, 1)
    assert entry.idle_allowance == 4


@given(
    uses=st.integers(1, 8),
    max_uses=st.integers(1, 8),
    remaining=st.none() | st.integers(0, 8),
    steps=st.integers(1, 20),
)
def test_however_often_it_beats_one_request_is_left(
    uses: int, max_uses: int, remaining: int | None, steps: int
) -> None:
    limits = PoolLimits(max_uses=max_uses, idle_timeout=None, max_age=None)
    entry = idle_since(0, uses=uses, limits=limits, remaining=remaining)
    beats = 0
    for now in range(1, steps):
        if next_beat(entry, 1, limits, now) == 0:
            answered(entry, 11, None, None, limits, now)
            beats += 1
    if beats:
        assert why_not_reuse(entry, limits, steps) is None
        assert uses + beats < max_uses
        assert remaining is None or beats < remaining


@pytest.mark.parametrize("status", [200, 204, 301, 401, 404, 405, 429, 501])
def test_whatever_shows_that_the_server_is_there_is_an_answer(status: int) -> None:
    assert is_answer(status)


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504, 505])
def test_a_server_that_is_in_trouble_or_takes_leave_does_not_answer(status: int) -> None:
    assert not is_answer(status)


@pytest.mark.parametrize(
    ("url", "host", "expected"),
    [
        ("/a?b", None, None),
        ("/a", "other.test:81", Place("other.test:81")),
        ("*", None, None),
        ("http://a.test:81/b", None, Place("a.test:81", "http://a.test:81")),
        ("https://a.test", None, Place("a.test", "https://a.test")),
        ("http://me:secret@a.test/", None, Place("a.test", "http://a.test")),
        ("http://a.test/", "b.test", Place("b.test", "http://a.test")),
        ("/a", "two words", None),
        ("/a", "a\r\nb", None),
        ("http://b\xfccher.test/", None, None),
        ("/a", "", None),
    ],
)
def test_a_request_says_where_it_goes_or_does_not(url: str, host: str | None, expected: Place | None) -> None:
    assert place_of(url, host) == expected


def lines(request: HttpRequest, place: Place, *, keep_alive: bool = False) -> list[str]:
    return compose(request, place, keep_alive=keep_alive).decode("ascii").split("\r\n")


def test_it_is_a_request_of_three_lines_or_four() -> None:
    expected = ["HEAD /healthz HTTP/1.1", "Host: home.test", "User-Agent: holdfast"]
    assert lines(HEAD, HOME) == [*expected, "", ""]
    assert lines(HEAD, HOME, keep_alive=True) == [*expected, "Connection: keep-alive", "", ""]


def test_headers_that_are_given_take_the_place_of_ours() -> None:
    request = HttpRequest.of("GET", "/", {"host": "b.test", "USER-AGENT": "probe", "X-Key": "1"})
    assert lines(request, HOME) == ["GET / HTTP/1.1", "host: b.test", "USER-AGENT: probe", "X-Key: 1", "", ""]


def test_a_proxy_is_told_the_whole_address() -> None:
    place = Place("a.test", "http://a.test", "Basic x")
    assert lines(HEAD, place)[0] == "HEAD http://a.test/healthz HTTP/1.1"
    assert "Proxy-Authorization: Basic x" in lines(HEAD, place)
    assert lines(HttpRequest("OPTIONS", "*"), place)[0] == "OPTIONS http://a.test HTTP/1.1"
    assert lines(HttpRequest("OPTIONS", "*"), HOME)[0] == "OPTIONS * HTTP/1.1"
