"""`holdfast demo`, run for real: once in full, else with a few faults."""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console

import holdfast
from holdfast import _demo
from holdfast._demo import show, trial
from holdfast._demo.clients import ClientKind
from holdfast._demo.result import Result
from holdfast._demo.scenarios import SCENARIOS, Scenario, Stage
from holdfast._demo.score import Score
from holdfast._demo.traffic import Kind, stories
from holdfast.cli import main
from holdfast.testing import Fault, Via

FEW = (
    Scenario("closed while idle", Stage.IDLE, Fault.CLOSE_WHILE_IDLE),
    Scenario("executed, then reset", Stage.EXECUTED, Fault.READ_THEN_RESET, via=Via.FORWARD),
    Scenario("executed, fresh", Stage.EXECUTED, Fault.READ_THEN_CLOSE, fresh=True),
)


@pytest.fixture(scope="module")
def full() -> Result:
    began = time.monotonic()
    trials = list(trial.trials(seed=1, rounds=1))
    return Result(seed=1, rounds=1, seconds=time.monotonic() - began, trials=trials)


@pytest.fixture
def few_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "SCENARIOS", FEW)
    monkeypatch.setattr(_demo, "SCENARIOS", FEW)


@pytest.fixture
def no_wrapping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holdfast, "wrap", lambda target: target)


def text_of(result: Result, width: int) -> str:
    screen = Console(file=io.StringIO(), width=width)
    with screen.capture() as capture:
        screen.print(show.story(result, width))
    return capture.get()


# The whole of it


def test_wrapped_clients_execute_nothing_twice_and_return_nothing_wrong(full: Result) -> None:
    wrapped = full.total(wrapped=True)
    assert (wrapped.executed_twice, wrapped.wrong, wrapped.foreign_errors) == (0, 0, 0)
    assert wrapped.errors.keys() == {
        name for name in wrapped.errors if name.partition(".")[0] in ("urllib3", "requests")
    }


def test_the_faults_bite_where_nobody_wards_them_off(full: Result) -> None:
    bare = full.of(ClientKind.URLLIB3)
    assert bare.executed_twice
    assert bare.wrong
    assert full.of(ClientKind.REQUESTS).failed > full.of(ClientKind.HOLDFAST_REQUESTS).failed


def test_all_clients_send_the_same_requests(full: Result) -> None:
    assert len({full.of(kind).requests for kind in ClientKind}) == 1


def test_it_takes_far_less_than_half_a_minute(full: Result) -> None:
    assert full.seconds < 30


def test_the_reports_have_different_causes(full: Result) -> None:
    causes = [failure.report.cause for failure in full.worth_reading()]
    assert len(causes) == len(set(causes)) == 3


@pytest.mark.parametrize("width", [show.WIDTH, 80])
def test_the_table_fits_and_names_every_fault_and_client(full: Result, width: int) -> None:
    text = text_of(full, width)
    assert max(len(line) for line in text.splitlines()) <= width
    for name in [scenario.label for scenario in SCENARIOS] + [kind.value for kind in ClientKind]:
        assert name in text
    assert text.count("failed 2× wrong conns") == len(ClientKind)  # noqa: RUF001 - as shown


def test_the_reports_are_printed_in_full(full: Result) -> None:
    text = text_of(full, 10_000)
    for failure in full.worth_reading():
        for line in str(failure.report).splitlines():
            assert line in text


# The command


@pytest.mark.usefixtures("few_faults")
def test_a_person_gets_a_table_a_verdict_and_reports(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--rounds", "1"]) == 0
    said = capsys.readouterr()
    assert "executed, then reset · proxy" in said.out
    assert "Wrapped by holdfast, they executed nothing twice" in said.out
    assert "What holdfast.report(exception) says" in said.out
    assert said.err == ""


@pytest.mark.usefixtures("few_faults")
def test_a_machine_gets_one_document_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--json", "--rounds", "1", "--seed", "7"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    document: dict[str, Any] = json.loads(said.out)
    assert (document["holdfast"], document["seed"], document["rounds"], document["ok"]) == (
        holdfast.__version__,
        7,
        1,
        True,
    )
    clients = [kind.value for kind in ClientKind]
    assert list(document["totals"]) == clients
    assert [fault["fault"] for fault in document["faults"]] == [s.fault.name for s in FEW]
    assert all(list(fault["clients"]) == clients for fault in document["faults"])
    bare = document["totals"]["bare urllib3"]
    assert (bare["executed_twice"], bare["wrong"], bare["repeated_with_key"]) == (1, 0, 1)
    assert document["totals"]["holdfast + urllib3"]["executed_twice"] == 0
    assert sum(document["not_repeated"].values()) == sum(
        document["totals"][name]["explained"] for name in clients
    )
    assert {"fault", "client", "request", "error", "report", "text"} == document["reports"][0].keys()


@pytest.mark.usefixtures("few_faults", "no_wrapping")
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_the_exit_status_is_1_if_a_wrapped_client_does_harm(
    form: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--rounds", "1", *form]) == 1
    assert capsys.readouterr().err == ""


def test_progress_hands_on_every_trial(capsys: pytest.CaptureFixture[str]) -> None:
    made = [trial.Trial(FEW[0], kind, Score(), []) for kind in ClientKind]
    assert list(show.progress(iter(made), len(made))) == made
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("few_faults")
def test_who_stops_early_leaves_nothing_running() -> None:
    coming = trial.trials(seed=1, rounds=1)
    assert isinstance(coming, Iterator)
    assert next(coming).client is ClientKind.URLLIB3
    coming.close()  # type: ignore[attr-defined]  # the fixture looks for threads


def test_a_locale_without_the_signs_of_the_table_gets_it_all_the_same(
    full: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    paper = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(paper, encoding="ascii"))
    screen = show.console()
    screen.print(show.story(full, screen.width))
    sys.stdout.flush()
    assert b"failed 2? wrong conns" in paper.getvalue()


# The traffic


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.label)
def test_each_kind_of_request_is_the_victim_once_a_round(scenario: Scenario) -> None:
    played = list(stories(scenario, seed=1, rounds=2))
    victims = [story.orders[story.warm_ups].kind for story in played]
    assert sorted(victims, key=list(Kind).index) == [kind for kind in Kind for _ in range(2)]
    paths = [(order.method, order.path) for story in played for order in story.orders]
    assert len(set(paths)) == len(paths)


def test_the_seed_decides_the_traffic() -> None:
    one, same, other = (list(stories(FEW[0], seed=seed, rounds=2)) for seed in (1, 1, 2))
    assert one == same != other


def test_every_fault_has_a_name_of_its_own_that_fits() -> None:
    labels = [scenario.label for scenario in SCENARIOS]
    assert len(set(labels)) == len(labels)
    assert max(map(len, labels)) < 32


def test_a_narrow_terminal_gets_two_tables(full: Result) -> None:
    assert text_of(full, 100).count("what the server did") == 2
    assert text_of(full, 120).count("what the server did") == 1
