from __future__ import annotations

import gc
import os
import threading
import weakref

import pytest

from holdfast._threads.fork_safe import ForkSafeLock


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_it_is_free_in_the_child_whoever_held_it_in_the_parent() -> None:
    guard, held, release = ForkSafeLock(), threading.Event(), threading.Event()

    def hold() -> None:
        with guard.lock:
            held.set()
            release.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(10)
    child = os.fork()
    if child == 0:
        os._exit(0 if guard.lock.acquire(timeout=5) else 1)
    _, status = os.waitpid(child, 0)
    release.set()
    thread.join()
    assert os.waitstatus_to_exitcode(status) == 0


def test_it_may_be_taken_again_by_who_holds_it() -> None:
    guard = ForkSafeLock()
    with guard.lock, guard.lock:
        pass


def test_nobody_keeps_it_alive() -> None:
    guard = ForkSafeLock()
    gone = weakref.ref(guard)
    del guard
    gc.collect()
    assert gone() is None
