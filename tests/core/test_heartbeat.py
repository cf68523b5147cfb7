"""What is an answer to a heartbeat, however it is cut."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast._core.heartbeat import Answer, Exchange
from holdfast.adapters.sockets import heartbeats
from holdfast.errors import PolicyError
from holdfast.policy import Heartbeat

Z_IDLE = b"Z\x00\x00\x00\x05I"
NOTICE = b"N\x00\x00\x00\x09hallo"
PARAMETER = b"S\x00\x00\x00\x0atz\x00UT\x00"
FATAL = b"E\x00\x00\x00\x0fFATAL57P01"

GOOD = [
    (heartbeats.redis(), b"+PONG\r\n"),
    (heartbeats.memcached(), b"VERSION 1.6.18\r\n"),
    (heartbeats.smtp(), b"250 2.0.0 Ok\r\n"),
    (heartbeats.smtp(), b"250-two\r\n250 lines\r\n"),
    (heartbeats.smtp(), b"250\r\n"),
    (heartbeats.postgresql(), Z_IDLE),
    (heartbeats.postgresql(), NOTICE + PARAMETER + Z_IDLE),
    (heartbeats.frames(b"ping", b"pong!"), b"\x00\x00\x00\x05pong!"),
    (heartbeats.frames(b"", b"ok", header=1), b"\x02ok"),
]
WRONG = [
    (heartbeats.redis(), b"-NOAUTH Authentication required.\r\n"),
    (heartbeats.redis(), b"+PING\r\n"),
    (heartbeats.memcached(), b"ERROR\r\n"),
    (heartbeats.smtp(), b"421 4.4.2 Bad\r\n"),
    (heartbeats.smtp(), b"250-two\r\n421 bye\r\n"),
    (heartbeats.postgresql(), FATAL),
    (heartbeats.postgresql(), b"Z\x00\x00\x00\x05T"),
    (heartbeats.postgresql(), NOTICE + FATAL),
    (heartbeats.frames(b"ping", b"pong"), b"\x00\x00\x00\x05pong!"),
]


def fed(heartbeat: Heartbeat, *pieces: bytes) -> Answer:
    exchange, answer = Exchange(heartbeat), Answer.PENDING
    for piece in pieces:
        answer = exchange.feed(piece)
        if answer is Answer.WRONG:
            break
    return answer


@pytest.mark.parametrize(("heartbeat", "answer"), GOOD)
def test_an_answer_is_good_in_one_piece(heartbeat: Heartbeat, answer: bytes) -> None:
    assert fed(heartbeat, answer) is Answer.GOOD


@pytest.mark.parametrize(("heartbeat", "answer"), GOOD)
def test_an_answer_is_good_byte_by_byte_and_not_before_its_end(heartbeat: Heartbeat, answer: bytes) -> None:
    exchange = Exchange(heartbeat)
    answers = [exchange.feed(answer[i : i + 1]) for i in range(len(answer))]
    assert answers[-1] is Answer.GOOD
    # "250" and a line end may be the whole, or the first of the three letters more is to come.
    assert set(answers[:-1]) <= {Answer.PENDING}


@pytest.mark.parametrize(("heartbeat", "answer"), GOOD)
def test_an_answer_with_bytes_behind_it_is_wrong(heartbeat: Heartbeat, answer: bytes) -> None:
    assert fed(heartbeat, answer + b"x") is Answer.WRONG
    assert fed(heartbeat, answer, b"x") is Answer.WRONG


@pytest.mark.parametrize(("heartbeat", "answer"), WRONG)
def test_another_answer_is_wrong(heartbeat: Heartbeat, answer: bytes) -> None:
    assert fed(heartbeat, answer) is Answer.WRONG
    assert fed(heartbeat, *(answer[i : i + 1] for i in range(len(answer)))) is Answer.WRONG


@given(index=st.integers(0, len(GOOD) - 1), cuts=st.lists(st.integers(0, 60), max_size=4))
def test_it_does_not_matter_how_an_answer_is_cut(index: int, cuts: list[int]) -> None:
    heartbeat, answer = GOOD[index]
    edges = sorted({0, len(answer), *(cut for cut in cuts if cut < len(answer))})
    pieces = [answer[a:b] for a, b in itertools.pairwise(edges)]
    assert fed(heartbeat, *pieces) is Answer.GOOD


def test_a_predicate_that_raises_says_no() -> None:
    def wrong(received: bytes) -> bool:
        raise RuntimeError

    assert fed(Heartbeat(send=b"x", expect=wrong), b"y") is Answer.WRONG


def test_a_peer_that_sends_without_end_is_wrong() -> None:
    patient = Heartbeat(send=b"x", expect=lambda received: False)
    assert fed(patient, *[b"y" * 4096] * 17) is Answer.WRONG


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"timeout": 16}, r"timeout=16: must not be longer than interval=15.0: beats would overlap"),
        ({"interval": 0}, "interval=0: must be a finite number of seconds, more than 0"),
        ({"timeout": -1}, "timeout=-1"),
        ({"jitter": 2}, "jitter=2: must be a fraction from 0 to 1"),
        ({"misses": -1}, "misses=-1: must be a whole number, 0 or more"),
        ({"send": b""}, "send=b'': must be bytes, at least one; or give call"),
        ({"send": "PING"}, "send='PING': must be bytes"),
        ({"expect": None}, "expect=None: must be bytes, at least one; or a callable"),
        ({"call": print}, "call=.*stands alone"),
        ({"send": None, "expect": None, "call": 1}, "call=1: must be callable"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        Heartbeat(**{"send": b"PING", "expect": b"PONG", **settings})
