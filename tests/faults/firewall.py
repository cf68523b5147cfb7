"""Three hosts in a row, as namespaces: a client, a router that is a stateful firewall, a server.

    with Firewall(memory=2) as wall, wall.client():
        socket.create_connection(wall.address)

The firewall lets new connections through and packets of those it remembers; it drops the rest in
silence. What is quiet for ``memory`` seconds it forgets.
"""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from namespaces import inside, new_namespace
from typing_extensions import Self

__all__ = ["Firewall", "Segment", "close_without_a_word", "echo", "recorded", "why_no_firewall"]

CLIENT, SERVER = "10.78.1.2", "10.78.2.2"
PORT = 7000
_COMMANDS = {"ip": "iproute2", "nft": "nftables", "conntrack": "conntrack"}
_RULES = """
table inet wall {
    chain forward {
        type filter hook forward priority 0; policy drop;
        ct state established accept
        tcp flags & (fin|syn|rst|ack) == syn ct state new accept
    }
}
"""
_ETH_P_ALL, _ETH_P_IP, _PROTOCOL_TCP = 0x0003, 0x0800, 6
_TCP_REPAIR = 19

Handler = Callable[[socket.socket], None]


def why_no_firewall() -> str | None:
    """Why there can be none on this machine; None if there can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "a firewall needs Linux and root (network namespaces)"
    for command, package in _COMMANDS.items():
        if shutil.which(command, path=_path()) is None:
            return f"{command} is not installed (package {package}; .ci/install_servers does it)"
    try:
        with Firewall(memory=1):
            return None
    except (OSError, subprocess.CalledProcessError) as error:
        return f"a firewall needs network namespaces and nf_tables, and here: {error}"


def echo(conn: socket.socket) -> None:
    while data := conn.recv(4096):
        conn.sendall(data)


class Firewall:
    def __init__(self, *, memory: int, handler: Handler = echo) -> None:
        self._memory = memory
        self._handler = handler
        self._stack = ExitStack()
        self._threads: list[threading.Thread] = []
        self._connections: list[socket.socket] = []

    address = (SERVER, PORT)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for name in ("_client", "_router", "_server"):
                namespace = new_namespace()
                stack.callback(os.close, namespace)
                setattr(self, name, namespace)
            self._lay_cable("to-client", self._client, CLIENT)
            self._lay_cable("to-server", self._server, SERVER)
            with inside(self._router):
                Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
                # Without it a packet in the middle of a forgotten flow makes it known again.
                Path("/proc/sys/net/netfilter/nf_conntrack_tcp_loose").write_text("0")
                timeout = Path("/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established")
                timeout.write_text(str(self._memory))
                _run("nft", "-f", "-", stdin=_RULES)
            self._serve()
            stack.callback(self._stop_serving)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    _client: int
    _router: int
    _server: int

    @contextmanager
    def client(self) -> Iterator[None]:
        """This thread, and those it starts, are on the client's host."""
        with inside(self._client):
            yield

    def forget(self) -> None:
        """All flows, now."""
        with inside(self._router):
            _run("conntrack", "-F")

    def cut(self) -> None:
        """The client's host is gone: not even its kernel answers. Its own side does not know."""
        with inside(self._router):
            _run("nft", "insert", "rule", "inet", "wall", "forward", "drop")

    def unplug(self) -> None:
        """The client's cable. Its end goes down with it."""
        with inside(self._router):
            _run("ip", "link", "set", "to-client", "down")

    def reroute(self) -> None:
        """The client's way to the server, to a gateway that is not there."""
        with inside(self._client):
            _run("ip", "route", "replace", "default", "via", CLIENT.rpartition(".")[0] + ".9")

    # -- building it

    def _lay_cable(self, name: str, host: int, address: str) -> None:
        gateway = address.rpartition(".")[0] + ".1"
        with inside(self._router):
            there = f"/proc/{os.getpid()}/fd/{host}"
            _run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", there)
            _run("ip", "address", "add", f"{gateway}/24", "dev", name)
            _run("ip", "link", "set", name, "up")
        with inside(host):
            _run("ip", "link", "set", "lo", "up")
            _run("ip", "address", "add", f"{address}/24", "dev", "eth0")
            _run("ip", "link", "set", "eth0", "up")
            _run("ip", "route", "add", "default", "via", gateway)

    def _serve(self) -> None:
        with inside(self._server):
            self._listener = socket.create_server(self.address)
        self._start(self._accept)

    def _accept(self) -> None:
        while True:
            try:
                conn, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(conn)
            self._start(lambda conn=conn: self._handle(conn))  # type: ignore[misc]

    def _handle(self, conn: socket.socket) -> None:
        with suppress(OSError), conn:
            self._handler(conn)

    def _start(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work)
        self._threads.append(thread)
        thread.start()

    def _stop_serving(self) -> None:
        for sock in (self._listener, *self._connections):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()


def close_without_a_word(sock: socket.socket) -> None:
    """As if its host had lost power: no FIN, no RST, and what comes for it later is answered by RST."""
    sock.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 1)
    sock.close()


# -- seeing what is on the wire


class Segment(NamedTuple):
    """One that the client sent, or was sent."""

    when: float
    sequence: int
    size: int
    """Bytes of data."""
    acknowledged: int
    outward: bool
    """Sent by the client."""


@contextmanager
def recorded(seconds: float, *, both_ways: bool = False) -> Iterator[list[Segment]]:
    """What this host sends to the server, and, ``both_ways``, what it gets from it. Complete at the end of
    the block, which comes after so many seconds."""
    found: list[Segment] = []
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL)) as tap:
        tap.settimeout(0.02)
        ends = time.monotonic() + seconds
        thread = threading.Thread(target=_record, args=(tap, found, ends))
        thread.start()
        yield found
        thread.join()
        if not both_ways:
            found[:] = [segment for segment in found if segment.outward]


def _record(tap: socket.socket, found: list[Segment], ends: float) -> None:
    while time.monotonic() < ends:
        try:
            frame = tap.recv(65_536)
        except TimeoutError:
            continue
        segment = _segment(frame)
        if segment is not None:
            found.append(segment)


def _segment(frame: bytes) -> Segment | None:
    packet = frame[14:]
    if frame[12:14] != _ETH_P_IP.to_bytes(2, "big") or packet[9] != _PROTOCOL_TCP:
        return None
    outward = packet[16:20] == socket.inet_aton(SERVER)
    header = (packet[0] & 0x0F) * 4
    source, target, sequence, acknowledged = struct.unpack_from("!HHII", packet, header)
    size = int.from_bytes(packet[2:4], "big") - header - (packet[header + 12] >> 4) * 4
    if (target if outward else source) != PORT:
        return None
    return Segment(time.monotonic(), sequence, size, acknowledged, outward)


def _run(*command: str, stdin: str | None = None) -> None:
    path = shutil.which(command[0], path=_path()) or command[0]
    subprocess.run([path, *command[1:]], input=stdin, text=True, check=True, capture_output=True)


def _path() -> str:
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
