"""Arguments, exit statuses and messages; what `demo` does is in test_demo.py."""

from __future__ import annotations

import subprocess
import sys

import pytest

import holdfast
from holdfast import _demo
from holdfast.cli import main

EXTRA = ["requests", "rich", "trustme"]


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"holdfast {holdfast.__version__}\n"


def test_the_module_runs_as_a_program() -> None:
    done = python("-m", "holdfast", "--version")
    assert (done.returncode, done.stdout) == (0, f"holdfast {holdfast.__version__}\n")


@pytest.mark.parametrize(
    "argv",
    [[], ["dance"], ["demo", "--rounds", "0"], ["demo", "--rounds", "²"], ["demo", "--seed"]],
)
def test_what_makes_no_sense_is_a_usage_error(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith("usage: holdfast")


@pytest.mark.parametrize("missing", EXTRA)
def test_without_the_extra_one_line_says_what_to_install(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith("holdfast._demo")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(holdfast, "_demo")
    for name in [name for name in sys.modules if name.partition(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)

    assert main(["demo"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f'holdfast: this command needs {missing}: pip install "holdfast[cli]"\n'


def test_a_module_of_ours_that_is_missing_is_not_blamed_on_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run(**_: object) -> int:
        raise ModuleNotFoundError("No module named 'holdfast.nonsense'", name="holdfast.nonsense")

    monkeypatch.setattr(_demo, "run", run)
    with pytest.raises(ModuleNotFoundError):
        main(["demo"])


def test_an_interrupted_command_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(**_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(_demo, "run", run)
    assert main(["demo"]) == 130
    assert capsys.readouterr().err == "holdfast: interrupted\n"


def test_the_command_line_itself_needs_none_of_the_extra() -> None:
    code = f"import sys, holdfast.cli; print([name for name in {EXTRA} if name in sys.modules])"
    assert python("-c", code).stdout == "[]\n"
