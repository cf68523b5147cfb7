"""Ready-made heartbeats. Each takes the settings of :class:`holdfast.Heartbeat` as well
(``interval``, ``timeout``, ``misses``, ``jitter``).

They ask for the cheapest thing the protocol has that shows the connection to be ready for the next
request; an answer that says anything else makes it unusable.
"""

from __future__ import annotations

from typing import Any

from holdfast.policy import Heartbeat

__all__ = ["frames", "memcached", "postgresql", "redis", "smtp"]


def redis(**settings: Any) -> Heartbeat:
    """``PING``, answered by ``+PONG``.

    Not for a connection that subscribes or monitors. ``-NOAUTH`` and ``-LOADING`` are no answer: such a
    connection is of no use, at least now.
    """
    return Heartbeat(send=b"PING\r\n", expect=b"+PONG\r\n", **settings)


def memcached(**settings: Any) -> Heartbeat:
    """``version``, answered by one line ``VERSION …``. It touches no item and no statistics."""
    return Heartbeat(send=b"version\r\n", expect=_version_line, **settings)


def smtp(**settings: Any) -> Heartbeat:
    """``NOOP``, answered by ``250``. 421, with which a server takes leave, is no answer."""
    return Heartbeat(send=b"NOOP\r\n", expect=_reply_250, **settings)


def postgresql(**settings: Any) -> Heartbeat:
    """Sync, answered by ReadyForQuery with the state *idle*.

    A Sync outside of an extended query does nothing but answer: no statement is parsed, none is
    logged, and ``pg_stat_activity`` keeps the last real one. A connection that was left inside a
    transaction answers another state, and is closed. So is one to which the server says goodbye (a
    FATAL error: terminated, idle too long, shutting down).
    """
    return Heartbeat(send=b"S\x00\x00\x00\x04", expect=_ready_for_query, **settings)


def frames(ping: bytes, pong: bytes, *, header: int = 4, **settings: Any) -> Heartbeat:
    """For protocols whose messages are preceded by their length, in ``header`` bytes, big-endian,
    the header itself not counted. Sends the message ``ping`` and expects ``pong``."""
    return Heartbeat(send=_framed(ping, header), expect=_framed(pong, header), **settings)


def _framed(message: bytes, header: int) -> bytes:
    return len(message).to_bytes(header, "big") + message


def _version_line(received: bytes) -> bool:
    start = b"VERSION "
    if not (received.startswith(start) or start.startswith(received)):
        raise ValueError(received)
    return _is_one_line(received)


def _is_one_line(received: bytes) -> bool:
    line, end, rest = received.partition(b"\r\n")
    if rest or b"\n" in line:
        raise ValueError(received)
    return bool(end)


def _reply_250(received: bytes) -> bool:
    """One or more lines; ``250-`` announces another, ``250`` and a space or nothing is the last."""
    lines = received.split(b"\r\n")
    for number, line in enumerate(lines[:-1], 1):
        if line[:3] != b"250":
            raise ValueError(received)
        if line[3:4] != b"-":
            if number != len(lines) - 1 or lines[-1]:
                raise ValueError(received)
            return True
    if not lines[-1].startswith(b"250"[: len(lines[-1])]):
        raise ValueError(received)
    return False


_SIDE_REMARKS = b"ANS"
"""What may come at any time: NotificationResponse, NoticeResponse, ParameterStatus."""
_READY, _IDLE = b"Z"[0], b"I"


def _ready_for_query(received: bytes) -> bool:
    """Each message: one byte for its kind, its length in four (these included), its content."""
    rest = received
    while len(rest) >= 5:  # noqa: PLR2004 - see above
        kind, length = rest[0], int.from_bytes(rest[1:5], "big") + 1
        if len(rest) < length and kind in _SIDE_REMARKS:
            return False
        if kind == _READY:
            if rest[5:6] not in (b"", _IDLE) or len(rest) > length:
                raise ValueError(received)
            return len(rest) == length
        if kind not in _SIDE_REMARKS:
            raise ValueError(received)
        rest = rest[length:]
    return False
