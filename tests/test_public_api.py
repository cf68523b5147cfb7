"""The names others rely on, tested as an object of their own."""

from __future__ import annotations

import dataclasses
import enum
import importlib
import inspect
import pkgutil
import subprocess
import sys
from types import ModuleType

import pytest

import holdfast
import holdfast.adapters.requests
import holdfast.adapters.urllib3
import holdfast.testing

PUBLIC = [
    holdfast,
    importlib.import_module("holdfast.vocabulary"),
    importlib.import_module("holdfast.errors"),
    importlib.import_module("holdfast.events"),
    importlib.import_module("holdfast.policy"),
    importlib.import_module("holdfast.observe"),
    holdfast.adapters.urllib3,
    holdfast.adapters.requests,
    importlib.import_module("holdfast.adapters.sockets"),
    importlib.import_module("holdfast.adapters.sockets.heartbeats"),
    holdfast.testing,
]


def test_the_promised_names_are_there() -> None:
    assert {
        "wrap",
        "unwrap",
        "stats",
        "report",
        "Policy",
        "PoolLimits",
        "TcpKeepalive",
        "RetryPolicy",
        "RetryBudget",
        "FailureReport",
        "request_options",
        "Cause",
        "EndedBy",
        "Evidence",
        "Phase",
        "Progress",
        "Verdict",
    } <= set(holdfast.__all__)
    assert set(holdfast.adapters.urllib3.__all__) == {
        "HTTPConnectionPool",
        "HTTPSConnectionPool",
        "PoolManager",
        "ProxyManager",
    }
    assert holdfast.adapters.requests.__all__ == ["HTTPAdapter"]
    assert {"FaultServer", "FakeClock"} <= set(holdfast.testing.__all__)


@pytest.mark.parametrize("module", PUBLIC, ids=lambda module: str(module.__name__))
def test_all_is_sorted_complete_and_true(module: ModuleType) -> None:
    names = module.__all__
    assert sorted(names) == sorted(set(names))
    for name in names:
        assert hasattr(module, name)


@pytest.mark.parametrize("module", PUBLIC, ids=lambda module: str(module.__name__))
def test_every_public_thing_says_what_it_is(module: ModuleType) -> None:
    assert module.__doc__
    for name in module.__all__:
        thing = getattr(module, name)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            assert thing.__doc__, f"{module.__name__}.{name} has no docstring"


def test_every_setting_tells_its_meaning_and_default() -> None:
    for settings in (
        holdfast.PoolLimits,
        holdfast.TcpKeepalive,
        holdfast.RetryPolicy,
        holdfast.RetryBudget,
        holdfast.Heartbeat,
    ):
        source = inspect.getsource(settings)
        for field in dataclasses.fields(settings):
            after = source.split(f"    {field.name}: ", 1)[1]
            assert after.split("\n", 1)[1].lstrip().startswith('"""'), f"{settings.__name__}.{field.name}"


def test_every_fact_of_a_report_tells_its_meaning() -> None:
    of_their_type = {"phase", "progress", "verdict", "cause", "ended_by"}  # their enums explain them
    for facts in (holdfast.FailureReport, holdfast.TcpFacts):
        source = inspect.getsource(facts)
        for field in dataclasses.fields(facts):
            if field.name not in of_their_type:
                after = source.split(f"    {field.name}: ", 1)[1]
                assert after.split("\n", 1)[1].lstrip().startswith('"""'), f"{facts.__name__}.{field.name}"


def test_every_verdict_says_what_was_done() -> None:
    for verdict in holdfast.Verdict:
        kind = verdict.name.split("_", 1)[0]
        assert kind in {"REPEATED", "RECONNECTED", "LEFT", "REFUSED"}
        assert verdict.repeats == (kind in {"REPEATED", "RECONNECTED"})
        assert verdict.value.startswith(
            {"REPEATED": "repeated", "RECONNECTED": "connected again", "REFUSED": "not repeated"}.get(
                kind, ("left", "not connected")
            )
        )


def test_the_phases_that_open_a_connection_send_nothing() -> None:
    opening = {phase for phase in holdfast.Phase if phase.opens}
    assert opening == {
        holdfast.Phase.RESOLVE,
        holdfast.Phase.CONNECT,
        holdfast.Phase.TUNNEL,
        holdfast.Phase.TLS,
    }


def test_every_enum_member_explains_itself_and_no_two_alike() -> None:
    for vocabulary in (
        holdfast.Progress,
        holdfast.Phase,
        holdfast.CloseReason,
        holdfast.Verdict,
        holdfast.Cause,
        holdfast.Evidence,
        holdfast.EndedBy,
    ):
        assert issubclass(vocabulary, enum.Enum)
        values = [member.value for member in vocabulary.__members__.values()]
        assert all(isinstance(value, str) and len(value) > 10 for value in values)
        assert len(values) == len(set(values))


def test_importing_holdfast_imports_neither_requests_nor_pytest_nor_rich() -> None:
    code = "import sys, holdfast; print(sorted({'requests', 'pytest', 'rich', 'trustme'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_module_can_be_imported_alone() -> None:
    for info in pkgutil.walk_packages(holdfast.__path__, "holdfast."):
        if not info.name.endswith("__main__"):
            importlib.import_module(info.name)


def test_the_version_is_told() -> None:
    assert holdfast.__version__.count(".") == 2
