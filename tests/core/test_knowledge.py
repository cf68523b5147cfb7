"""A document comes from outside. Either all of it counts, or it is refused and nothing has changed."""

from __future__ import annotations

import copy
import json
import math
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast import HoldfastError, KnowledgeError
from holdfast._core.knowledge import FORMAT, Knowledge, read_document

HERE = "http://here:80"


def some_knowledge(now: float = 1000.0) -> Knowledge:
    knowledge = Knowledge()
    for number, age in enumerate((5.2, 5.0, 5.9)):
        knowledge.of(HERE).peer_closed(age, 3, now - 100 + 40 * number)
    knowledge.of("http://far:80").fell_silent(300.0, now - 50)
    for number in range(3):
        knowledge.of("http://counts:80").peer_closed(0.01, 100, now - 60 + number)
    return knowledge


def test_of_an_origin_that_is_not_known_nothing_is_known() -> None:
    knowledge = Knowledge()
    assert HERE not in knowledge
    assert knowledge.of(HERE).idle_limit(0.0) is None
    assert knowledge.of(HERE) is knowledge.of(HERE)
    assert HERE in knowledge


def test_the_least_recently_used_is_forgotten() -> None:
    knowledge = Knowledge(most=2)
    for origin in ("a", "b", "a", "c"):
        knowledge.of(origin)
    assert [origin for origin, _ in knowledge.items()] == ["a", "c"]


def test_a_hundred_thousand_origins_take_the_room_of_those_that_are_kept() -> None:
    knowledge = Knowledge(most=100)
    for number in range(100_000):
        learner = knowledge.of(f"http://{number}:80")
        learner.peer_closed(5.0, 1, float(number))
        assert len(knowledge) <= 100
    assert "http://99999:80" in knowledge


def test_an_origin_takes_little_room() -> None:
    knowledge = some_knowledge()
    for number in range(5000):
        for learner in (one for _, one in knowledge.items()):
            learner.peer_closed(5 + number % 40 / 10, number % 30, 2000.0 + number)
            learner.answered(number % 60, 2, 2000.0 + number)
    assert max(_size(one) for _, one in knowledge.items()) < 4000


def _size(thing: Any) -> int:
    size = sys.getsizeof(thing)
    if isinstance(thing, (tuple, list)) or type(thing).__name__ == "deque":
        size += sum(_size(one) for one in thing)
    for slot in getattr(type(thing), "__slots__", ()):
        size += _size(getattr(thing, slot))
    return size


# -- out and in


def test_what_is_exported_is_plain_json_with_ages() -> None:
    document = some_knowledge().export(1000.0)
    assert json.loads(json.dumps(document)) == document
    assert document["origins"][HERE]["idle"] == {
        "seconds": 5.0,
        "spread": pytest.approx(0.9),
        "samples": 3,
        "age": 20.0,
    }
    assert document["origins"]["http://counts:80"] == {"uses": {"count": 100, "age": 58.0}}


def test_what_was_seen_a_million_times_can_be_imported() -> None:
    knowledge = Knowledge()
    idle = knowledge.of(HERE).idle
    for number in range(100):
        idle.ended(5.0, 1000.0 + number, exact=True)
    idle._merged = 1_000_000 - 20
    for number in range(100, 200):
        idle.ended(5.0, 1000.0 + number, exact=True)
    other = Knowledge()
    other.load(read_document(json.dumps(knowledge.export(1200.0))), 0.0)
    limit = other.of(HERE).idle_limit(0.0)
    assert limit is not None
    assert limit.samples == 1_000_000


def test_another_process_knows_the_same_at_another_time_of_its_clock() -> None:
    document = read_document(json.dumps(some_knowledge().export(1000.0)))
    other = Knowledge()
    other.load(document, 5.0)
    assert other.export(5.0) == document
    here, there = some_knowledge().of(HERE).idle_limit(1000.0), other.of(HERE).idle_limit(5.0)
    assert here is not None
    assert there is not None
    assert (there.seconds, there.samples) == (here.seconds, here.samples)
    assert there.margin == pytest.approx(here.margin)


def test_what_grew_old_on_the_way_is_as_old_here() -> None:
    document = some_knowledge().export(1000.0)
    other = Knowledge()
    other.load(document, 0.0)
    assert other.of(HERE).idle_limit(5 * 3600.0) is not None
    assert other.of(HERE).idle_limit(6 * 3600.0) is None


def test_what_this_process_saw_itself_wins() -> None:
    knowledge = Knowledge()
    knowledge.of(HERE).peer_closed(30.0, 1, 1000.0)
    knowledge.load(some_knowledge().export(1000.0), 1000.0)
    limit = knowledge.of(HERE).idle_limit(1000.0)
    assert limit is not None
    assert limit.seconds == 30.0
    assert knowledge.of("http://far:80").flow_limit(1000.0) is not None


@pytest.mark.parametrize("age", [3.0, 20.0])
def test_one_end_that_this_process_sees_outweighs_hearsay(age: float) -> None:
    knowledge = Knowledge()
    knowledge.load(some_knowledge().export(1000.0), 1000.0)
    knowledge.of(HERE).peer_closed(age, 1, 2000.0)
    limit = knowledge.of(HERE).idle_limit(2000.0)
    assert limit is not None
    assert limit.seconds == age


def test_an_import_drives_nothing_out() -> None:
    knowledge = Knowledge(most=3)
    for origin in ("a", "b"):
        knowledge.of(origin).peer_closed(5.0, 1, 1000.0)
    knowledge.load(some_knowledge().export(1000.0), 1000.0)
    assert len(knowledge) == 3
    assert {"a", "b"} <= {origin for origin, _ in knowledge.items()}


# -- hostile documents


def with_origins(origins: object) -> dict[str, object]:
    return {"format": FORMAT, "version": 1, "origins": origins}


IDLE = {"seconds": 5.0, "spread": 0.1, "samples": 3, "age": 1.0}

HOSTILE: dict[str, object] = {
    "nothing": None,
    "a list": [],
    "no fields": {},
    "another format": {"format": "x", "version": 1, "origins": {}},
    "a later version": {"format": FORMAT, "version": 2, "origins": {}},
    "a version that is true": {"format": FORMAT, "version": True, "origins": {}},
    "a field too many": {**with_origins({}), "more": 1},
    "origins in a list": with_origins([1]),
    "an origin without a name": with_origins({"": {}}),
    "an absurd name": with_origins({"a" * 10_000: {}}),
    "a name to break a terminal": with_origins({"\x1b[2J": {}}),
    "half a character": with_origins({"\ud800": {}}),
    "an origin that is a number": with_origins({"a": 1}),
    "a part that nobody knows": with_origins({"a": {"soul": {}}}),
    "a part that is a list": with_origins({"a": {"idle": [1, 2]}}),
    "a number missing": with_origins({"a": {"idle": {"seconds": 5.0}}}),
    "not a number": with_origins({"a": {"idle": {**IDLE, "seconds": math.nan}}}),
    "for ever": with_origins({"a": {"idle": {**IDLE, "seconds": math.inf}}}),
    "a limit of nothing": with_origins({"a": {"idle": {**IDLE, "seconds": 0}}}),
    "before it began": with_origins({"a": {"idle": {**IDLE, "age": -1}}}),
    "a number of 400 digits": with_origins({"a": {"idle": {**IDLE, "spread": 10**400}}}),
    "half a sample": with_origins({"a": {"idle": {**IDLE, "samples": 0.5}}}),
    "true samples": with_origins({"a": {"idle": {**IDLE, "samples": True}}}),
    "a trillion samples": with_origins({"a": {"idle": {**IDLE, "samples": 10**12}}}),
    "a number in words": with_origins({"a": {"idle": {**IDLE, "age": "1"}}}),
    "one wrong of many": with_origins({"a": {"idle": IDLE}, "b": {"uses": {"count": 0, "age": 1}}}),
}


@pytest.mark.parametrize("document", HOSTILE.values(), ids=HOSTILE)
def test_a_document_that_is_none_is_refused_and_changes_nothing(document: Any) -> None:
    knowledge = some_knowledge()
    before = knowledge.export(1000.0)
    with pytest.raises(KnowledgeError) as caught:
        knowledge.load(document, 1000.0)
    assert knowledge.export(1000.0) == before
    assert isinstance(caught.value, HoldfastError)
    assert isinstance(caught.value, ValueError)
    assert caught.value.where
    assert len(str(caught.value)) < 300, "it does not repeat what it was fed"
    assert str(caught.value).isprintable()


def test_a_million_origins_are_refused_before_one_is_looked_at() -> None:
    origins = dict.fromkeys(map(str, range(1_000_000)), object())
    with pytest.raises(KnowledgeError, match="at most 10000, there are 1000000"):
        Knowledge().load(with_origins(origins), 0.0)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "not JSON"),
        ('{"format": "holdfast lear', "not JSON"),
        ("[" * 100_000, "nested too deep|not JSON"),
        ('{"a":' * 100_000, "nested too deep|not JSON"),
        ("[NaN]", "NaN is no number"),
        ("[-Infinity]", "-Infinity is no number"),
        (b"\xff\xfe\xff", "not JSON"),
        ("1" * 10_000, "not JSON|must be an object"),
        (" " * 20_000_000, "bytes long"),
    ],
    ids=["empty", "truncated", "lists", "objects", "NaN", "infinity", "bytes", "digits", "huge"],
)
def test_text_that_is_no_document_is_refused(text: str | bytes, rule: str) -> None:
    with pytest.raises(KnowledgeError, match=rule):
        Knowledge().load(read_document(text), 0.0)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["idle", "flow", "uses", "seconds", "age", "count", "samples"])
            | st.text(max_size=5),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A busy machine is no failure."""


@PATIENT
@given(origins=st.dictionaries(st.text(max_size=8), json_values, max_size=4))
def test_no_json_raises_anything_else_or_leaves_a_half(origins: dict[str, Any]) -> None:
    knowledge = some_knowledge()
    before = copy.deepcopy(knowledge.export(1000.0))
    try:
        knowledge.load(with_origins(origins), 1000.0)
    except KnowledgeError:
        assert knowledge.export(1000.0) == before
    json.dumps(knowledge.export(1000.0), allow_nan=False)


numbers = st.floats(min_value=1e-6, max_value=1e7)
documents = st.dictionaries(
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=30),
    st.fixed_dictionaries(
        {},
        optional={
            "idle": st.fixed_dictionaries(
                {"seconds": numbers, "spread": numbers, "samples": st.integers(1, 10**6), "age": numbers}
            ),
            "flow": st.fixed_dictionaries(
                {"seconds": numbers, "samples": st.integers(1, 10**6), "age": numbers}
            ),
            "uses": st.fixed_dictionaries({"count": st.integers(1, 10**6), "age": numbers}),
        },
    ),
    max_size=5,
)


@PATIENT
@given(origins=documents)
def test_what_is_well_formed_can_be_used_and_exported_again(origins: dict[str, Any]) -> None:
    knowledge = Knowledge()
    knowledge.load(with_origins(origins), 1000.0)
    again = Knowledge()
    again.load(knowledge.export(1000.0), 77.0)
    for origin, learner in knowledge.items():
        other = again.of(origin)
        for ours, theirs in (
            (learner.idle_limit(1000.0), other.idle_limit(77.0)),
            (learner.flow_limit(1000.0), other.flow_limit(77.0)),
        ):
            assert (ours is None) == (theirs is None)
            if ours is not None and theirs is not None:
                assert theirs.seconds == pytest.approx(ours.seconds)
                assert theirs.margin == pytest.approx(ours.margin, abs=1e-6)
        assert learner.use_limit(1000.0) == other.use_limit(77.0)
        learner.peer_closed(3.0, 2, 1100.0)
        learner.still_open(1e6, 1200.0)
