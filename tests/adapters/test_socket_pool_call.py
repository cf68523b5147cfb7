"""``call``: repeated exactly when that is safe, counted on the peer's side."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from socket_peer import PATIENCE, Peer, reset, silent

import holdfast
from holdfast import Policy, Progress, RetryPolicy, SocketPool, Verdict
from holdfast.events import Event, RepeatDecided

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts what was sent")


class Ledger:
    """A peer that executes each message, and then, if its plan says so, dies without an answer."""

    def __init__(self, *plan: str) -> None:
        self.executed: list[bytes] = []
        self._plan = list(plan)
        self.peer = Peer(self._serve)

    def _serve(self, conn: socket.socket) -> None:
        while message := conn.recv(100):
            self.executed.append(message)
            fate = self._plan.pop(0) if self._plan else "answer"
            if fate == "reset":
                reset(conn)
                return
            if fate == "close":
                return
            if fate == "half":
                conn.sendall(b"o")
                reset(conn)
                return
            conn.sendall(b"ok")


@pytest.fixture
def heard() -> list[Event]:
    return []


class Bench:
    def __init__(self, *plan: str, heard: list[Event], retry: RetryPolicy | None = None) -> None:
        self.ledger = Ledger(*plan)
        policy = Policy(listener=heard.append, retry=retry or RetryPolicy())
        self.pool = SocketPool(self.ledger.peer.address, policy=policy)

    def close(self) -> None:
        self.pool.close()
        self.ledger.peer.close()


@pytest.fixture
def bench(request: pytest.FixtureRequest, heard: list[Event]) -> Iterator[Any]:
    made: list[Bench] = []

    def make(*plan: str, retry: RetryPolicy | None = None) -> Bench:
        made.append(Bench(*plan, heard=heard, retry=retry))
        return made[-1]

    yield make
    for one in made:
        one.close()


def ask(sock: socket.socket) -> bytes:
    sock.sendall(b"work")
    answer = b""
    while len(answer) < 2:
        answer += sock.recv(10) or end()
    return answer


def end() -> bytes:
    raise EOFError("the peer hung up")


def verdicts(heard: list[Event]) -> list[Verdict]:
    return [event.verdict for event in heard if isinstance(event, RepeatDecided)]


def test_a_call_answers_what_its_function_answers(bench: Any) -> None:
    one = bench()
    assert [one.pool.call(ask, idempotent=False) for _ in range(3)] == [b"ok"] * 3
    assert one.pool.stats().opened == 1


@pytest.mark.parametrize("fate", ["reset", "close"])
def test_an_idempotent_call_on_a_stale_connection_is_repeated_on_a_new_one(
    bench: Any, heard: list[Event], fate: str
) -> None:
    one = bench("answer", fate)
    one.pool.call(ask, idempotent=True)
    assert one.pool.call(ask, idempotent=True) == b"ok"
    assert verdicts(heard) == [Verdict.REPEATED_STALE]
    assert one.pool.stats().repeated == {Verdict.REPEATED_STALE: 1}


@pytest.mark.parametrize("fate", ["reset", "close"])
def test_one_that_may_have_been_processed_is_never_repeated(
    bench: Any, heard: list[Event], fate: str
) -> None:
    one = bench("answer", fate)
    one.pool.call(ask, idempotent=False)
    with pytest.raises((ConnectionResetError, EOFError)) as caught:
        one.pool.call(ask, idempotent=False)
    assert one.ledger.executed == [b"work"] * 2
    assert verdicts(heard) == [Verdict.REFUSED_MAYBE_PROCESSED]
    if sys.version_info >= (3, 11):
        assert "the server may have processed it" in caught.value.__notes__[0]
    assert one.pool.stats().refused == {Verdict.REFUSED_MAYBE_PROCESSED: 1}


def test_it_is_repeated_once_only(bench: Any, heard: list[Event]) -> None:
    one = bench("answer", "reset", "reset")
    one.pool.call(ask, idempotent=True)
    with pytest.raises(ConnectionResetError):
        one.pool.call(ask, idempotent=True)
    assert verdicts(heard) == [Verdict.REPEATED_STALE, Verdict.REFUSED_AGAIN]
    assert len(one.ledger.executed) == 3


def test_a_failure_on_a_new_connection_is_not_staleness(bench: Any, heard: list[Event]) -> None:
    one = bench("reset")
    with pytest.raises(ConnectionResetError):
        one.pool.call(ask, idempotent=True)
    assert verdicts(heard) == [Verdict.REFUSED_FRESH]


@linux
def test_what_has_begun_to_answer_is_not_repeated(bench: Any, heard: list[Event]) -> None:
    one = bench("answer", "half")
    one.pool.call(ask, idempotent=True)
    with pytest.raises((ConnectionResetError, EOFError)):
        one.pool.call(ask, idempotent=True)
    assert verdicts(heard) == [Verdict.REFUSED_RESPONSE_STARTED]


@linux
@pytest.mark.parametrize("idempotent", [True, False])
def test_what_never_left_is_repeated_whatever_it_is(bench: Any, heard: list[Event], idempotent: bool) -> None:
    """The race is forced: the peer resets after the last look, before the first byte."""
    one = bench()
    one.pool.call(ask, idempotent=True)

    still_to_kill = list(one.ledger.peer.connections)

    def after_the_look(sock: socket.socket) -> bytes:
        if still_to_kill:
            kill(still_to_kill.pop(), sock)
        return ask(sock)

    assert one.pool.call(after_the_look, idempotent=idempotent) == b"ok"
    assert one.ledger.executed == [b"work"] * 2
    assert [(e.progress, e.verdict) for e in heard if isinstance(e, RepeatDecided)] == [
        (Progress.NOT_SENT, Verdict.REPEATED_NEVER_SENT)
    ]


def kill(conn: socket.socket, sock: socket.socket) -> None:
    """A reset, which has arrived. The last reference to the socket is the handler's thread."""
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    conn.shutdown(socket.SHUT_RD)
    conn.close()
    poll = select.poll()
    poll.register(sock, 0)
    assert poll.poll(PATIENCE * 1000)


def test_recovery_can_be_switched_off(bench: Any, heard: list[Event]) -> None:
    one = bench("answer", "reset", retry=RetryPolicy(recovery=False))
    one.pool.call(ask, idempotent=True)
    with pytest.raises(ConnectionResetError):
        one.pool.call(ask, idempotent=True)
    assert verdicts(heard) == [Verdict.REFUSED_OFF]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, FileNotFoundError, holdfast.ConnectError])
def test_an_error_that_is_none_of_the_connection_is_raised(bench: Any, error: type[BaseException]) -> None:
    one = bench()
    one.pool.call(ask, idempotent=True)
    calls: list[None] = []

    def wrong(sock: socket.socket) -> None:
        calls.append(None)
        raise error("of something else")

    with pytest.raises(error):
        one.pool.call(wrong, idempotent=True)
    assert len(calls) == 1
    assert one.pool.stats().open == 0


def test_one_deadline_holds_over_all() -> None:
    with Peer(silent) as peer, SocketPool(peer.address) as pool:

        def wait(sock: socket.socket) -> bytes:
            assert 0 < (sock.gettimeout() or 0) <= 0.05
            return sock.recv(1)

        with pytest.raises(TimeoutError):
            pool.call(wait, idempotent=True, timeout=0.05)
        assert pool.stats().refused == {Verdict.REFUSED_TIMED_OUT: 1}


def test_many_threads_share_a_pool(bench: Any) -> None:
    one = bench(*["answer", "answer", "answer", "close"] * 20)
    answers: list[bytes] = []

    def work() -> None:
        for _ in range(10):
            # Its repeat may meet the end that was meant for another.
            with contextlib.suppress(EOFError):
                answers.append(one.pool.call(ask, idempotent=True))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers.count(b"ok") == len(answers) > 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fn": 1, "idempotent": True}, "fn=1: must be callable"),
        ({"fn": ask, "idempotent": None}, "idempotent=None: must be True or False"),
        ({"fn": ask, "idempotent": True, "timeout": -1}, "timeout=-1"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(
    bench: Any, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(holdfast.PolicyError, match=message):
        bench().pool.call(**arguments)


def test_whether_it_is_idempotent_has_to_be_said(bench: Any) -> None:
    with pytest.raises(TypeError, match="idempotent"):
        bench().pool.call(ask)
