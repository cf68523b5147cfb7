"""The watcher on real sockets whose peers hang up."""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from holdfast._threads import polling, watcher
from holdfast._threads.parking import Parked
from holdfast._threads.polling import BROKEN, ENDED, READABLE
from holdfast._threads.watcher import Timer, Watcher, the_watcher

Pair = tuple[socket.socket, socket.socket]
PATIENCE = 10.0


@pytest.fixture(params=["epoll", "selectors"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "selectors":
        monkeypatch.setattr(watcher, "make_poller", polling.SelectorPoller)
    elif not hasattr(select, "epoll"):
        pytest.skip("no epoll here")
    return str(request.param)


@pytest.fixture(autouse=True)
def _ends_its_thread() -> Iterator[None]:
    yield
    the_watcher().join_if_idle()


@pytest.fixture
def pair() -> Iterator[Pair]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        peer, _ = listener.accept()
    with client, peer:
        yield client, peer


class Ear:
    """Hears what the watcher tells."""

    def __init__(self) -> None:
        self.heard: list[int] = []
        self._event = threading.Event()

    def told(self, signs: int) -> None:
        self.heard.append(signs)
        self._event.set()

    def wait(self) -> None:
        assert self._event.wait(PATIENCE)
        self._event.clear()


def watcher_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "holdfast-watcher"]


def reset(peer: socket.socket) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


def test_it_tells_when_the_peer_ends_the_connection(kind: str, pair: Pair) -> None:
    ear = Ear()
    the_watcher().watch(pair[0].fileno(), ear.told)
    pair[1].close()
    ear.wait()
    assert ear.heard == [ENDED if kind == "epoll" else READABLE]
    the_watcher().forget(pair[0].fileno(), ear.told)


def test_it_tells_of_a_reset(kind: str, pair: Pair) -> None:
    ear = Ear()
    the_watcher().watch(pair[0].fileno(), ear.told)
    reset(pair[1])
    ear.wait()
    assert ear.heard[0] & (BROKEN if kind == "epoll" else READABLE)
    the_watcher().forget(pair[0].fileno(), ear.told)


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="elsewhere any byte wakes it")
def test_answers_of_a_connection_in_use_wake_nobody(pair: Pair) -> None:
    ear = Ear()
    the_watcher().watch(pair[0].fileno(), ear.told)
    for _ in range(3):
        pair[1].sendall(b"answer")
        assert pair[0].recv(10) == b"answer"
    pair[1].close()
    ear.wait()
    assert ear.heard == [ENDED]
    the_watcher().forget(pair[0].fileno(), ear.told)


def test_it_tells_of_bytes_when_it_is_armed_to_read(kind: str, pair: Pair) -> None:
    ear = Ear()
    the_watcher().watch(pair[0].fileno(), ear.told)
    the_watcher().arm(pair[0].fileno(), ear.told, read=True)
    pair[1].sendall(b"pong")
    ear.wait()
    assert ear.heard == [READABLE]
    the_watcher().forget(pair[0].fileno(), ear.told)


def test_what_is_forgotten_is_not_told(kind: str, pair: Pair) -> None:
    ear, other = Ear(), Ear()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        second = socket.create_connection(listener.getsockname())
        second_peer, _ = listener.accept()
    with second, second_peer:
        the_watcher().watch(pair[0].fileno(), ear.told)
        the_watcher().watch(second.fileno(), other.told)
        the_watcher().forget(pair[0].fileno(), ear.told)
        pair[1].close()
        second_peer.close()
        other.wait()
        assert ear.heard == []
        the_watcher().forget(second.fileno(), other.told)


def test_forgetting_an_old_socket_leaves_the_new_one_of_its_number_alone(pair: Pair) -> None:
    old, new = Ear(), Ear()
    descriptor = pair[0].fileno()
    the_watcher().watch(descriptor, old.told)
    the_watcher().forget(descriptor, old.told)
    the_watcher().watch(descriptor, new.told)
    the_watcher().forget(descriptor, old.told)
    pair[1].close()
    new.wait()
    the_watcher().forget(descriptor, new.told)


def test_forget_waits_for_a_call_that_is_under_way(pair: Pair) -> None:
    begun, may_end, order = threading.Event(), threading.Event(), list[str]()

    def told(signs: int) -> None:
        begun.set()
        assert may_end.wait(PATIENCE)
        order.append("told")

    the_watcher().watch(pair[0].fileno(), told)
    pair[1].close()
    assert begun.wait(PATIENCE)

    def forget() -> None:
        the_watcher().forget(pair[0].fileno(), told)
        order.append("forgotten")

    forgetting = threading.Thread(target=forget)
    forgetting.start()
    may_end.set()
    forgetting.join()
    assert order == ["told", "forgotten"]


def test_a_callback_that_raises_is_logged_and_the_others_are_told(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    def wrong(signs: int) -> None:
        raise ValueError("wrong")

    ear = Ear()
    timer = Timer(lambda: ear.told(7))
    the_watcher().watch(pair[0].fileno(), wrong)
    pair[1].close()
    until(lambda: "wrong" in caplog.text)
    the_watcher().set(timer, time.monotonic())
    ear.wait()
    the_watcher().forget(pair[0].fileno(), wrong)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.001)


def test_timers_ring_in_order_and_the_last_setting_counts() -> None:
    rung: list[str] = []
    done = threading.Event()

    def second_rings() -> None:
        rung.append("second")
        done.set()

    first, second, never = (
        Timer(lambda: rung.append("first")),
        Timer(second_rings),
        Timer(lambda: rung.append("never")),
    )
    now = time.monotonic()
    the_watcher().set(second, now + 0.03)
    the_watcher().set(first, now + 5)
    the_watcher().set(first, now + 0.01)
    the_watcher().set(never, now + 0.005)
    the_watcher().set(never, None)
    assert done.wait(PATIENCE)
    assert rung == ["first", "second"]


def test_the_thread_ends_when_nothing_is_left_and_starts_again(pair: Pair) -> None:
    assert watcher_threads() == []
    for _ in range(3):
        ear = Ear()
        the_watcher().watch(pair[0].fileno(), ear.told)
        assert len(watcher_threads()) == 1
        the_watcher().forget(pair[0].fileno(), ear.told)
        the_watcher().join_if_idle()
        assert watcher_threads() == []


def test_the_thread_ends_by_itself_after_a_while(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "LINGER", 0.01)
    ear = Ear()
    the_watcher().watch(pair[0].fileno(), ear.told)
    [thread] = watcher_threads()
    the_watcher().forget(pair[0].fileno(), ear.told)
    the_watcher().call_soon(lambda: None)
    thread.join(PATIENCE)
    assert watcher_threads() == []


def test_after_its_stop_it_watches_nothing_and_harms_nobody(pair: Pair) -> None:
    mine = Watcher()
    ear = Ear()
    mine.watch(pair[0].fileno(), ear.told)
    mine.stop()
    mine.watch(pair[1].fileno(), ear.told)
    mine.set(Timer(lambda: None), time.monotonic())
    mine.forget(pair[0].fileno(), ear.told)
    assert watcher_threads() == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_takes_nothing_away_from_the_parents_watcher(pair: Pair) -> None:
    ear = Ear()
    the_watcher().watch(pair[0].fileno(), ear.told)
    child = os.fork()
    if child == 0:
        good = the_watcher()._thread is None and not the_watcher()._told
        the_watcher().forget(pair[0].fileno(), ear.told)
        os._exit(0 if good else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    pair[1].close()
    ear.wait()
    assert ear.heard == [ENDED]
    the_watcher().forget(pair[0].fileno(), ear.told)


# -- parked sockets


def test_a_parked_socket_whose_peer_hangs_up_is_given_to_on_dead(kind: str, pair: Pair) -> None:
    dead = threading.Event()
    parked = Parked(pair[0].fileno(), dead.set)
    assert parked.park()
    pair[1].close()
    assert dead.wait(PATIENCE)
    assert not parked.take()
    parked.forget()


def test_one_that_is_in_use_is_left_alone_and_found_dead_when_it_is_parked(pair: Pair) -> None:
    dead = threading.Event()
    parked = Parked(pair[0].fileno(), dead.set)
    assert parked.park()
    assert parked.take()
    pair[1].close()
    until(lambda: parked._ended)
    assert not dead.is_set()
    assert not parked.park()
    parked.forget()


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="elsewhere an answer may be taken for its end")
def test_one_that_was_used_and_parked_again_is_still_watched(pair: Pair) -> None:
    dead = threading.Event()
    parked = Parked(pair[0].fileno(), dead.set)
    for _ in range(3):
        pair[1].sendall(b"answer")
        assert pair[0].recv(10) == b"answer"
        assert parked.park()
        assert parked.take()
    assert parked.park()
    pair[1].close()
    assert dead.wait(PATIENCE)
    parked.forget()


def test_either_the_user_or_the_watcher_gets_it(pair: Pair) -> None:
    """However the two meet, exactly one of them has it."""
    for _ in range(200):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.create_connection(listener.getsockname())
            peer, _ = listener.accept()
        dead: list[bool] = []
        parked = Parked(client.fileno(), lambda dead=dead: dead.append(True))  # type: ignore[misc]
        parked.park()
        barrier = threading.Barrier(2)

        def hang_up(peer: socket.socket = peer, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            peer.close()

        hanging_up = threading.Thread(target=hang_up)
        hanging_up.start()
        barrier.wait()
        mine = parked.take()
        hanging_up.join()
        parked.forget()
        assert len(dead) + mine == 1 or (not mine and not dead)
        client.close()


def test_the_garbage_collector_may_run_a_finalizer_in_the_middle_of_a_step(pair: Pair) -> None:
    """urllib3 closes the connections of a pool that is garbage, wherever the collector happens to run."""
    ours, _ = pair
    parked = Parked(ours.fileno(), on_dead=lambda: None)
    finished = threading.Event()

    def finalize() -> None:
        with the_watcher()._lock:
            parked.forget()
        finished.set()

    threading.Thread(target=finalize, daemon=True).start()
    assert finished.wait(PATIENCE)
    the_watcher().join_if_idle()  # after what it was told to do soon
    assert not the_watcher()._told


def test_nor_does_it_wait_for_ever_for_one_who_waits_for_it(pair: Pair) -> None:
    ours, theirs = pair
    held, dying = threading.Lock(), threading.Event()

    def on_dead() -> None:
        dying.set()
        with held:
            pass

    parked = Parked(ours.fileno(), on_dead)
    with held:
        assert parked.park()
        theirs.close()
        assert dying.wait(PATIENCE)
        parked.forget()
