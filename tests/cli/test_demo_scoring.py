"""What counts as failed, as executed twice, and as wrong."""

from __future__ import annotations

from collections import Counter

import pytest
import urllib3

from holdfast._demo.clients import Answer, ClientKind
from holdfast._demo.result import Result
from holdfast._demo.scenarios import SCENARIOS
from holdfast._demo.score import Outcome, Score, judge
from holdfast._demo.traffic import Kind, Order
from holdfast._demo.trial import Trial
from holdfast.testing import Execution, Headers


def order(kind: Kind) -> Order:
    key = "k" if kind is Kind.POST_WITH_KEY else None
    return Order(kind=kind, path="/1", key=key, pieces=() if kind is Kind.GET else (b"ab", b"cd"))


def execution(of: Order, body: bytes | None = None) -> Execution:
    return Execution(
        method=of.method,
        target=of.path,
        key=of.key,
        body=of.content if body is None else body,
        connection=1,
        headers=Headers(),
    )


def own_answer(to: Order) -> Outcome:
    return Outcome(to, Answer(200, f"{to.method} /1".encode()))


@pytest.mark.parametrize("kind", Kind)
def test_an_own_answer_to_a_request_executed_once_is_just_counted(kind: Kind) -> None:
    asked = order(kind)
    assert judge(own_answer(asked), [execution(asked)]) == Score(requests=1)


@pytest.mark.parametrize(
    ("kind", "counted"),
    [
        (Kind.POST, "executed_twice"),
        (Kind.POST_WITH_KEY, "repeated_with_key"),
        (Kind.PUT, "repeated_idempotent"),
        (Kind.GET, "repeated_idempotent"),
    ],
)
def test_a_second_execution_is_counted_by_whether_it_is_legitimate(kind: Kind, counted: str) -> None:
    asked = order(kind)
    score = judge(own_answer(asked), [execution(asked)] * 3)
    assert {name for name, count in vars(score).items() if count} == {"requests", counted}


@pytest.mark.parametrize("body", [b"", b"POST /2", b"POST /1 and more"])
def test_an_answer_that_is_not_its_own_is_wrong(body: bytes) -> None:
    asked = order(Kind.POST)
    assert judge(Outcome(asked, Answer(200, body)), [execution(asked)]).wrong == 1


def test_an_answer_to_what_was_never_executed_is_wrong() -> None:
    assert judge(own_answer(order(Kind.POST)), []).wrong == 1


def test_the_last_execution_decides_whether_the_upload_is_whole() -> None:
    asked = order(Kind.PUT)
    whole, cut = execution(asked), execution(asked, b"cd")
    assert judge(own_answer(asked), [cut, whole]).wrong == 0
    assert judge(own_answer(asked), [whole, cut]).wrong == 1


def test_an_exception_is_a_failure_and_names_itself() -> None:
    asked = order(Kind.POST)
    error = urllib3.exceptions.ProtocolError("gone")
    score = judge(Outcome.failed(asked, error), [execution(asked)])
    assert score == Score(
        requests=1, failed=1, failed_once_only=1, errors=Counter({"urllib3.ProtocolError": 1})
    )


def test_a_failure_that_was_never_executed_is_told_apart() -> None:
    error = urllib3.exceptions.ProtocolError("gone")
    assert judge(Outcome.failed(order(Kind.PUT), error), []).failed_unexecuted == 1


def test_an_answer_that_reports_an_error_is_a_failure() -> None:
    score = judge(Outcome(order(Kind.GET), Answer(408, b"")), [])
    assert (score.failed, score.wrong, score.errors) == (1, 0, {"status 408": 1})


def test_scores_add_up() -> None:
    one = Score(requests=1, failed=1, errors=Counter(a=1))
    assert one + Score(requests=2, wrong=1, errors=Counter(a=1, b=1)) == Score(
        requests=3, failed=1, wrong=1, errors=Counter(a=2, b=1)
    )


@pytest.mark.parametrize(
    ("kind", "score", "ok"),
    [
        (ClientKind.URLLIB3, Score(executed_twice=1, wrong=1), True),
        (ClientKind.HOLDFAST_URLLIB3, Score(failed=1, repeated_with_key=1), True),
        (ClientKind.HOLDFAST_URLLIB3, Score(executed_twice=1), False),
        (ClientKind.HOLDFAST_REQUESTS, Score(wrong=1), False),
        (
            ClientKind.HOLDFAST_REQUESTS,
            judge(Outcome.failed(order(Kind.GET), AttributeError("ours")), []),
            False,
        ),
    ],
)
def test_only_harm_done_by_a_wrapped_client_makes_the_result_bad(
    kind: ClientKind, score: Score, ok: bool
) -> None:
    trials = [Trial(SCENARIOS[0], kind, score, [])]
    assert Result(seed=1, rounds=1, seconds=0.0, trials=trials).ok is ok
