"""TCP keepalive under its names on each platform (man 7 tcp; TCP_KEEPALIVE on macOS; Windows 10
version 1709 and later has the Linux names). What a platform lacks is left out, never an error."""

from __future__ import annotations

import math
import socket
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from holdfast.policy import TcpKeepalive

__all__ = ["KeepaliveInEffect", "apply_keepalive", "read_keepalive", "sooner", "tcp_socket"]

_OPTIONS: dict[str, tuple[int, int]] = {
    name: (socket.IPPROTO_TCP, number)
    for name, number in (
        ("idle", getattr(socket, "TCP_KEEPIDLE", getattr(socket, "TCP_KEEPALIVE", None))),
        ("interval", getattr(socket, "TCP_KEEPINTVL", None)),
        ("count", getattr(socket, "TCP_KEEPCNT", None)),
        ("user_timeout", getattr(socket, "TCP_USER_TIMEOUT", None)),
    )
    if number is not None
}
_ENABLED = (socket.SOL_SOCKET, socket.SO_KEEPALIVE)
_TCP_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_MS = 1000


@dataclass(frozen=True)
class KeepaliveInEffect:
    """What the kernel says is set, in seconds; None where the platform has no such option."""

    enabled: bool
    idle: int | None
    interval: int | None
    count: int | None
    user_timeout: float | None

    @property
    def longest_silence(self) -> float:
        """Seconds; infinite without keepalive."""
        return math.inf if not self.enabled or self.idle is None else self.idle


def sooner(settings: TcpKeepalive, flow_limit: float) -> TcpKeepalive:
    """The first probe after half of ``flow_limit`` (seconds of silence after which something on the way
    forgets a connection), if that is sooner; a kernel knows whole seconds."""
    if settings.idle <= flow_limit / 2:
        return settings
    return replace(settings, idle=max(1, int(flow_limit / 2)))


def apply_keepalive(sock: Any, settings: TcpKeepalive, taken: Iterable[tuple[int, int]] = ()) -> None:
    """Sets the options on a connected TCP socket, also through TLS. Does nothing to others.

    ``taken``: (level, option) pairs the user has set himself, which are left alone.
    """
    tcp = tcp_socket(sock)
    if tcp is None:
        return
    wanted = {_ENABLED: 1}
    for name, option in _OPTIONS.items():
        value = getattr(settings, name)
        if value is not None:
            wanted[option] = round(value * _MS) if name == "user_timeout" else value
    for option in wanted.keys() - set(taken):
        try:
            tcp.setsockopt(*option, wanted[option])
        except OSError:
            # A kernel older than its headers, or a sandbox. A connection without probes is
            # still a connection; read_keepalive shows what came of it.
            continue


def read_keepalive(sock: Any) -> KeepaliveInEffect | None:
    """None if it is no TCP socket, or closed."""
    tcp = tcp_socket(sock)
    if tcp is None:
        return None
    values = {name: _read(tcp, option) for name, option in _OPTIONS.items()}
    user_timeout = values.get("user_timeout")
    return KeepaliveInEffect(
        enabled=bool(_read(tcp, _ENABLED)),
        idle=values.get("idle"),
        interval=values.get("interval"),
        count=values.get("count"),
        user_timeout=None if user_timeout is None else user_timeout / _MS,
    )


def tcp_socket(sock: Any) -> socket.socket | None:
    """The one below TLS, also below TLS inside TLS; None if it is of another kind."""
    # urllib3's SSLTransport (TLS inside TLS) keeps the real socket one level down.
    candidate = sock if isinstance(sock, socket.socket) else getattr(sock, "socket", None)
    if isinstance(candidate, socket.socket) and candidate.family in _TCP_FAMILIES:
        return candidate
    return None


def _read(tcp: socket.socket, option: tuple[int, int]) -> int | None:
    try:
        return tcp.getsockopt(*option)
    except OSError:
        return None
