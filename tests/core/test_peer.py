from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast._core.peer import PeerTerms, has_option, read_terms


@pytest.mark.parametrize(
    ("version", "connection", "persistent"),
    [
        (11, None, True),
        (11, "keep-alive", True),
        (11, "close", False),
        (11, "Close", False),
        (11, "keep-alive, close", False),
        (11, "upgrade , CLOSE", False),
        (11, "closed", True),
        (10, None, False),
        (10, "Keep-Alive", True),
        (10, "keep-alive, close", False),
    ],
)
def test_persistence_follows_rfc_9112_section_9_3(
    version: int, connection: str | None, persistent: bool
) -> None:
    assert read_terms(version, connection, None).persistent is persistent


@pytest.mark.parametrize(
    ("value", "timeout", "remaining"),
    [
        ("timeout=5", 5, None),
        ("timeout=5, max=100", 5, 100),
        ("max=0,timeout=0", 0, 0),
        ('Timeout = "15"', 15, None),
        ("timeout=5, timeout=3", 3, None),
        ("timeout=-1", None, None),
        ("timeout=1.5", None, None),
        ("timeout=", None, None),
        ("timeout", None, None),
        ("timeout=99999999999", None, None),
        ("timeout=\u0665", None, None),
        ("300", None, None),
    ],
)
def test_a_keep_alive_hint_is_read_and_nonsense_ignored(
    value: str, timeout: int | None, remaining: int | None
) -> None:
    assert read_terms(11, None, value) == PeerTerms(
        persistent=True, idle_timeout=timeout, remaining=remaining
    )


@given(st.text(), st.text())
def test_no_header_value_makes_it_fail(connection: str, keep_alive: str) -> None:
    terms = read_terms(11, connection, keep_alive)
    assert terms.idle_timeout is None or terms.idle_timeout >= 0
    assert terms.remaining is None or terms.remaining >= 0


@given(st.lists(st.sampled_from(["close", "keep-alive", "te", "Upgrade", ""])))
def test_an_option_is_found_wherever_it_stands_in_the_list(tokens: list[str]) -> None:
    assert has_option(" , ".join(tokens), "close") is ("close" in tokens)
