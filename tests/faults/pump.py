"""The wire itself: a process that carries every packet from one TUN device to the other.

It delays all of them, and loses or reorders some, by the weather of the server's port; it is a
process of its own so that no client's or server's interpreter lock disturbs its timing. It can also
play the middlebox that forges a FIN.
"""

from __future__ import annotations

import heapq
import json
import math
import os
import random
import select
import struct
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

from child import answer, configuration

__all__ = ["FORGE_MARK", "Weather"]

FORGE_MARK = b"/forge/"
"""A request with this in its first segment gets a forged FIN behind it, the first time."""

_TCP = 6
_FIN, _SYN, _RST, _ACK = 0x01, 0x02, 0x04, 0x10
_BATCH = 64
_LONGEST_LIFE = 3600.0
_LATENESS_STEP = 0.0001


@dataclass(frozen=True)
class Weather:
    """What becomes of packets. ``delay``: seconds, one way."""

    delay: float
    loss: float = 0.0
    """The probability that a packet is lost."""
    reorder: float = 0.0
    """The probability that a packet is held back, by up to a delay more, while later ones pass."""


@dataclass(frozen=True)
class Segment:
    """The fields of a TCP segment that matter to a middlebox."""

    source: bytes
    target: bytes
    source_port: int
    target_port: int
    sequence: int
    acknowledged: int

    @classmethod
    def of(cls, packet: bytes) -> Segment:
        ports = struct.unpack_from("!HHII", packet, 20)
        return cls(packet[12:16], packet[16:20], *ports)

    def forged_answer(self, flags: int) -> bytes:
        """What its receiver might have sent, just before this segment reached it."""
        tcp = struct.pack(
            "!HHIIBBHHH",
            self.target_port,
            self.source_port,
            self.acknowledged,
            self.sequence,
            5 << 4,
            flags,
            65535,
            0,
            0,
        )
        pseudo = self.target + self.source + struct.pack("!BBH", 0, _TCP, len(tcp))
        tcp = tcp[:16] + _checksum(pseudo + tcp) + tcp[18:]
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0x4000, 64, _TCP, 0)
        ip += self.target + self.source
        return ip[:10] + _checksum(ip) + ip[12:] + tcp


@dataclass
class Pump:
    """Two descriptors and what lies between them."""

    client: int
    server: int
    weathers: dict[int, Weather]
    fair: Weather
    """For the ports that have no weather, and for what is not TCP."""
    chance: random.Random
    detour: float = 0.0
    """Seconds that every packet takes longer."""
    forgets: float = math.inf
    """Seconds of silence after which a firewall on the way has forgotten a connection."""
    tells: bool = False
    """It refuses what it does not know (RST); otherwise it says nothing."""
    latest: dict[tuple[bytes, bytes], float] = field(default_factory=dict)
    """When a packet of a connection last passed."""
    held: list[tuple[float, int, int, bytes]] = field(default_factory=list)
    """A heap: when it is due, its number, whereto, the packet."""
    forged: set[bytes] = field(default_factory=set)
    """Requests behind which a FIN was forged. Only once each: their repeats go through."""
    cut_off: set[tuple[bytes, bytes]] = field(default_factory=set)
    """Connections (the client's port, the server's) that the middlebox has given up."""
    counts: Counter[str] = field(default_factory=Counter)
    lateness: Counter[int] = field(default_factory=Counter)
    """Packets that went out this many steps of 0.1 ms after they were due."""

    def run(self) -> None:
        ends = time.monotonic() + _LONGEST_LIFE
        while time.monotonic() < ends:
            wait = max(0.0, self.held[0][0] - time.monotonic()) if self.held else 1.0
            # Not epoll: it rounds up to milliseconds.
            readable, _, _ = select.select([self.client, self.server, sys.stdin], [], [], wait)
            if sys.stdin in readable and not self._obey():
                return
            for descriptor in (self.client, self.server):
                if descriptor in readable:
                    self._take_from(descriptor)
            self._deliver_what_is_due()

    def _obey(self) -> bool:
        """One order of the parent; False if it has left."""
        line = sys.stdin.readline()
        if not line:
            return False
        order = json.loads(line)
        self.detour = order.get("detour", self.detour)
        self.forgets, self.tells = order.get("firewall", (self.forgets, self.tells))
        answer({"counts": self.counts, "lateness": self.lateness, "step": _LATENESS_STEP})
        return True

    def _take_from(self, source: int) -> None:
        for _ in range(_BATCH):
            try:
                packet = os.read(source, 65536)
            except BlockingIOError:
                return
            if packet[0] >> 4 == 4:  # the kernel tries IPv6 on its own
                self._take(source, packet)

    def _take(self, source: int, packet: bytes) -> None:
        outward = source == self.client
        weather = self.fair
        if packet[9] == _TCP:
            client_port, server_port = packet[20:22], packet[22:24]
            if not outward:
                client_port, server_port = server_port, client_port
            if (client_port, server_port) in self.cut_off and not packet[33] & _SYN:
                self._refuse(packet, outward=outward)
                return
            if self._has_forgotten((client_port, server_port), packet):
                if self.tells:
                    self._refuse(packet, outward=outward)
                return
            weather = self.weathers.get(int.from_bytes(server_port, "big"), weather)
            if outward:
                self._watch(packet, (client_port, server_port))
        self.counts["packets"] += 1
        if weather.loss and self.chance.random() < weather.loss:
            self.counts["lost"] += 1
            return
        delay = weather.delay
        if weather.reorder and self.chance.random() < weather.reorder:
            self.counts["held back"] += 1
            delay += weather.delay * self.chance.uniform(0.1, 1.0)
        self._hold(packet, self.server if outward else self.client, delay)

    def _hold(self, packet: bytes, target: int, delay: float) -> None:
        heapq.heappush(
            self.held, (time.monotonic() + delay + self.detour, self.counts["packets"], target, packet)
        )

    def _deliver_what_is_due(self) -> None:
        while self.held and self.held[0][0] <= time.monotonic():
            due, _, target, packet = heapq.heappop(self.held)
            with suppress(BlockingIOError):  # a full queue loses packets; that is what queues do
                os.write(target, packet)
            self.lateness[int((time.monotonic() - due) / _LATENESS_STEP)] += 1

    # -- the middlebox

    def _has_forgotten(self, flow: tuple[bytes, bytes], packet: bytes) -> bool:
        now = time.monotonic()
        if not packet[33] & _SYN and now - self.latest.get(flow, now) > self.forgets:
            return True
        self.latest[flow] = now
        return False

    def _watch(self, packet: bytes, flow: tuple[bytes, bytes]) -> None:
        if FORGE_MARK in packet:
            number = packet.partition(FORGE_MARK)[2].partition(b" ")[0]
            if number not in self.forged:
                self.forged.add(number)
                self._forge(packet, flow)
        elif packet[33] & _SYN:
            self.cut_off.discard(flow)  # ports come round again
            self.counts[f"SYN {int.from_bytes(flow[1], 'big')}"] += 1

    def _forge(self, packet: bytes, flow: tuple[bytes, bytes]) -> None:
        """The request goes through to the server. Behind its back the client is told that the server
        has hung up without having seen it, and from then on the two do not hear of each other."""
        self.cut_off.add(flow)
        self._hold(Segment.of(packet).forged_answer(_FIN | _ACK), self.client, self.fair.delay)

    def _refuse(self, packet: bytes, *, outward: bool) -> None:
        if outward and not packet[33] & _RST:
            self._hold(Segment.of(packet).forged_answer(_RST | _ACK), self.client, self.fair.delay)


def _checksum(data: bytes) -> bytes:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~total & 0xFFFF)


def main() -> None:
    config = configuration()
    with suppress(PermissionError):
        os.nice(-10)  # a wire does not wait for its users
    weathers = {int(port): Weather(**weather) for port, weather in config["weathers"].items()}
    pump = Pump(
        config["client"],
        config["server"],
        weathers,
        Weather(config["delay"]),
        random.Random(config["seed"]),
    )
    answer("ready")
    pump.run()


if __name__ == "__main__":
    main()
