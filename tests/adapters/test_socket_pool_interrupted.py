"""Ctrl-C, or an alarm of the caller's, wherever it may come while a connection is lent.

CPython looks for signals after a call and when a function begins. Here each such place of the pool's gets its turn,
but for two: a step of the rules, and the one instruction between taking an idle connection and having it. What is
cut short there costs the pool a place, as it does in every pool written in Python; and a connection that was just
being closed is closed by the garbage collector.
"""

from __future__ import annotations

import dis
import gc
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import cache
from types import CodeType, FrameType
from typing import Any

import pytest
from socket_peer import PATIENCE, Peer

from holdfast import AcquireTimeoutError, Policy, PoolLimits, SocketPool
from holdfast._threads.watcher import the_watcher

pytestmark = pytest.mark.filterwarnings("ignore:a lease of .* was never released:ResourceWarning")

traced = pytest.mark.skipif(
    sys.version_info[:2] != (3, 11),
    reason="3.10 does not tell what a handler covers, and from 3.12 on a new frame's opcodes are not traced",
)

MOST_PLACES = 2000
"""So that a test that finds no end of them fails."""


@pytest.fixture
def peer() -> Iterator[Peer]:
    with Peer() as peer:
        yield peer


class Interrupted(BaseException):
    """As KeyboardInterrupt is, but surely ours."""


@cache
def places(code: CodeType) -> frozenset[int]:
    """Offsets of the instructions before which a signal may be noticed.

    The handler that gets it is that of the instruction before. Where it is another, the next instruction
    is no stand-in for it."""
    entries: list[Any] = dis.Bytecode(code).exception_entries  # type: ignore[attr-defined]  # where there are any
    found, before = set[int](), None
    for instruction in dis.get_instructions(code):
        if before is not None and before.opname.startswith(("CALL", "RESUME", "JUMP_BACKWARD")):
            covers = [
                [entry.target for entry in entries if entry.start <= offset < entry.end][:1]
                for offset in (before.offset, instruction.offset)
            ]
            if covers[0] == covers[1]:
                found.add(instruction.offset)
        before = instruction
    return frozenset(found)


class Interruption:
    """Comes at the place of this number, of the pool's own and of ``threading``."""

    def __init__(self, number: int) -> None:
        self.left = number
        self.where = ""

    def during(self, what: Callable[[], object]) -> None:
        before = sys.gettrace()
        sys.settrace(self._trace)
        try:
            what()
        except (Interrupted, AcquireTimeoutError):
            pass
        finally:
            sys.settrace(before)

    def _trace(self, frame: FrameType, event: str, _: object) -> Any:
        file = frame.f_code.co_filename
        # The steps of the rules are a few instructions each, and are not made to be cut in two.
        if not ("/holdfast/" in file or file == threading.__file__) or "/_core/" in file:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode" and not self.where and frame.f_lasti in places(frame.f_code):
            self.left -= 1
            if not self.left:
                self.where = f"{file}:{frame.f_lineno}"
                raise Interrupted
        return self._trace


def interruptions() -> Iterator[Interruption]:
    """One for each place, until there is no further one."""
    for number in range(1, MOST_PLACES):
        interruption = Interruption(number)
        yield interruption
        if not interruption.where:
            assert number > 5, "the trace did not see the pool"
            return
    pytest.fail("no end")


def eventually(condition: Callable[[], bool]) -> None:
    """The watcher does it."""
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.001)


def can_be_lent_again(pool: SocketPool, where: str) -> None:
    gc.collect(0)
    try:
        pool.acquire(timeout=1).release()
    except AcquireTimeoutError as error:
        pytest.fail(f"interrupted at {where}: {error}")


@traced
def test_one_who_waits_leaves_nothing_behind(peer: Peer) -> None:
    for interruption in interruptions():
        with SocketPool(peer.address, maxsize=1) as pool:
            lease = pool.acquire()
            interruption.during(lambda: pool.acquire(timeout=0.01))
            assert pool.stats().waiting == 0, interruption.where
            lease.release()
            can_be_lent_again(pool, interruption.where)
            assert pool.stats().opened == 1, interruption.where


@traced
def test_one_who_gives_back_keeps_nothing(peer: Peer) -> None:
    for interruption in interruptions():
        with SocketPool(peer.address, maxsize=1) as pool:
            pool.acquire().release()
            lease = pool.acquire()
            interruption.during(lease.release)
            del lease
            can_be_lent_again(pool, interruption.where)


# -- without Ctrl-C, what it is made of


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_one_close_that_raises_keeps_nobody_from_being_looked_at(peer: Peer) -> None:
    with SocketPool(peer.address, maxsize=3) as pool:
        leases = [pool.acquire() for _ in range(3)]
        for lease in leases[1:]:
            lease.release()
        os.close(leases[0].sock.detach())
        with pytest.raises((OSError, ConnectionResetError)), leases[0]:
            raise ConnectionResetError
        again = [pool.acquire(timeout=1) for _ in range(3)]
        for lease in again:
            lease.release()


def test_two_may_look_for_dropped_leases_at_the_same_time(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Raced(deque[Any]):
        """Somebody else is always faster."""

        def __bool__(self) -> bool:
            there = len(self) > 0
            if there and threading.current_thread() is threading.main_thread():
                other = threading.Thread(target=pool._reap)
                other.start()
                other.join()
            return there

    with SocketPool(peer.address, maxsize=1) as pool:
        monkeypatch.setattr(the_watcher(), "call_soon", lambda *_: False)
        monkeypatch.setattr(pool, "_leaks", Raced())
        pool.acquire()
        gc.collect()
        can_be_lent_again(pool, "nowhere")
        assert pool.stats().leaked == 1
        monkeypatch.undo()


def test_a_timer_that_could_not_be_set_is_set_the_next_time(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> bool:
        monkeypatch.undo()
        raise Interrupted

    policy = Policy(limits=PoolLimits(idle_timeout=0.2))
    with SocketPool(peer.address, maxsize=1, policy=policy) as pool:
        lease = pool.acquire()
        monkeypatch.setattr(the_watcher(), "set", interrupted)
        with pytest.raises(Interrupted):
            lease.release()
        pool.acquire().release()
        eventually(lambda: not pool.stats().idle)
