from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdfast._core.aggregation import Aggregation


def test_the_first_is_told_at_once_and_the_rest_with_the_next_line() -> None:
    lines = Aggregation()
    assert lines.met("a", 100.0, 60.0) == 1
    assert [lines.met("a", 100.0 + n, 60.0) for n in range(1, 60)] == [None] * 59
    assert lines.met("a", 160.0, 60.0) == 60
    assert lines.met("a", 160.1, 60.0) is None


def test_kinds_are_told_apart() -> None:
    lines = Aggregation()
    assert lines.met(("a", 1), 100.0, 60.0) == 1
    assert lines.met(("a", 2), 100.0, 60.0) == 1
    assert lines.met(("b", 1), 100.0, 60.0) == 1


def test_after_a_quiet_time_a_line_tells_of_one() -> None:
    lines = Aggregation()
    lines.met("a", 100.0, 60.0)
    assert lines.met("a", 1_000.0, 60.0) == 1


def test_it_remembers_no_more_than_it_needs() -> None:
    lines = Aggregation()
    for number in range(5_000):
        assert lines.met(number, 100.0, 60.0) == 1
    assert len(lines._told) <= 1_000
    assert lines.met(4_999, 100.0, 60.0) is None


@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 40))), st.floats(0.1, 60))
def test_one_line_per_kind_and_interval_and_every_event_is_told_once(
    events: list[tuple[str, float]], interval: float
) -> None:
    lines, now = Aggregation(), 0.0
    last: dict[str, float] = {}
    told = dict.fromkeys("ab", 0)
    met = dict.fromkeys("ab", 0)
    for kind, passes in events:
        now += passes
        met[kind] += 1
        count = lines.met(kind, now, interval)
        if count is not None:
            assert kind not in last or now - last[kind] >= interval
            last[kind] = now
            told[kind] += count
            assert told[kind] == met[kind]
