"""Opening one connection: names, addresses, TLS, login, and patience with addresses that failed."""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from holdfast._core.addresses import AddressBook
from holdfast._net.connecting import Address, Endpoint, connect_failed, dial, resolve
from holdfast._net.tcp_keepalive import apply_keepalive
from holdfast._threads.refusals import check_timeout
from holdfast.errors import AcquireTimeoutError, ConnectError, PolicyError, PoolClosedError
from holdfast.policy import TcpKeepalive

__all__ = ["Opener", "name_of"]

Connect = Callable[[Address, "float | None"], socket.socket]


class Opener:
    """Opens connections to one address, in any thread."""

    def __init__(
        self,
        address: Address,
        *,
        keepalive: TcpKeepalive | None,
        connect_timeout: float | None,
        timeout: float | None,
        ssl_context: ssl.SSLContext | None,
        server_hostname: str | None,
        connect: Connect | None,
        on_connect: Callable[[Any], object] | None,
    ) -> None:
        _check_address(address)
        check_timeout(connect_timeout, "connect_timeout", zero=False)
        check_timeout(timeout, "timeout", zero=False)
        for setting, value in (("connect", connect), ("on_connect", on_connect)):
            if value is not None and not callable(value):
                raise PolicyError(setting, value, "must be callable or None")
        self._address = address
        self._name = name_of(address, ssl_context)
        self._keepalive = keepalive
        self._connect_timeout = connect_timeout
        self._timeout = timeout
        self._tls = ssl_context
        self._server_hostname = server_hostname or (address[0] if isinstance(address, tuple) else None)
        self._connect = connect
        self._on_connect = on_connect
        self._book = AddressBook()
        self.after_fork()

    def open(self, deadline: float | None, chance: Callable[[], float]) -> socket.socket:
        """``deadline``: as ``time.monotonic`` has it. ``chance``: a random number from 0 to 1."""
        endpoints = self._in_order()
        self._be_patient(endpoints[0], deadline)
        tried: list[tuple[str, Exception]] = []
        for number, endpoint in enumerate(endpoints):
            timeout = self._share(deadline, len(endpoints) - number)
            try:
                sock = self._open_one(endpoint, timeout)
            except OSError as error:
                if not _is_impatience(error, timeout, self._connect_timeout):
                    with self._lock:
                        self._book.failed(endpoint, time.monotonic(), chance())
                tried.append((str(endpoint), error))
                continue
            with self._lock:
                self._book.worked(endpoint)
            return sock
        raise connect_failed(self._name, tried) from tried[-1][1]

    def after_fork(self) -> None:
        """Whoever held the lock is not in this process."""
        self._lock = threading.Lock()
        self._given_up = threading.Event()

    def give_up(self) -> None:
        """Nobody needs a connection any more: who is patient need not be."""
        self._given_up.set()

    def _in_order(self) -> Sequence[Endpoint]:
        if self._connect is not None:
            return [Endpoint(0, 0, 0, self._address)]
        endpoints = resolve(self._address)
        with self._lock:
            return self._book.in_order(endpoints, time.monotonic())

    def _be_patient(self, first: Endpoint, deadline: float | None) -> None:
        """All of them failed a moment ago. Trying again at once, in every thread, is how a server that
        comes back is knocked over."""
        now = time.monotonic()
        with self._lock:
            pause = self._book.ready_at(first, now) - now
        if pause <= 0:
            return
        if deadline is not None and now + pause > deadline:
            left = max(0.0, deadline - now)
            message = f"{self._name}: its addresses failed just now; the next try is in {pause:.2f} s, and {left:.2f} s are left"
            raise ConnectError(message)
        if self._given_up.wait(pause):
            raise PoolClosedError(f"{self._name}: the pool was closed while a connection was to be opened")

    def _share(self, deadline: float | None, addresses: int) -> float | None:
        """The time there is, shared among the addresses that are left."""
        if deadline is None:
            return self._connect_timeout
        left = deadline - time.monotonic()
        if left <= 0:
            raise AcquireTimeoutError(f"{self._name}: no time was left to open a connection")
        share = left / addresses
        return share if self._connect_timeout is None else min(share, self._connect_timeout)

    def _open_one(self, endpoint: Endpoint, timeout: float | None) -> socket.socket:
        sock = self._connect(self._address, timeout) if self._connect else dial(endpoint, timeout)
        try:
            if self._keepalive is not None:
                apply_keepalive(sock, self._keepalive)
            if self._tls is not None:
                sock.settimeout(timeout)
                sock = self._tls.wrap_socket(sock, server_hostname=self._server_hostname)
            if self._on_connect is not None:
                sock.settimeout(timeout)
                self._on_connect(sock)
            sock.settimeout(self._timeout)
        except BaseException:
            sock.close()
            raise
        return sock


def name_of(address: Address, ssl_context: ssl.SSLContext | None) -> str:
    """For messages and events: no credentials, no path but that of a unix socket."""
    if not isinstance(address, tuple):
        return f"unix:{os.fsdecode(address)}"
    scheme, host = "tcp" if ssl_context is None else "tls", str(address[0])
    return f"{scheme}://[{host}]:{address[1]}" if ":" in host else f"{scheme}://{host}:{address[1]}"


def _is_impatience(error: OSError, timeout: float | None, full: float | None) -> bool:
    """The caller gave it less time than a connection may take: that says nothing about the address."""
    own = isinstance(error, TimeoutError) and error.errno is None
    return own and timeout is not None and (full is None or timeout < full)


def _check_address(address: object) -> None:
    if isinstance(address, (str, bytes, os.PathLike)):
        if not hasattr(socket, "AF_UNIX"):
            raise PolicyError("address", address, "this platform has no unix sockets; give (host, port)")
        return
    if not isinstance(address, tuple) or len(address) != 2:  # noqa: PLR2004 - host and port
        raise PolicyError("address", address, "must be (host, port), or the path of a unix socket")
    port = address[1]
    if isinstance(port, bool) or not isinstance(port, int) or not 0 < port <= 65_535:  # noqa: PLR2004 - 16 bits
        raise PolicyError("address", address, "its port must be a whole number from 1 to 65535")
