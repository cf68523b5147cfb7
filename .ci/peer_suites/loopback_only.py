"""pytest plugin, loaded in bare and wrapped runs alike: no traffic leaves loopback.

Both suites use addresses that never answer ("tarpits") for their connect timeouts. What
such an address does differs between networks, so it is resolved to a local listener whose
queue is full: the kernel drops the SYNs, and connect() times out for real. Names other
than localhost do not resolve, whatever the resolver of the machine says.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

TARPITS = {"240.0.0.0", "10.255.255.1"}  # urllib3's, requests'

_getaddrinfo = socket.getaddrinfo
_blackhole = socket.socket()
_fillers = [socket.socket() for _ in range(4)]


def _open_blackhole() -> None:
    _blackhole.bind(("127.0.0.1", 0))
    _blackhole.listen(0)
    for filler in _fillers:
        filler.setblocking(False)
        filler.connect_ex(_blackhole.getsockname())


def _is_local(host: str) -> bool:
    if host in {"", "localhost", "0.0.0.0", "::"}:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def getaddrinfo(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
    name = host.decode() if isinstance(host, bytes) else host or ""
    if name in TARPITS:
        return _getaddrinfo(*_blackhole.getsockname(), *args, **kwargs)
    if name == "localhost.":  # not every machine's hosts file knows it; 11 tests need it
        return _getaddrinfo("localhost", port, *args, **kwargs)
    if not _is_local(name):
        raise socket.gaierror(socket.EAI_NONAME, f"peer suites are loopback only: {name}")
    return _getaddrinfo(host, port, *args, **kwargs)


_open_blackhole()
socket.getaddrinfo = getaddrinfo
