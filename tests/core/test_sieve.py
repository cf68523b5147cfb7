"""Heartbeats are taken out of a stream, however it is cut; nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast._core.sieve import Frames, Framing, Lines, Sieve
from holdfast.errors import PolicyError

PING, PONG = b"PING", b"PONG"
words = st.sampled_from([PING, PONG, b"PIN", b"PINGS", b"", b"GET PING", b"x" * 300, b"\x00\x00"])


def sieve(framing: Framing) -> Sieve:
    return Sieve(framing, [framing.wrap(PING), framing.wrap(PONG)])


@given(
    framing=st.sampled_from([Lines(), Lines(b"\n"), Frames(), Frames(header=2)]),
    messages=st.lists(words, max_size=12),
    cuts=st.lists(st.integers(0, 400), max_size=12),
)
def test_what_passes_is_the_stream_without_its_heartbeats(
    framing: Framing, messages: list[bytes], cuts: list[int]
) -> None:
    wire = b"".join(framing.wrap(message) for message in messages)
    edges = [0, *sorted(min(cut, len(wire)) for cut in cuts), len(wire)]
    mine, passed, found = sieve(framing), b"", list[bytes]()
    for start, end in zip(edges, edges[1:]):  # noqa: B905, RUF007 - pairs, on 3.10 as well
        some, heartbeats = mine.feed(wire[start:end])
        passed += some
        found += heartbeats
    assert passed == b"".join(framing.wrap(m) for m in messages if m not in (PING, PONG))
    assert found == [framing.wrap(m) for m in messages if m in (PING, PONG)]
    assert mine.rest() == b""


def test_what_cannot_become_a_heartbeat_passes_at_once() -> None:
    mine = sieve(Lines())
    assert mine.feed(b"PI") == (b"", [])
    assert mine.feed(b"P") == (b"PIP", [])
    assert mine.feed(b"E PING\r\nPING\r\n") == (b"E PING\r\n", [b"PING\r\n"])


def test_a_frame_that_holds_the_bytes_of_a_heartbeat_is_none() -> None:
    framing = Frames()
    inside = framing.wrap(framing.wrap(PING))
    assert sieve(framing).feed(inside) == (inside, [])


def test_what_was_held_back_comes_out_at_the_end() -> None:
    mine = sieve(Lines())
    assert mine.feed(b"PING") == (b"", [])
    assert mine.rest() == b"PING"


def test_a_heartbeat_of_no_bytes_is_refused() -> None:
    with pytest.raises(PolicyError):
        Sieve(Lines(), [b""])
