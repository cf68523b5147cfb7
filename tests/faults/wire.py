"""The lab: two namespaces, the wire between them, and the adversary at its far end.

with Lab(delay=0.015) as lab, lab.client():
    urllib3.PoolManager().request("GET", lab.url(Path.PLAIN, Sky.CLEAR, "/any/1"))
"""

from __future__ import annotations

import os
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any

import trustme
from cases import CLIENT, PROXY_ORIGIN, SERVER, Path, Sky, port
from child import Child
from namespaces import inside, new_namespace, new_tun
from pump import Weather
from typing_extensions import Self

__all__ = ["Lab", "Ledger", "percentile"]

LOSS = 0.05
REORDER = 0.2
_ECHO_REQUEST = struct.pack("!BBHHH", 8, 0, 0xFFFF - 0x0800, 0, 0)
"""Type, code, checksum, and zeros."""
_ICMP_TYPE, _ECHO_REPLY = 20, 0


@dataclass(frozen=True)
class Ledger:
    """What the server executed so far."""

    executions: Counter[int]
    """By the number of the request."""
    by_port: Counter[tuple[int, int]]
    """The same, by the client's port as well."""
    acts: dict[int, float]
    """By the number of the trial: when the server had done what it does at T."""


class Lab:
    """``delay``: seconds, one way. Everything else follows from ``seed``."""

    def __init__(self, *, delay: float, seed: int = 0) -> None:
        self.delay = delay
        self.seed = seed
        self._authority = trustme.CA()
        self._stack = ExitStack()
        self._last_number = 0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.client_namespace = _held(stack, new_namespace())
            self.server_namespace = server_namespace = _held(stack, new_namespace())
            self._pump = self._start_pump(stack, server_namespace)
            self._server = _started(
                stack,
                Child(
                    "adversary.py",
                    {"namespace": server_namespace, "pem": self._server_pem(), "delay": self.delay},
                    [server_namespace],
                ),
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _start_pump(self, stack: ExitStack, server_namespace: int) -> Child:
        ends = [
            new_tun(self.client_namespace, "wire0", CLIENT),
            new_tun(server_namespace, "wire0", SERVER),
        ]
        try:
            weathers = {port(path, sky): asdict(self._weather(sky)) for path in Path for sky in Sky}
            config = {"client": ends[0], "server": ends[1], "weathers": weathers}
            pump = Child("pump.py", {**config, "delay": self.delay, "seed": self.seed}, ends)
        finally:
            for end in ends:  # the pump has its own; without it there is no wire
                os.close(end)
        return _started(stack, pump)

    def _weather(self, sky: Sky) -> Weather:
        return Weather(
            self.delay,
            loss=LOSS if sky is Sky.LOSS else 0.0,
            reorder=REORDER if sky is Sky.REORDER else 0.0,
        )

    def _server_pem(self) -> str:
        pair = self._authority.issue_cert(SERVER, PROXY_ORIGIN)
        return pair.private_key_and_cert_chain_pem.bytes().decode()

    # -- the client's side

    @contextmanager
    def client(self) -> Iterator[None]:
        """This thread, and those that it starts, are on the client's side of the wire."""
        with inside(self.client_namespace):
            yield

    @property
    def ca(self) -> str:
        return self._authority.cert_pem.bytes().decode()

    def numbers(self, count: int) -> range:
        """So many that no request of this lab has had."""
        first = self._last_number + 1
        self._last_number += count
        return range(first, first + count)

    def client_context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cadata=self.ca)

    # -- the server's side

    @contextmanager
    def server(self) -> Iterator[None]:
        """This thread, and what it starts, are at the far end of the wire."""
        with inside(self.server_namespace):
            yield

    def ledger(self) -> Ledger:
        told = self._server.ask(order="ledger")
        return Ledger(
            executions=Counter(number for number, _, _ in told["executed"]),
            by_port=Counter((number, client_port) for number, client_port, _ in told["executed"]),
            acts=dict(told["acts"]),
        )

    def take_down(self, path: Path, sky: Sky, seconds: float) -> None:
        """Its listener is closed and so is every connection; after that it comes back."""
        self._server.ask(order="down", port=port(path, sky), seconds=seconds)

    # -- the wire

    def wire_report(self) -> dict[str, Any]:
        """Counts of packets, and how late they went out (seconds after they were due)."""
        told = self._pump.ask()
        late = sorted((int(steps) * told["step"], count) for steps, count in told["lateness"].items())
        return {
            **told["counts"],
            **{f"late p{share:g}": _weighted(late, share / 100) for share in (50, 99, 99.9, 100)},
        }

    @contextmanager
    def detour(self, seconds: float) -> Iterator[None]:
        """Meanwhile the wire is longer, so many seconds one way."""
        self._pump.ask(detour=seconds)
        yield
        self._pump.ask(detour=0.0)

    @contextmanager
    def firewall(self, seconds: float, *, tells: bool = False) -> Iterator[None]:
        """Meanwhile a firewall on the way forgets what was silent for so long, and then drops or refuses it."""
        self._pump.ask(firewall=(seconds, tells))
        yield
        self._pump.ask(firewall=(1e9, False))

    def connections_tried(self, path: Path, sky: Sky) -> int:
        """SYNs that were sent to this port so far."""
        tried: int = self.wire_report().get(f"SYN {port(path, sky)}", 0)
        return tried

    @contextmanager
    def measured_round_trips(self, every: float = 0.05) -> Iterator[list[float]]:
        """Meanwhile the other side's kernel is pinged; it answers without any of our processes."""
        trips: list[float] = []
        over = threading.Event()
        with inside(self.client_namespace):
            ping = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        with ping:
            ping.settimeout(1.0)
            thread = threading.Thread(target=_ping, args=(ping, trips, over, every))
            thread.start()
            try:
                yield trips
            finally:
                over.set()
                thread.join()


def _held(stack: ExitStack, descriptor: int) -> int:
    stack.callback(os.close, descriptor)
    return descriptor


def _started(stack: ExitStack, child: Child) -> Child:
    stack.callback(child.stop)
    assert child.hear() == "ready"
    return child


def _ping(ping: socket.socket, trips: list[float], over: threading.Event, every: float) -> None:
    while not over.wait(every):
        started = time.monotonic()
        ping.sendto(_ECHO_REQUEST, (SERVER, 0))
        with suppress(TimeoutError):
            while ping.recv(2048)[_ICMP_TYPE] != _ECHO_REPLY:
                pass
            trips.append(time.monotonic() - started)


def percentile(values: list[float], share: float) -> float:
    """``share`` from 0 to 1; 0 if there are no values."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else 0.0


def _weighted(counts: list[tuple[float, int]], share: float) -> float:
    left = share * sum(count for _, count in counts)
    for value, count in counts:
        left -= count
        if left <= 0:
            return value
    return 0.0
