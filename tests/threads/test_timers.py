"""Timers that were set, moved and taken back."""

from __future__ import annotations

import gc
import weakref

from holdfast._threads.timers import SLACK, Timer, Timers


def nothing() -> None:
    pass


def test_they_are_due_in_order_and_once() -> None:
    timers, one, other = Timers(), Timer(nothing), Timer(nothing)
    timers.set(one, 2)
    timers.set(other, 1)
    assert timers.earliest() == 1
    assert timers.due(3) == [other, one]
    assert timers.due(3) == []
    assert not timers


def test_the_last_setting_counts() -> None:
    timers, one = Timers(), Timer(nothing)
    timers.set(one, 1)
    timers.set(one, 2)
    assert timers.due(1) == []
    timers.unset(one)
    assert timers.earliest() is None
    assert timers.due(3) == []


class Client:
    def call(self) -> None:
        pass


def test_one_that_was_taken_back_does_not_keep_alive_what_it_was_to_call() -> None:
    """Not for longer than it takes for half of all notes to be such."""
    timers = Timers()
    first = Client()
    alive = weakref.ref(first)
    timer = Timer(first.call)
    timers.set(timer, 3600)
    timers.unset(timer)
    del first, timer
    for _ in range(SLACK):
        timer = Timer(Client().call)
        timers.set(timer, 3600)
        timers.unset(timer)
    gc.collect()
    assert alive() is None
