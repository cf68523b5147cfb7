"""The watcher hears news of the network while it has something to watch."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from holdfast._threads import polling, watcher
from holdfast._threads.watcher import Watcher

PATIENCE = 10.0
MATTERS, IDLE_TALK = b"!", b"."


class Ears:
    """As the real ones: readable at news of any kind."""

    def __init__(self) -> None:
        self._sock, self.news = socket.socketpair()
        self._sock.setblocking(False)
        self.closed = False
        self.asked = threading.Event()

    def fileno(self) -> int:
        return self._sock.fileno()

    def heard(self) -> bool:
        told = b""
        with suppress(BlockingIOError):
            told = self._sock.recv(100)
        self.asked.set()
        return MATTERS in told

    def close(self) -> None:
        self.closed = True
        self._sock.close()
        self.news.close()


class Listener:
    def __init__(self) -> None:
        self.ears: list[Ears] = []
        self.times = 0
        self._told = threading.Event()

    def open(self) -> Ears:
        self.ears.append(Ears())
        return self.ears[-1]

    def told(self) -> None:
        self.times += 1
        self._told.set()

    def wait(self) -> None:
        assert self._told.wait(PATIENCE)
        self._told.clear()


@pytest.fixture(params=["epoll", "selectors"])
def watching(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watcher]:
    """One that watches a connection."""
    if request.param == "selectors":
        monkeypatch.setattr(watcher, "make_poller", polling.SelectorPoller)
    elif not hasattr(select, "epoll"):
        pytest.skip("no epoll here")
    one, other = socket.socketpair()
    mine = Watcher()
    with one, other:
        mine.watch(one.fileno(), ignore)
        yield mine
        mine.forget(one.fileno(), ignore)
        mine.join_if_idle()


def ignore(_: int) -> None:
    pass


def stop(mine: Watcher) -> None:
    """It has nothing to watch any more."""
    for descriptor in list(mine._told):
        mine.forget(descriptor, ignore)
    mine.join_if_idle()


@contextmanager
def exiting() -> Iterator[None]:
    """In the child of a fork: no test goes on in it, whatever happens."""
    status = 1
    try:
        yield
        status = 0
    finally:
        os._exit(status)


def test_it_tells_of_news_that_matter_and_only_of_those(watching: Watcher) -> None:
    listener = Listener()
    watching.listen(listener.open, listener.told)
    [ears] = listener.ears
    ears.news.send(IDLE_TALK)
    assert ears.asked.wait(PATIENCE)
    assert listener.times == 0
    for times in (1, 2):
        ears.news.send(MATTERS)
        listener.wait()
        assert listener.times == times
    stop(watching)


def test_who_listens_when_nothing_is_watched_starts_no_thread() -> None:
    listener, mine = Listener(), Watcher()
    mine.listen(listener.open, listener.told)
    assert listener.ears == []
    assert mine._thread is None


def test_it_does_not_go_on_only_to_listen(watching: Watcher) -> None:
    listener = Listener()
    watching.listen(listener.open, listener.told)
    stop(watching)
    assert watching._thread is None
    assert [ears.closed for ears in listener.ears] == [True]


def test_it_listens_again_when_it_watches_again(watching: Watcher) -> None:
    listener = Listener()
    watching.listen(listener.open, listener.told)
    stop(watching)
    one, other = socket.socketpair()
    with one, other:
        watching.watch(one.fileno(), ignore)
        listener.ears[-1].news.send(MATTERS)
        listener.wait()
        stop(watching)
    assert [ears.closed for ears in listener.ears] == [True, True]


def test_where_there_is_nothing_to_hear_it_watches_all_the_same(watching: Watcher) -> None:
    watching.listen(lambda: None, lambda: None)
    assert watching._thread is not None


def test_what_a_listener_raises_is_dropped(watching: Watcher) -> None:
    listener = Listener()

    def fails() -> None:
        listener.told()
        raise RuntimeError

    watching.listen(listener.open, fails)
    for _ in range(2):
        listener.ears[0].news.send(MATTERS)
        listener.wait()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_closes_its_copy_and_the_parent_goes_on_hearing(watching: Watcher) -> None:
    listener = Listener()
    watching.listen(listener.open, listener.told)
    [ears] = listener.ears
    child = os.fork()
    if child == 0:
        with exiting():
            watching.after_fork()
            assert ears.closed
            assert watching._thread is None
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not ears.closed
    ears.news.send(MATTERS)
    listener.wait()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_listens_when_it_has_something_to_watch(watching: Watcher) -> None:
    listener = Listener()
    watching.listen(listener.open, listener.told)
    child = os.fork()
    if child == 0:
        with exiting():
            watching.after_fork()
            one, _other = socket.socketpair()
            watching.watch(one.fileno(), ignore)
            listener.ears[-1].news.send(MATTERS)
            listener.wait()
            assert len(listener.ears) == 2
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
