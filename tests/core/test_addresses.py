"""Which address is tried first, and when one that failed is tried again."""

from __future__ import annotations

import pytest

from holdfast._core.addresses import LONGEST_PAUSE, MOST_REMEMBERED, AddressBook, pause_after


@pytest.fixture
def book() -> AddressBook:
    return AddressBook()


def test_what_has_not_failed_keeps_the_resolvers_order(book: AddressBook) -> None:
    assert book.in_order(["b", "a", "c"], 0) == ["b", "a", "c"]


def test_one_that_failed_is_left_for_last_until_its_pause_is_over(book: AddressBook) -> None:
    pause = book.failed("a", 0, 1)
    assert book.in_order(["a", "b"], pause / 2) == ["b", "a"]
    assert book.in_order(["a", "b"], pause) == ["a", "b"]


def test_of_those_that_failed_the_one_whose_pause_ends_first_comes_first(book: AddressBook) -> None:
    book.failed("a", 0.05, 1)
    book.failed("b", 0, 1)
    assert book.in_order(["a", "b"], 0.06) == ["b", "a"]


def test_pauses_grow_with_each_failure_up_to_a_limit_and_are_over_after_a_success(book: AddressBook) -> None:
    now, pauses = 0.0, []
    for _ in range(12):
        pauses.append(book.failed("a", now, 1))
        now += pauses[-1]
    assert pauses == pytest.approx(sorted(pauses))
    assert pauses[:3] == pytest.approx([0.1, 0.2, 0.4])
    assert pauses[-1] == pytest.approx(LONGEST_PAUSE)
    book.worked("a")
    assert book.failed("a", now, 1) == pytest.approx(0.1)


def test_one_failure_seen_by_many_threads_is_one(book: AddressBook) -> None:
    pause = book.failed("a", 0, 1)
    assert [book.failed("a", 0.01, 1) for _ in range(8)] == pytest.approx([pause - 0.01] * 8)
    assert book.failed("a", pause, 1) == pytest.approx(pause_after(2, 1))


def test_only_so_many_are_remembered(book: AddressBook) -> None:
    for number in range(MOST_REMEMBERED + 1):
        book.failed(number, 0, 1)
    assert book.ready_at(0, 0) == 0
    assert book.ready_at(1, 0) > 0
