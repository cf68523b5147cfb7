"""Opening a connection to a host and port, or to a path, by all the addresses there are."""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import dataclass
from typing import Any, TypeAlias

from holdfast.errors import ConnectError, PortsExhaustedError

__all__ = ["Address", "Endpoint", "connect_failed", "dial", "resolve"]

Address: TypeAlias = "tuple[str, int] | str | bytes | os.PathLike[str]"


@dataclass(frozen=True)
class Endpoint:
    """One address, as ``getaddrinfo`` describes it."""

    family: int
    kind: int
    protocol: int
    address: Any

    def __str__(self) -> str:
        if isinstance(self.address, tuple):
            host, port = self.address[:2]
            return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
        return str(self.address)


def resolve(address: Address) -> list[Endpoint]:
    """All addresses, asked for anew each time: who keeps them talks to a server that has moved."""
    if not isinstance(address, tuple):
        return [Endpoint(socket.AF_UNIX, socket.SOCK_STREAM, 0, os.fspath(address))]
    host, port = address
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        # UnicodeError: a label of a name that is empty or longer than 63 characters.
        raise ConnectError(f"{host!r} (port {port}) resolves to no address: {error}", ()) from error
    endpoints = dict.fromkeys(Endpoint(f, k, p, address) for f, k, p, _, address in found)
    return list(endpoints)


def dial(endpoint: Endpoint, timeout: float | None) -> socket.socket:
    sock = socket.socket(endpoint.family, endpoint.kind, endpoint.protocol)
    try:
        sock.settimeout(timeout)
        sock.connect(endpoint.address)
        if endpoint.family in (socket.AF_INET, socket.AF_INET6):
            # Requests are written at once and answered at once: waiting for more to send costs
            # 40 ms with a peer that delays its acknowledgements.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        sock.close()
        raise
    return sock


def connect_failed(name: str, tried: list[tuple[str, Exception]]) -> ConnectError:
    """One error for all that were tried."""
    errors = tuple(error for _, error in tried)
    if tried and all(_is_out_of_ports(error) for error in errors):
        return PortsExhaustedError(
            f"{name}: no local port is left for it (EADDRNOTAVAIL, {len(tried)} addresses tried). A closed"
            " connection keeps its port in TIME_WAIT for 60 s, so one source address can open"
            f" {_port_range()}about 470 connections a second to one destination for long. Pool the"
            " connections (max_uses above 1), widen net.ipv4.ip_local_port_range, or add addresses",
            errors,
        )
    listed = "; ".join(f"{where}: {error}" for where, error in tried)
    return ConnectError(f"{name}: none of {len(tried)} addresses could be connected to ({listed})", errors)


def _is_out_of_ports(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno == errno.EADDRNOTAVAIL


def _port_range() -> str:
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:  # noqa: PTH123 - a setting of the kernel, no path of ours
            low, high = map(int, file.read().split())
    except (OSError, ValueError):
        return ""
    return f"{high - low + 1} at a time ({low}-{high}), "
