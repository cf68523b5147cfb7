"""A firewall that forgets flows which are silent, and hosts that vanish: what heartbeats and keepalive
are for. On both ends.
"""

from __future__ import annotations

import itertools
import queue
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from firewall import Firewall, close_without_a_word, recorded, why_no_firewall
from on_the_wire import demand

from holdfast import CloseReason, Heartbeat, Policy, SocketPool, TcpKeepalive
from holdfast.adapters.sockets import Gone, Guard, Lines
from holdfast.events import ConnectionClosed, Event

pytestmark = pytest.mark.wire

MEMORY = 2
"""Seconds of silence after which the firewall forgets."""
SILENCE = 3.5
PATIENCE = 20.0
SLACK = 0.5
"""Seconds that a busy machine may add to a time that is promised."""

PING = b"PING\n"
HEARTBEAT = Heartbeat(send=PING, expect=PING, interval=1, timeout=0.5)
KEEPALIVE = TcpKeepalive(idle=1, interval=1, count=3)


@pytest.fixture(scope="module", autouse=True)
def _possible() -> None:
    demand(why_no_firewall())


@pytest.fixture
def wall() -> Iterator[Firewall]:
    with Firewall(memory=MEMORY) as wall, wall.client():
        yield wall


class Closes(queue.Queue[tuple[CloseReason, float]]):
    """A listener: reasons, and when."""

    def __call__(self, event: Event) -> None:
        if isinstance(event, ConnectionClosed):
            self.put((event.reason, time.monotonic()))


@contextmanager
def pooled(wall: Firewall, **policy: Any) -> Iterator[SocketPool]:
    policy = {"keepalive": None, **policy}
    with SocketPool(wall.address, policy=Policy(**policy), timeout=1.5) as pool:
        yield pool


def use(pool: SocketPool) -> bool:
    """Whether the connection was used before."""
    with pool.acquire() as lease:
        lease.sock.sendall(b"hello\n")
        assert lease.sock.recv(100) == b"hello\n"
        return lease.reused


# -- a firewall that forgets


def test_what_the_firewall_forgot_looks_alive_and_its_next_use_hangs(wall: Firewall) -> None:
    with pooled(wall) as pool:
        use(pool)
        time.sleep(SILENCE)
        with pytest.raises(TimeoutError):
            use(pool)
        assert use(pool) is False


def test_a_heartbeat_keeps_the_flow_known(wall: Firewall) -> None:
    with pooled(wall, heartbeat=HEARTBEAT) as pool:
        use(pool)
        time.sleep(SILENCE)
        assert use(pool) is True


def test_keepalive_keeps_the_flow_known(wall: Firewall) -> None:
    with pooled(wall, keepalive=KEEPALIVE) as pool:
        use(pool)
        time.sleep(SILENCE)
        assert use(pool) is True


def test_the_silence_between_uses_is_what_counts_not_the_age(wall: Firewall) -> None:
    with pooled(wall) as pool:
        for _ in range(4):
            use(pool)
            time.sleep(MEMORY * 0.6)
        assert pool.stats().opened == 1


def test_a_firewall_that_lost_its_table_is_found_out_by_a_heartbeat_before_anybody_is_lent_it(
    wall: Firewall,
) -> None:
    closes = Closes()
    with pooled(wall, heartbeat=HEARTBEAT, listener=closes) as pool:
        use(pool)
        wall.forget()
        lost = time.monotonic()
        reason, when = closes.get(timeout=PATIENCE)
        assert reason is CloseReason.HEARTBEAT_MISSED
        assert when - lost < HEARTBEAT.interval + HEARTBEAT.timeout + SLACK
        assert use(pool) is False


def test_a_firewall_that_lost_its_table_is_found_out_by_keepalive(wall: Firewall) -> None:
    closes = Closes()
    keepalive = TcpKeepalive(idle=1, interval=1, count=2, user_timeout=None)
    with pooled(wall, keepalive=keepalive, listener=closes) as pool:
        use(pool)
        wall.forget()
        lost = time.monotonic()
        reason, when = closes.get(timeout=PATIENCE)
        assert reason is CloseReason.PEER_RESET
        assert when - lost < 1 + 2 * 1 + SLACK
        assert use(pool) is False


@pytest.mark.parametrize("misses", [0, 1])
def test_a_peer_that_vanished_is_found_within_the_time_that_is_promised(wall: Firewall, misses: int) -> None:
    heartbeat = Heartbeat(send=PING, expect=PING, interval=0.8, timeout=0.4, misses=misses, jitter=0)
    closes = Closes()
    with pooled(wall, heartbeat=heartbeat, listener=closes) as pool:
        use(pool)
        wall.cut()
        gone = time.monotonic()
        reason, when = closes.get(timeout=PATIENCE)
        assert reason is CloseReason.HEARTBEAT_MISSED
        promised = heartbeat.interval * (misses + 1) + heartbeat.timeout
        assert promised - 0.1 < when - gone < promised + SLACK


# -- keepalive as it is on the wire


def gaps(times: list[float]) -> list[float]:
    return [later - earlier for earlier, later in itertools.pairwise(times)]


def test_keepalive_settings_are_seen_on_the_wire() -> None:
    """After 2 s of silence a probe, if it is answered the next after 2 s; unanswered, after 1 s, twice."""
    closes = Closes()
    keepalive = TcpKeepalive(idle=2, interval=1, count=2, user_timeout=None)
    with (
        Firewall(memory=3600) as wall,
        wall.client(),
        pooled(wall, keepalive=keepalive, listener=closes) as pool,
    ):
        use(pool)
        with recorded(5) as answered:
            pass
        wall.cut()
        with recorded(4.5) as unanswered:
            pass
        reason, _ = closes.get(timeout=PATIENCE)
    assert reason is CloseReason.PEER_RESET
    # Probes repeat the byte before the next one, and carry nothing.
    assert len({segment.sequence for segment in answered}) == 1
    assert [segment.size for segment in answered] == [0] * 2
    assert gaps([segment.when for segment in answered]) == pytest.approx([2], abs=0.2)
    probes = [segment.when for segment in unanswered if segment.sequence == answered[0].sequence]
    assert gaps(probes) == pytest.approx([1], abs=0.2)
    assert len(unanswered) - len(probes) <= 1, "a last word (RST), and nothing else"


def test_without_keepalive_nothing_is_on_the_wire(wall: Firewall) -> None:
    with pooled(wall) as pool:
        use(pool)
        time.sleep(0.1)
        with recorded(3) as segments:
            pass
    assert segments == []


# -- the other end

GUARD: dict[str, Any] = {"interval": 0.8, "timeout": 0.4, "misses": 1}
PROMISED = 0.8 * 2 + 0.4
CLIENT = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as sock:
    print("here", flush=True)
    for line in sock.makefile("rb"):
        if line == b"PING\\n":
            sock.sendall(b"PONG\\n")
"""


class Guarded:
    """A server that guards its clients, behind a firewall with a long memory."""

    def __init__(self, **settings: Any) -> None:
        self.dead: queue.Queue[tuple[Gone, float]] = queue.Queue()
        self.guard = Guard(on_dead=self._on_dead, **{**GUARD, **settings})
        self.wall = Firewall(memory=3600, handler=self._serve)

    def _on_dead(self, sock: socket.socket, reason: Gone) -> None:
        self.dead.put((reason, time.monotonic()))

    def _serve(self, conn: socket.socket) -> None:
        with self.guard.accept(conn) as client:
            while data := client.recv(4096):
                client.sendall(data)

    def wait_for_a_client(self) -> None:
        ends = time.monotonic() + PATIENCE
        while self.guard.stats().clients == 0:
            assert time.monotonic() < ends
            time.sleep(0.01)


@contextmanager
def guarded(**settings: Any) -> Iterator[Guarded]:
    server = Guarded(**settings)
    with server.wall, server.wall.client():
        yield server
        server.guard.close()


def found_within(server: Guarded, since: float, promised: float) -> Gone:
    reason, when = server.dead.get(timeout=PATIENCE)
    assert when - since < promised + SLACK
    assert server.dead.empty()
    return reason


@contextmanager
def client_process(server: Guarded) -> Iterator[subprocess.Popen[str]]:
    """It answers as long as it runs."""
    host, port = server.wall.address
    command = [sys.executable, "-c", CLIENT, host, str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "here\n"
            server.wait_for_a_client()
            yield process
        finally:
            process.kill()


PINGING: dict[str, Any] = {"ping": b"PING", "pong": b"PONG", "framing": Lines(b"\n")}


def test_a_client_that_answers_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    with guarded(**PINGING) as server, client_process(server):
        time.sleep(PROMISED * 2)
        assert server.guard.stats().clients == 1
        assert server.guard.stats().asked >= 3
        assert server.dead.empty()


def freeze(server: Guarded, process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGSTOP)


def unplug(server: Guarded, process: subprocess.Popen[str]) -> None:
    server.wall.unplug()


def cut(server: Guarded, process: subprocess.Popen[str]) -> None:
    server.wall.cut()


@pytest.mark.parametrize("vanish", [freeze, unplug, cut], ids=lambda vanish: vanish.__name__)
def test_a_client_that_vanishes_is_found_in_time(
    vanish: Callable[[Guarded, subprocess.Popen[str]], None],
) -> None:
    with guarded(**PINGING) as server, client_process(server) as process:
        time.sleep(0.3)
        vanish(server, process)
        reason = found_within(server, time.monotonic(), PROMISED)
        assert reason in (Gone.SILENT, Gone.VANISHED)
        assert server.guard.stats().clients == 0


def test_a_client_that_lost_power_and_came_back_resets_the_next_ping() -> None:
    with guarded(**PINGING) as server:
        sock = socket.create_connection(server.wall.address)
        server.wait_for_a_client()
        close_without_a_word(sock)
        assert found_within(server, time.monotonic(), GUARD["interval"]) is Gone.RESET


def test_without_pings_keepalive_finds_a_host_that_vanished() -> None:
    keepalive = TcpKeepalive(idle=1, interval=1, count=2, user_timeout=None)
    with guarded(interval=60, keepalive=keepalive) as server:
        with socket.create_connection(server.wall.address):
            server.wait_for_a_client()
            server.wall.cut()
            assert found_within(server, time.monotonic(), 1 + 1 * 2) is Gone.VANISHED


def test_writes_to_a_client_that_vanished_end_in_one_quiet_event() -> None:
    """A broadcast goes on: what it cannot deliver is counted, and raises nothing."""
    with guarded(interval=0.4, timeout=0.2, misses=0, ping=b"PING", framing=Lines(b"\n")) as server:
        with socket.create_connection(server.wall.address):
            server.wait_for_a_client()
            client = next(iter(server.guard._clients))
            server.wall.cut()
            assert client.sendall(b"into the void\n") is True
            found_within(server, time.monotonic(), 0.6)
            assert [client.sendall(b"news\n") for _ in range(3)] == [False] * 3
            assert server.guard.stats().dropped_writes == 3
