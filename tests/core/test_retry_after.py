from __future__ import annotations

import math
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast._core.retry_after import read_retry_after

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("0", 0), ("7", 7), (" 120 ", 120), ("31536000", 31_536_000), ("0005", 5)],
)
def test_seconds(value: str, seconds: float) -> None:
    assert read_retry_after(value, NOW) == seconds


def test_a_number_that_no_float_holds_is_only_long() -> None:
    seconds = read_retry_after("9" * 5_000, NOW)
    assert seconds is not None
    assert math.isfinite(seconds)
    assert seconds > 1e9


@pytest.mark.parametrize(
    "value",
    [
        formatdate(NOW + 90, usegmt=True),
        "Tue, 14 Nov 2023 22:14:50 GMT",  # IMF-fixdate
        "Tuesday, 14-Nov-23 22:14:50 GMT",  # RFC 850
        "Tue Nov 14 22:14:50 2023",  # asctime, which is GMT (RFC 9110 §5.6.7)
        "Wed, 15 Nov 2023 00:14:50 +0200",
    ],
)
def test_dates_of_all_three_formats(value: str) -> None:
    assert read_retry_after(value, NOW) == 90


def test_a_date_that_has_passed_is_now() -> None:
    assert read_retry_after("Thu, 01 Jan 1970 00:00:00 GMT", NOW) == 0


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "  ",
        "-1",
        "-120",
        "+5",
        "1.5",
        "1e9",
        "inf",
        "nan",
        "soon",
        "\N{SUPERSCRIPT TWO}",
        "\N{ARABIC-INDIC DIGIT FIVE}",
        "5, 10",
        "Fri, 32 Dec 2026 25:61:61 GMT",
        "Fri, 31 Dec 99999 23:59:59 GMT",
        "31 Dec",
        "\x00",
        "0x10",
    ],
)
def test_what_is_neither_is_not_there(value: str | None) -> None:
    assert read_retry_after(value, NOW) is None


_PARTS = st.sampled_from(
    [
        "Fri",
        ",",
        " ",
        "31",
        "Dec",
        "2026",
        "9999",
        "0",
        "99",
        "23:59:59",
        "24:60",
        "GMT",
        "+9999",
        "-2359",
        "Z",
    ]
)


@given(st.text() | st.lists(_PARTS).map(" ".join) | st.integers().map(str))
def test_nothing_a_server_writes_is_more_than_a_wait(value: str) -> None:
    seconds = read_retry_after(value, NOW)
    assert seconds is None or (math.isfinite(seconds) and seconds >= 0)
