"""Heartbeats that are somebody's function: they may block, so they run in a worker thread."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from holdfast._core.pool_entry import PoolEntry
from holdfast.policy import Heartbeat
from holdfast.vocabulary import CloseReason

if TYPE_CHECKING:
    from holdfast.adapters.sockets._link import Link
    from holdfast.adapters.sockets._pool import SocketPool

__all__ = ["run_call"]


def run_call(pool: SocketPool, entry: PoolEntry, heartbeat: Heartbeat) -> None:
    """If it takes too long the rules give the entry up, which closes the socket under it."""
    if not pool._tell(lambda core, now: core.began(entry, now)):
        return
    link: Link = entry.link
    link.caller = threading.current_thread()
    try:
        reason = _ask(link, heartbeat)
    finally:
        link.caller = None
    pool._checked(entry, reason, answered=reason is None)


def _ask(link: Link, heartbeat: Heartbeat) -> CloseReason | None:
    assert heartbeat.call is not None
    try:
        link.sock.settimeout(heartbeat.timeout)
        good = heartbeat.call(link.sock)
        if good is False:
            return CloseReason.HEARTBEAT_WRONG
        return link.tidy()
    except TimeoutError:
        return CloseReason.HEARTBEAT_MISSED
    except Exception:  # noqa: BLE001 - somebody's function: whatever it raises, the socket is of no use
        return CloseReason.HEARTBEAT_WRONG
