"""Ctrl-C, or an alarm of the caller's, wherever it may come while a connection is lent.

CPython looks for signals after a call and when a function begins. Here each such place of the pool's gets its turn.
"""

from __future__ import annotations

import dis
import gc
import sys
import threading
from collections.abc import Callable, Iterator
from functools import cache
from types import CodeType, FrameType
from typing import Any

import pytest
from socket_peer import Peer

from holdfast import AcquireTimeoutError, SocketPool

pytestmark = [
    pytest.mark.skipif(
        sys.version_info[:2] != (3, 11),
        reason="3.10 does not tell what a handler covers, and from 3.12 on a new frame's opcodes are not traced",
    ),
    pytest.mark.filterwarnings("ignore:a lease of .* was never released:ResourceWarning"),
]

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


def can_be_lent_again(pool: SocketPool, where: str) -> None:
    gc.collect(0)
    try:
        pool.acquire(timeout=1).release()
    except AcquireTimeoutError as error:
        pytest.fail(f"interrupted at {where}: {error}")


def test_one_who_waits_leaves_nothing_behind(peer: Peer) -> None:
    for interruption in interruptions():
        with SocketPool(peer.address, maxsize=1) as pool:
            lease = pool.acquire()
            interruption.during(lambda: pool.acquire(timeout=0.01))
            assert pool.stats().waiting == 0, interruption.where
            lease.release()
            can_be_lent_again(pool, interruption.where)
            assert pool.stats().opened == 1, interruption.where


def test_one_who_gives_back_keeps_nothing(peer: Peer) -> None:
    for interruption in interruptions():
        with SocketPool(peer.address, maxsize=1) as pool:
            pool.acquire().release()
            lease = pool.acquire()
            interruption.during(lease.release)
            del lease
            can_be_lent_again(pool, interruption.where)
