"""Lending raw sockets of peers that misbehave on cue."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import select
import socket
import ssl
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from socket_peer import PATIENCE, Peer, echo

import holdfast
from holdfast import CloseReason, Policy, PoolLimits, SocketPool
from holdfast._core.pool_entry import PoolEntry
from holdfast._threads import polling, watcher
from holdfast._threads.watcher import the_watcher
from holdfast.events import ConnectionClosed, ConnectionOpened, Event
from holdfast.testing import FakeClock

Ask = Callable[[SocketPool], bytes]


@pytest.fixture
def peer() -> Iterator[Peer]:
    with Peer() as peer:
        yield peer


def ask(pool: SocketPool, message: bytes = b"hello") -> bytes:
    with pool.acquire(timeout=5) as lease:
        lease.sock.sendall(message)
        return lease.sock.recv(100)


def until(condition: Callable[[], bool]) -> None:
    """What the watcher does on its own has no other way to be waited for."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.001)


# -- lending


def test_a_connection_is_reused(peer: Peer) -> None:
    with SocketPool(peer.address) as pool:
        assert [ask(pool) for _ in range(3)] == [b"hello"] * 3
        assert (pool.stats().opened, pool.stats().acquired, pool.stats().idle) == (1, 3, 1)


def test_the_lease_has_the_real_socket(peer: Peer) -> None:
    with SocketPool(peer.address) as pool, pool.acquire() as lease:
        assert type(lease.sock) is socket.socket
        assert lease.sock.getpeername() == peer.address
        assert not lease.reused


def test_the_one_used_last_is_lent_first(peer: Peer) -> None:
    with SocketPool(peer.address) as pool:
        first, second = pool.acquire(), pool.acquire()
        socks = first.sock, second.sock
        first.release()
        second.release()
        with pool.acquire() as lease:
            assert lease.sock is socks[1]
            assert lease.reused


def test_a_lease_that_is_left_by_an_exception_is_discarded(peer: Peer) -> None:
    with SocketPool(peer.address) as pool:
        with pytest.raises(ZeroDivisionError), pool.acquire():
            raise ZeroDivisionError
        assert pool.stats().closed == {CloseReason.FAILED: 1}
        assert pool.stats().open == 0


def test_a_lease_may_be_discarded(peer: Peer) -> None:
    with SocketPool(peer.address) as pool:
        with pool.acquire() as lease:
            lease.discard()
        assert pool.stats().closed == {CloseReason.CLOSED_LOCALLY: 1}


def test_a_timeout_that_was_changed_is_set_back(peer: Peer) -> None:
    with SocketPool(peer.address, timeout=7) as pool:
        with pool.acquire() as lease:
            assert lease.sock.gettimeout() == 7
            lease.sock.settimeout(0.01)
        with pool.acquire() as lease:
            assert lease.sock.gettimeout() == 7


def test_a_socket_that_its_user_closed_is_not_kept(peer: Peer) -> None:
    with SocketPool(peer.address) as pool:
        with pool.acquire() as lease:
            lease.sock.close()
        assert pool.stats().open == 0
        assert ask(pool) == b"hello"


@pytest.mark.parametrize("resets", [False, True])
def test_nor_if_a_file_that_he_made_of_it_holds_it_open(peer: Peer, resets: bool) -> None:
    with SocketPool(peer.address, on_release=(lambda sock: sock.fileno()) if resets else None) as pool:
        with pool.acquire() as lease:
            file = lease.sock.makefile()
            lease.sock.close()
        assert pool.stats().closed == {CloseReason.CLOSED_LOCALLY: 1}
        file.close()


def test_nor_one_that_he_took_out_of_its_object(peer: Peer) -> None:
    with SocketPool(peer.address) as pool:
        with pool.acquire() as lease:
            descriptor = lease.sock.detach()
        assert pool.stats().closed == {CloseReason.CLOSED_LOCALLY: 1}
        os.close(descriptor)


class _Foreign:
    """A socket that is none of Python's own."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def __getattr__(self, name: str) -> Any:
        if name == "_closed":
            raise AttributeError(name)
        return getattr(self._sock, name)


class _ForeignWithAMethod(_Foreign):
    def _closed(self) -> bool:
        return self._sock.fileno() < 0


@pytest.mark.parametrize("foreign", [_Foreign, _ForeignWithAMethod])
def test_a_socket_that_is_none_of_pythons_own_is_asked_whether_it_was_closed(
    peer: Peer, foreign: type[_Foreign]
) -> None:
    def connect(address: Any, timeout: float | None) -> Any:
        return foreign(socket.create_connection(address, timeout))

    with SocketPool(peer.address, connect=connect) as pool:
        assert ask(pool) == b"hello"
        assert ask(pool) == b"hello"
        assert pool.stats().opened == 1
        with pool.acquire() as lease:
            lease.sock.close()
        assert pool.stats().closed == {CloseReason.CLOSED_LOCALLY: 1}


# -- what dies


@pytest.mark.parametrize(
    ("by_reset", "reason"), [(False, CloseReason.PEER_CLOSED), (True, CloseReason.PEER_RESET)]
)
def test_what_the_peer_ends_while_it_is_idle_is_closed_without_any_call(
    peer: Peer, by_reset: bool, reason: CloseReason
) -> None:
    with SocketPool(peer.address) as pool:
        leases = [pool.acquire() for _ in range(5)]
        peer.wait_for(5)
        for lease in leases:
            lease.release()
        if by_reset:
            for conn in peer.connections:
                conn.sendall(b"")  # it is up
                reset_from_here(conn)
        else:
            peer.hang_up()
        until(lambda: pool.stats().open == 0)
        assert pool.stats().closed == {reason: 5}


@pytest.mark.parametrize("lent", [False, True])
def test_where_there_is_no_epoll_the_end_is_seen_as_well(
    peer: Peer, monkeypatch: pytest.MonkeyPatch, lent: bool
) -> None:
    monkeypatch.setattr(watcher, "make_poller", polling.SelectorPoller)
    with SocketPool(peer.address) as pool:
        assert [ask(pool) for _ in range(3)] == [b"hello"] * 3
        lease = pool.acquire()
        if not lent:
            lease.release()
        peer.hang_up()
        if lent:
            assert lease.sock.recv(1) == b""
            [entry] = pool._core.everything
            until(lambda: entry.alarm is None)
            lease.release()
        until(lambda: pool.stats().closed == {CloseReason.PEER_CLOSED: 1})


def test_one_that_comes_back_as_its_answer_is_noticed_is_watched_again(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "make_poller", polling.SelectorPoller)
    with SocketPool(peer.address) as pool:
        ask(pool)
        lease = pool.acquire()
        noticed, back = threading.Event(), threading.Event()
        reserve = pool._core.reserve

        def reserve_as_it_comes_back(entry: PoolEntry, now: float) -> bool:
            reserved = reserve(entry, now)
            noticed.set()
            assert back.wait(PATIENCE)
            return reserved

        monkeypatch.setattr(pool._core, "reserve", reserve_as_it_comes_back)
        lease.sock.sendall(b"hello")
        assert noticed.wait(PATIENCE)
        assert lease.sock.recv(100) == b"hello"
        lease.release()
        back.set()
        peer.hang_up()
        until(lambda: pool.stats().closed == {CloseReason.PEER_CLOSED: 1})


def reset_from_here(conn: socket.socket) -> None:
    """A reset needs the last reference to go; the handler's thread reads from it still."""
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with contextlib.suppress(OSError):
        conn.shutdown(socket.SHUT_RD)
    conn.close()


def test_what_the_peer_ends_while_it_is_lent_is_closed_when_it_comes_back(peer: Peer) -> None:
    with SocketPool(peer.address) as pool:
        with pool.acquire() as lease:
            peer.wait_for(1)
            peer.hang_up()
            assert lease.sock.recv(1) == b""
            if not the_watcher().is_one_shot:
                until(lambda: next(iter(pool._core.everything)).doomed is not None)
        until(lambda: pool.stats().closed == {CloseReason.PEER_CLOSED: 1})


def test_stray_bytes_are_found_before_reuse(peer: Peer) -> None:
    with SocketPool(peer.address) as pool:
        assert ask(pool) == b"hello"
        peer.connections[0].sendall(b"ERROR: goodbye")
        wait_until_readable(pool)
        assert ask(pool) == b"hello"
        assert pool.stats().closed == {CloseReason.STRAY_BYTES: 1}


def wait_until_readable(pool: SocketPool) -> None:
    [entry] = pool._core.everything
    assert select.select([entry.link.sock], [], [], PATIENCE)[0]


def test_one_that_dies_in_use_has_its_idle_siblings_looked_at(peer: Peer) -> None:
    with SocketPool(peer.address) as pool:
        leases = [pool.acquire() for _ in range(3)]
        for lease in leases:
            lease.release()
        peer.wait_for(3)
        # Stray bytes are what the watcher does not see: nobody reads from idle connections.
        for conn in peer.connections[:2]:
            conn.sendall(b"x")
        for entry in list(pool._core.everything):
            if entry.link.sock.getsockname() != peer.connections[2].getpeername():
                entry.link.sock.recv(1, socket.MSG_PEEK)
        lease = pool.acquire()
        assert lease.sock.getsockname() == peer.connections[2].getpeername()
        with pytest.raises(ConnectionResetError), lease:
            raise ConnectionResetError
        assert pool.stats().closed == {CloseReason.FAILED: 1, CloseReason.STRAY_BYTES: 2}


# -- limits


def test_limits_end_a_connection(peer: Peer) -> None:
    clock = FakeClock()
    policy = Policy(clock=clock, limits=PoolLimits(idle_timeout=10, max_age=100, max_age_jitter=0))
    with SocketPool(peer.address, policy=policy) as pool:
        ask(pool)
        clock.advance(10)
        ask(pool)
        assert pool.stats().closed == {CloseReason.IDLE_TIMEOUT: 1}
        for _ in range(20):
            clock.advance(9)
            ask(pool)
        assert pool.stats().closed[CloseReason.MAX_AGE] == 1


def test_an_idle_connection_is_closed_when_its_time_is_over(peer: Peer) -> None:
    with SocketPool(peer.address, policy=Policy(limits=PoolLimits(idle_timeout=0.05))) as pool:
        ask(pool)
        until(lambda: pool.stats().closed == {CloseReason.IDLE_TIMEOUT: 1})


def test_a_one_shot_connection_is_used_once(peer: Peer) -> None:
    with SocketPool(peer.address, policy=Policy(limits=PoolLimits(max_uses=1))) as pool:
        for _ in range(3):
            ask(pool)
        assert pool.stats().closed == {CloseReason.MAX_USES: 3}
        assert pool.stats().open == 0


def test_no_more_lie_idle_than_allowed(peer: Peer) -> None:
    with SocketPool(peer.address, max_idle=1) as pool:
        leases = [pool.acquire() for _ in range(3)]
        for lease in leases:
            lease.release()
        assert pool.stats().idle == 1
        assert pool.stats().closed == {CloseReason.SURPLUS: 2}


def test_a_minimum_is_kept_warm_in_the_background(peer: Peer) -> None:
    with SocketPool(peer.address, min_idle=2) as pool:
        until(lambda: pool.stats().idle == 2)
        lease = pool.acquire()
        until(lambda: pool.stats().idle == 2)
        lease.discard()
        peer.wait_for(3)
        peer.hang_up()
        until(lambda: pool.stats().idle == 2 and len(peer.connections) >= 5)


# -- waiting


def test_one_who_waits_is_served_when_a_connection_comes_back(peer: Peer) -> None:
    with SocketPool(peer.address, maxsize=1) as pool:
        lease = pool.acquire()
        sock = lease.sock
        got: list[socket.socket] = []

        def wait() -> None:
            with pool.acquire(timeout=PATIENCE) as mine:
                got.append(mine.sock)

        waiter = threading.Thread(target=wait)
        waiter.start()
        until(lambda: pool.stats().waiting == 1)
        lease.release()
        waiter.join()
        assert got == [sock]
        assert pool.stats().waits == 1


def test_one_who_waits_opens_a_new_one_in_place_of_one_that_was_discarded(peer: Peer) -> None:
    with SocketPool(peer.address, maxsize=1) as pool:
        lease = pool.acquire()
        answers: list[bytes] = []
        waiter = threading.Thread(target=lambda: answers.append(ask(pool)))
        waiter.start()
        until(lambda: pool.stats().waiting == 1)
        lease.discard()
        waiter.join()
        assert answers == [b"hello"]
        assert pool.stats().opened == 2


def test_those_who_wait_are_served_in_the_order_they_came(peer: Peer) -> None:
    order: list[int] = []
    with SocketPool(peer.address, maxsize=1) as pool:
        lease = pool.acquire()

        def wait(number: int) -> None:
            with pool.acquire(timeout=PATIENCE):
                order.append(number)

        waiters = [threading.Thread(target=wait, args=(number,)) for number in range(6)]
        for count, waiter in enumerate(waiters, 1):
            waiter.start()
            until(lambda count=count: pool.stats().waiting == count)  # type: ignore[misc]
        lease.release()
        for waiter in waiters:
            waiter.join()
    assert order == list(range(6))


def test_a_waiter_whose_time_runs_out_as_he_is_served_keeps_what_he_got(peer: Peer) -> None:
    """The race is forced: the wait ends without the lock having been released, and he is served
    before he can ask."""
    with SocketPool(peer.address, maxsize=1) as pool:
        lease = pool.acquire()
        tell = pool._tell

        def served_first(what: Any) -> object:
            pool._tell = tell  # type: ignore[method-assign]
            served = threading.Thread(target=release_elsewhere, args=(lease,))
            served.start()
            served.join()
            return tell(what)

        pool._tell = served_first  # type: ignore[method-assign]
        with pool.acquire(timeout=0) as mine:
            assert mine.reused
        assert pool.stats().idle == 1


def release_elsewhere(lease: holdfast.Lease[socket.socket]) -> None:
    lease._owner = threading.get_ident()
    lease.release()


def test_a_waiter_that_is_interrupted_as_he_is_served_hands_on_what_he_got(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SocketPool(peer.address, maxsize=1) as pool:
        lease = pool.acquire()

        class Interrupting:
            """Waits like a lock, is served, and is then interrupted as by Ctrl-C."""

            def acquire(self, timeout: float = -1) -> bool:
                if timeout != -1:
                    release_elsewhere(lease)
                    raise KeyboardInterrupt
                return True

            def release(self) -> None:
                pass

        # Not in threading itself: the peer starts threads of its own meanwhile.
        interrupting = SimpleNamespace(**{**vars(threading), "Lock": Interrupting})
        monkeypatch.setattr("holdfast._threads.pool.threading", interrupting)
        with pytest.raises(KeyboardInterrupt):
            pool.acquire(timeout=5)
        monkeypatch.undo()
        assert pool.stats().idle == 1
        assert ask(pool) == b"hello"


# -- the end


def test_close_refuses_those_who_wait_and_closes_what_comes_back(peer: Peer) -> None:
    pool = SocketPool(peer.address, maxsize=1)
    lease = pool.acquire()
    refused: list[Exception] = []

    def wait() -> None:
        try:
            pool.acquire(timeout=PATIENCE)
        except holdfast.PoolClosedError as error:
            refused.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    until(lambda: pool.stats().waiting == 1)
    pool.close()
    waiter.join()
    assert [str(error) for error in refused] == [f"tcp://127.0.0.1:{peer.address[1]}: the pool is closed"]
    assert pool.stats().leased == 1
    lease.release()
    assert pool.stats().open == 0
    pool.close()


def test_drain_waits_for_what_is_lent(peer: Peer) -> None:
    pool = SocketPool(peer.address)
    ask(pool)
    lease = pool.acquire()
    assert pool.drain(timeout=0.01) is False
    with pytest.raises(holdfast.PoolClosedError, match="the pool drains"):
        pool.acquire()
    other = threading.Thread(target=release_elsewhere, args=(lease,))
    other.start()
    assert pool.drain(timeout=PATIENCE) is True
    other.join()
    pool.close()


def test_a_pool_that_is_dropped_closes_its_sockets_and_says_so(peer: Peer) -> None:
    pool = SocketPool(peer.address)
    ask(pool)
    [entry] = pool._core.everything
    sock = entry.link.sock
    del entry
    with pytest.warns(ResourceWarning, match=r"dropped with 1 connections open"):
        del pool
    until(lambda: sock.fileno() < 0)
    until(lambda: not any(t.name == "holdfast-watcher" for t in threading.enumerate()))


# -- wrong use


def test_a_lease_that_is_dropped_warns_with_its_place_and_its_connection_is_closed(peer: Peer) -> None:
    with SocketPool(peer.address, maxsize=1) as pool:
        line = sys._getframe().f_lineno + 2
        with pytest.warns(ResourceWarning, match=rf"test_socket_pool.py:{line}"):
            pool.acquire()
        assert ask(pool) == b"hello"
        assert pool.stats().leaked == 1
        assert pool.stats().closed == {CloseReason.LEAKED: 1}


def test_a_lease_that_is_dropped_after_good_ones_warns_with_its_own_place(peer: Peer) -> None:
    with SocketPool(peer.address, maxsize=1) as pool:
        ended = [pool.acquire()]
        for _ in range(3):
            ended[-1].release()
            ended.append(pool.acquire())
        ended.pop().release()
        line = sys._getframe().f_lineno + 2
        with pytest.warns(ResourceWarning, match=rf"test_socket_pool.py:{line}"):
            pool.acquire()
        assert pool.stats().leaked == 1
        assert ask(pool) == b"hello"
        assert pool.stats().opened == 2
        del ended


def test_a_lease_in_a_cycle_is_noticed_by_the_garbage_collector(peer: Peer) -> None:
    with SocketPool(peer.address, maxsize=1) as pool:
        with pool.acquire():
            pass
        cycle: list[object] = [pool.acquire()]
        cycle.append(cycle)
        del cycle
        with pytest.warns(ResourceWarning, match="never released"):
            gc.collect()
        assert ask(pool) == b"hello"
        assert pool.stats().leaked == 1


def test_a_pool_and_its_lease_that_are_dropped_together_warn_and_close(peer: Peer) -> None:
    lease = SocketPool(peer.address).acquire()
    sock = lease.sock
    with pytest.warns(ResourceWarning) as warned:
        del lease
    # The watcher may be faster, and then the pool has nothing left to complain about.
    assert "never released" in str(warned[0].message)
    until(lambda: sock.fileno() < 0)


def test_a_lease_that_was_dropped_serves_one_who_waits(peer: Peer) -> None:
    with SocketPool(peer.address, maxsize=1) as pool:
        leases = [pool.acquire()]
        answers: list[bytes] = []
        waiter = threading.Thread(target=lambda: answers.append(ask(pool)))
        waiter.start()
        until(lambda: pool.stats().waiting == 1)
        with pytest.warns(ResourceWarning, match="never released"):
            leases.clear()
        waiter.join(PATIENCE)
        assert answers == [b"hello"]


def test_a_lease_cannot_be_used_after_its_release(peer: Peer) -> None:
    with SocketPool(peer.address) as pool:
        lease = pool.acquire()
        lease.release()
        for use in (lease.release, lease.discard, lambda: lease.sock, lambda: lease.reused):
            with pytest.raises(holdfast.LeaseError, match=r"taken at .*test_socket_pool.py:\d+ is over"):
                use()
        assert pool.stats().idle == 1


def test_a_lease_cannot_be_used_by_another_thread(peer: Peer) -> None:
    errors: list[Exception] = []

    def use(lease: holdfast.Lease[socket.socket]) -> None:
        for action in (lambda: lease.sock, lease.release, lease.discard):
            try:
                action()
            except holdfast.LeaseError as error:
                errors.append(error)

    with SocketPool(peer.address) as pool, pool.acquire() as lease:
        other = threading.Thread(target=use, args=(lease,), name="thief")
        other.start()
        other.join()
        assert len(errors) == 3
        assert "belongs to thread 'MainThread'" in str(errors[0])
        assert "in thread 'thief'" in str(errors[0])


def test_a_closed_pool_lends_nothing(peer: Peer) -> None:
    pool = SocketPool(peer.address)
    ask(pool)
    pool.close()
    with pytest.raises(holdfast.PoolClosedError, match="the pool is closed"):
        pool.acquire()


@pytest.mark.parametrize("timeout", [-1, -0.001, float("nan"), "1", True])
def test_a_timeout_that_makes_no_sense_is_refused(peer: Peer, timeout: Any) -> None:
    with SocketPool(peer.address) as pool:
        with pytest.raises(holdfast.PolicyError, match=r"timeout=.*0 or more"):
            pool.acquire(timeout=timeout)
        with pytest.raises(holdfast.PolicyError, match=r"timeout=.*0 or more"):
            pool.drain(timeout=timeout)


def test_one_whose_time_runs_out_is_told_the_numbers(peer: Peer) -> None:
    with SocketPool(peer.address, maxsize=2) as pool, pool.acquire(), pool.acquire():
        with pytest.raises(
            holdfast.AcquireTimeoutError,
            match=r"within 0.01 s. Of maxsize=2, 2 are leased, 0 opening, 0 idle, 0 being checked; 0 others wait",
        ):
            pool.acquire(timeout=0.01)
        with pytest.raises(TimeoutError):
            pool.acquire(timeout=0)


def test_one_too_many_who_wait_is_refused_at_once(peer: Peer) -> None:
    with SocketPool(peer.address, maxsize=1, max_waiting=0) as pool, pool.acquire():
        with pytest.raises(holdfast.TooManyWaitingError, match="max_waiting=0 wait already"):
            pool.acquire()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"maxsize": 0}, "maxsize=0: must be a whole number, 1 or more"),
        ({"maxsize": 2, "min_idle": 3}, "min_idle=3: must not be above 2"),
        ({"max_idle": -1}, "max_idle=-1"),
        ({"max_waiting": 1.5}, "max_waiting=1.5"),
        ({"policy": "none"}, "policy='none'"),
        ({"timeout": -1}, "timeout=-1"),
        ({"connect_timeout": 0}, "connect_timeout=0"),
        ({"acquire_timeout": -1}, "acquire_timeout=-1"),
        ({"on_connect": 1}, "on_connect=1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(holdfast.PolicyError, match=message):
        SocketPool(("127.0.0.1", 1), **settings)


@pytest.mark.parametrize("address", [("127.0.0.1", 0), ("h", "80"), ("h",), 7, ("h", 70_000)])
def test_an_address_that_is_none_is_refused(address: Any) -> None:
    with pytest.raises(holdfast.PolicyError, match="address="):
        SocketPool(address)


# -- opening


def test_a_name_that_resolves_to_nothing_says_so() -> None:
    with SocketPool(("no-such-host.invalid", 80)) as pool:
        with pytest.raises(holdfast.ConnectError, match=r"'no-such-host.invalid' \(port 80\) resolves to no"):
            pool.acquire(timeout=5)
        assert pool.stats().open == 0


def test_all_addresses_of_a_name_are_tried(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    host, port = peer.address
    with socket.create_server(("127.0.0.2", 0)) as closed:
        dead = closed.getsockname()
    tried: list[Any] = []
    resolve(monkeypatch, [("127.0.0.2", dead[1]), (host, port)], tried)
    with SocketPool(("service", port)) as pool:
        first, second = pool.acquire(), pool.acquire()
        for lease in (first, second):
            assert lease.sock.getpeername() == (host, port)
            lease.release()
        assert len(tried) == 2, "resolved again for each connection"


def resolve(monkeypatch: pytest.MonkeyPatch, addresses: list[Any], asked: list[Any]) -> None:
    def getaddrinfo(*args: Any, **kwargs: Any) -> list[Any]:
        asked.append(args)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_an_address_that_refuses_is_left_alone_for_a_moment() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = closed.getsockname()
    with SocketPool(address) as pool:
        with pytest.raises(holdfast.ConnectError, match="none of 1 addresses could be connected to") as first:
            pool.acquire(timeout=5)
        assert isinstance(first.value.errors[0], ConnectionRefusedError)
        assert isinstance(first.value.__cause__, ConnectionRefusedError)
        with pytest.raises(holdfast.ConnectError, match=r"the next try is in 0.\d\d s, and 0.00 s are left"):
            pool.acquire(timeout=0)
        assert pool.stats().open == 0


def test_closing_wakes_those_who_are_patient_with_an_address() -> None:
    refusing = threading.Event()

    def refuse(address: Any, timeout: float | None) -> socket.socket:
        refusing.set()
        raise ConnectionRefusedError

    pool = SocketPool(("127.0.0.1", 9), connect=refuse, min_idle=1)
    assert refusing.wait(PATIENCE)
    for _ in range(3):
        with contextlib.suppress(holdfast.ConnectError):
            pool.acquire(timeout=PATIENCE)
    begun = time.monotonic()
    pool.close()
    assert time.monotonic() - begun < 1
    until(lambda: not any(t.name == "holdfast-worker" for t in threading.enumerate()))


def test_an_impatient_caller_does_not_count_against_an_address(peer: Peer) -> None:
    def slow(address: Any, timeout: float | None) -> socket.socket:
        if timeout is not None and timeout < 1:
            raise TimeoutError
        return socket.create_connection(address, timeout)

    with SocketPool(peer.address, connect=slow) as pool:
        with pytest.raises(holdfast.ConnectError):
            pool.acquire(timeout=0.01)
        begun = time.monotonic()
        assert ask(pool) == b"hello"
        assert time.monotonic() - begun < 0.05


def test_a_server_that_is_back_is_found_again(peer: Peer) -> None:
    refused = [True]

    def connect(address: Any, timeout: float | None) -> socket.socket:
        if refused:
            refused.clear()
            raise ConnectionRefusedError
        return socket.create_connection(address, timeout)

    with SocketPool(peer.address, connect=connect) as pool:
        with pytest.raises(holdfast.ConnectError):
            pool.acquire(timeout=5)
        assert ask(pool) == b"hello"


def test_used_up_ports_are_explained() -> None:
    def connect(address: Any, timeout: float | None) -> socket.socket:
        raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")

    with SocketPool(("127.0.0.1", 9), connect=connect) as pool:
        with pytest.raises(holdfast.PortsExhaustedError, match=r"no local port is left .*TIME_WAIT for 60 s"):
            pool.acquire(timeout=5)


def test_the_login_is_done_once_and_the_reset_after_each_use(peer: Peer) -> None:
    done: list[str] = []
    with SocketPool(
        peer.address,
        on_connect=lambda sock: done.append("login"),
        on_release=lambda sock: done.append("reset"),
    ) as pool:
        ask(pool)
        ask(pool)
    assert done == ["login", "reset", "reset"]


def test_a_login_that_fails_comes_out_of_acquire(peer: Peer) -> None:
    class WrongError(Exception):
        pass

    def login(sock: socket.socket) -> None:
        raise WrongError("password")

    with SocketPool(peer.address, on_connect=login) as pool:
        with pytest.raises(WrongError, match="password"):
            pool.acquire()
        assert pool.stats().open == 0


def test_a_reset_that_fails_discards_the_connection(peer: Peer) -> None:
    def wrong(sock: socket.socket) -> None:
        raise ValueError

    with SocketPool(peer.address, on_release=wrong) as pool:
        assert ask(pool) == b"hello"
        assert pool.stats().closed == {CloseReason.FAILED: 1}


def test_keepalive_is_set(peer: Peer) -> None:
    with SocketPool(peer.address) as pool, pool.acquire() as lease:
        assert lease.sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_a_unix_socket_has_a_path(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with Peer(family=socket.AF_UNIX, address=str(path)), SocketPool(path) as pool:
        assert ask(pool) == b"hello"
        assert pool.name == f"unix:{path}"


def test_a_listener_hears_of_both_ends(peer: Peer) -> None:
    heard: list[Event] = []
    with SocketPool(peer.address, policy=Policy(listener=heard.append)) as pool:
        ask(pool)
    assert [type(event) for event in heard] == [ConnectionOpened, ConnectionClosed]
    closed = heard[1]
    assert isinstance(closed, ConnectionClosed)
    assert (closed.reason, closed.uses) == (CloseReason.CLOSED_LOCALLY, 1)


def test_a_listener_that_raises_does_no_harm(peer: Peer, caplog: pytest.LogCaptureFixture) -> None:
    def wrong(event: Event) -> None:
        raise ValueError

    with SocketPool(peer.address, policy=Policy(listener=wrong)) as pool:
        assert ask(pool) == b"hello"
    assert "a listener raised" in caplog.text


# -- over TLS


def test_tls_tickets_do_no_harm_and_the_end_is_seen(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    def serve(conn: socket.socket) -> None:
        with server_tls.wrap_socket(conn, server_side=True) as tls:
            echo(tls)

    with Peer(serve) as peer:
        with SocketPool(peer.address, ssl_context=client_tls, server_hostname="localhost") as pool:
            with pool.acquire() as lease:
                assert isinstance(lease.sock, ssl.SSLSocket)
            assert [ask(pool) for _ in range(3)] == [b"hello"] * 3
            assert pool.stats().opened == 1


def test_a_certificate_that_is_wrong_is_refused(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    def serve(conn: socket.socket) -> None:
        with contextlib.suppress(OSError), server_tls.wrap_socket(conn, server_side=True) as tls:
            echo(tls)

    with Peer(serve) as peer:
        with SocketPool(peer.address, ssl_context=client_tls, server_hostname="elsewhere") as pool:
            with pytest.raises(holdfast.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                pool.acquire(timeout=5)


# -- fork


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_starts_clean_and_the_parents_connections_go_on(peer: Peer) -> None:
    with SocketPool(peer.address) as pool:
        leased = pool.acquire()
        sock = leased.sock
        assert ask(pool) == b"hello"
        child = os.fork()
        if child == 0:
            os._exit(_child(pool, leased))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert ask(pool) == b"hello"
        sock.sendall(b"still mine")
        assert sock.recv(100) == b"still mine"
        leased.release()
        assert pool.stats().closed == {}
        assert pool.stats().idle == 2


def _child(pool: SocketPool, leased: holdfast.Lease[socket.socket]) -> int:
    try:
        assert pool.stats().open == 0
        assert threading.active_count() == 1
        try:
            leased.sock.sendall(b"stolen")
        except holdfast.LeaseError as error:
            assert "belongs to the parent process" in str(error)
        leased.release()
        assert ask(pool) == b"hello"
        assert pool.stats().opened == 1 + 2
        pool.close()
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_sends_nothing_on_the_parents_tls_connections(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    def serve(conn: socket.socket) -> None:
        with server_tls.wrap_socket(conn, server_side=True) as tls:
            echo(tls)

    with Peer(serve) as peer:
        with SocketPool(peer.address, ssl_context=client_tls, server_hostname="localhost") as pool:
            assert ask(pool) == b"hello"
            child = os.fork()
            if child == 0:
                pool.close()
                os._exit(0)
            os.waitpid(child, 0)
            assert ask(pool) == b"hello"
            assert pool.stats().opened == 1
