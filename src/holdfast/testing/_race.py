"""The instant between a client's last look at a connection and its first byte, made to last.

http.client announces every send with the audit event `http.client.send`, in the sending thread and
right before `sock.sendall`. Whoever hangs up inside the hook has hung up after every check the
client could make and before its bytes leave: the race is forced, not won. It works with whatever is
built on http.client (urllib3, requests, botocore) and runs in this process.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

from holdfast.testing._loopback import Address

__all__ = ["unwatch", "watch"]

_lock = threading.Lock()
_installed = False

# Server address -> what to call with the client's address before it sends. Replaced, never changed:
# the hook reads it without the lock.
_watched: dict[Address, Callable[[Address], None]] = {}


def watch(server: Address, before_send: Callable[[Address], None]) -> None:
    """Call `before_send` whenever an http.client connection to `server` is about to send."""
    global _installed, _watched  # noqa: PLW0603 - audit hooks are process-wide and cannot be removed
    with _lock:
        _watched = {**_watched, server: before_send}
        if not _installed:
            sys.addaudithook(_hook)
            _installed = True


def unwatch(server: Address) -> None:
    """Forget `server`; the hook stays, and does nothing."""
    global _watched  # noqa: PLW0603
    with _lock:
        _watched = {address: call for address, call in _watched.items() if address != server}


def _hook(event: str, args: tuple[Any, ...]) -> None:
    # Called for every audit event of the process, our own socket calls included.
    if event == "http.client.send" and _watched:
        _about_to_send(args[0])


def _about_to_send(connection: Any) -> None:
    try:
        server, client = connection.sock.getpeername(), connection.sock.getsockname()
    except Exception:  # noqa: BLE001 - not connected, no TCP socket, a stranger's object: not ours to judge
        return
    # A Unix socket's address is a str or bytes; an IPv6 one has four parts. Neither is ours.
    before_send = _watched.get(server)
    if before_send is not None:
        before_send(client)
