"""Which clock everything goes by: one that counts while the machine is suspended, if it can be."""

from __future__ import annotations

import copy
import pickle
import sys
import time
from pathlib import Path

import pytest

from holdfast import Policy
from holdfast.policy import SYSTEM_CLOCK, _clock

needs_boottime = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has CLOCK_BOOTTIME")


@pytest.fixture
def sleep_states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The kernel's file, as it is where suspending is possible, outside of Xen."""
    states = tmp_path / "state"
    states.write_text("freeze mem\n")
    monkeypatch.setattr(_clock, "_SLEEP_STATES", states)
    monkeypatch.setattr(_clock, "_XEN", tmp_path / "type")
    return states


def counts_while_suspended() -> bool:
    chosen = _clock._system_clock()
    counting = _clock.bare(chosen) is not time.monotonic
    expected = time.clock_gettime(time.CLOCK_BOOTTIME) if counting else time.monotonic()
    assert chosen() == pytest.approx(expected, abs=60)
    return counting


@needs_boottime
def test_it_counts_on_where_the_kernel_can_be_suspended(sleep_states: Path) -> None:
    assert counts_while_suspended()


@needs_boottime
def test_the_cheaper_clock_is_the_same_where_nothing_can_suspend_the_kernel(sleep_states: Path) -> None:
    sleep_states.write_text("\n")
    assert not counts_while_suspended()


@needs_boottime
def test_xen_suspends_its_guests_whatever_their_kernel_says(sleep_states: Path, tmp_path: Path) -> None:
    sleep_states.write_text("")
    (tmp_path / "type").write_text("xen\n")
    assert counts_while_suspended()


@needs_boottime
def test_where_nobody_tells_it_counts_on(sleep_states: Path) -> None:
    sleep_states.unlink()
    assert counts_while_suspended()


def test_without_such_a_clock_it_is_the_monotonic_one(
    sleep_states: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(time, "CLOCK_BOOTTIME", raising=False)
    assert not counts_while_suspended()


def test_it_is_nobody_elses() -> None:
    """Who names a clock himself keeps what he learns to himself, whichever it is."""
    assert SYSTEM_CLOCK is not time.monotonic
    assert _clock.bare(time.monotonic) is time.monotonic


def test_there_is_one_whoever_copies_it() -> None:
    assert pickle.loads(pickle.dumps(Policy())).clock is SYSTEM_CLOCK
    assert copy.deepcopy(Policy().clock) is SYSTEM_CLOCK
