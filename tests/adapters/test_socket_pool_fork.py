"""A child keeps nothing of its parent's connections open, whoever uses them there."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from socket_peer import PATIENCE, Peer

from holdfast import Heartbeat, Policy, SocketPool
from holdfast._threads.watcher import the_watcher
from holdfast._threads.workers import the_workers

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]


@contextlib.contextmanager
def a_child() -> Iterator[None]:
    """One that does nothing but live."""
    end, parents = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(parents)
        os.read(end, 1)
        os._exit(0)
    os.close(end)
    try:
        yield
    finally:
        os.close(parents)
        assert os.waitpid(child, 0)[1] == 0


def test_what_another_thread_has_lent_can_be_closed_by_the_parent_alone() -> None:
    ended = threading.Event()

    def until_the_end(conn: socket.socket) -> None:
        while conn.recv(100):
            pass
        ended.set()

    with Peer(until_the_end) as peer, SocketPool(peer.address) as pool:
        lent, over = threading.Event(), threading.Event()

        def use() -> None:
            with pool.acquire() as lease:
                lent.set()
                over.wait(PATIENCE)
                lease.discard()

        user = threading.Thread(target=use)
        user.start()
        lent.wait(PATIENCE)
        with a_child():
            over.set()
            user.join()
            assert ended.wait(PATIENCE), "the child's copy kept it open"


def test_a_heartbeat_that_is_under_way_is_not_ended_by_the_child() -> None:
    asked, answer = threading.Event(), threading.Event()

    def ask(sock: socket.socket) -> None:
        asked.set()
        answer.wait(PATIENCE)

    heartbeat = Heartbeat(call=ask, interval=0.05, timeout=0.05, misses=1000)
    policy = Policy(heartbeat=heartbeat)
    with Peer() as peer, SocketPool(peer.address, policy=policy, maxsize=1) as pool:
        with pool.acquire():
            pass
        assert asked.wait(PATIENCE)
        child = os.fork()
        if child == 0:
            os._exit(pool.stats().open)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        answer.set()
        while pool.stats().checking:
            time.sleep(0.001)
        with pool.acquire() as lease:
            assert lease.reused
            lease.sock.sendall(b"still mine")
            assert lease.sock.recv(100) == b"still mine"


def test_a_child_starts_clean_whoever_held_the_locks_at_the_fork() -> None:
    with Peer() as peer, SocketPool(peer.address) as pool:
        with pool.acquire():
            pass
        with the_watcher()._lock, the_watcher()._call_lock, pool._lock, the_workers()._lock:
            child = os.fork()
            if child == 0:
                os._exit(pool.stats().open)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        with pool.acquire() as lease:
            assert lease.reused


def test_a_pool_that_cannot_be_reset_does_not_keep_the_others_from_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Peer() as peer, SocketPool(peer.address) as one, SocketPool(peer.address) as other:
        for pool in (one, other):
            with pool.acquire():
                pass
        monkeypatch.setattr(one._core, "forked", None)
        child = os.fork()
        if child == 0:
            os._exit(other.stats().open)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
