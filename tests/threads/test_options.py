from __future__ import annotations

import threading

import pytest

from holdfast._threads.options import current_options, request_options
from holdfast.errors import PolicyError
from holdfast.policy import RequestOptions


def test_they_hold_inside_of_the_block_and_not_after_it() -> None:
    assert current_options.get() is None
    with request_options(idempotent=True, deadline=3):
        assert current_options.get() == RequestOptions(idempotent=True, repeat=True, deadline=3)
        with request_options(repeat=False):
            assert current_options.get() == RequestOptions(repeat=False)
        assert current_options.get() == RequestOptions(idempotent=True, deadline=3)
    assert current_options.get() is None


def test_another_thread_has_its_own() -> None:
    seen: list[object] = []
    with request_options(repeat=False):
        thread = threading.Thread(target=lambda: seen.append(current_options.get()))
        thread.start()
        thread.join()
    assert seen == [None]


def test_nonsense_is_refused_before_anything_is_changed() -> None:
    with pytest.raises(PolicyError, match="deadline=-1"), request_options(deadline=-1):
        pytest.fail("it was taken")
    assert current_options.get() is None
