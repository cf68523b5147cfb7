from __future__ import annotations

import os
import sys
import threading

import pytest

from holdfast._threads.tally import Tally


def test_a_child_counts_into_its_parent_and_not_into_its_sibling() -> None:
    total = Tally()
    one, other = Tally(total), Tally(total)
    one.count("closed")
    other.count("closed")
    assert (one.snapshot()["closed"], other.snapshot()["closed"], total.snapshot()["closed"]) == (1, 1, 2)


def test_ticks_count_up_the_whole_line_and_looking_does_not() -> None:
    total = Tally()
    child = Tally(total)
    for _ in range(3):
        for ticker in child.ticks:
            ticker.tick()
        assert total.ticked() == child.ticked()
    assert (total.ticked(), child.ticked(), child.ticked()) == (3, 3, 3)


def test_no_tick_is_lost_between_threads() -> None:
    total = Tally()
    child = Tally(total)
    start = threading.Barrier(4)

    def work() -> None:
        start.wait()
        for _ in range(5_000):
            child.ticks[0].tick()
            child.ticks[1].tick()
            child.count("x")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (total.ticked(), child.ticked(), total.snapshot()["x"]) == (20_000, 20_000, 20_000)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_lock_held_at_the_fork_is_free_in_the_child() -> None:
    tally = Tally()
    with tally._family.lock:
        child = os.fork()
        if child == 0:  # pragma: no cover - another process
            tally.count("x")
            os._exit(tally.snapshot()["x"])
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 1
    assert "threading" in sys.modules
