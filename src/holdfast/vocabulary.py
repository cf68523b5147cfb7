"""The words every part of holdfast shares. Imports nothing of ours.

An enum member's value is its explanation, so a reason can always be shown to a person.
"""

from __future__ import annotations

from enum import Enum

__all__ = ["Cause", "CloseReason", "Phase", "Progress", "Verdict"]


class Progress(Enum):
    """How far a request got before its connection failed. Decides whether it may be repeated."""

    NOT_SENT = "no byte of the request was handed to the kernel"
    INCOMPLETE = "the last byte of the request was never handed to the kernel"
    MAYBE_PROCESSED = "the whole request was handed over and no answer came"
    RESPONSE_STARTED = "at least one byte of the response arrived"


class Phase(Enum):
    """What the client was doing when the connection failed."""

    CONNECT = "opening the connection (name resolution, TCP, proxy tunnel, TLS)"
    SEND = "sending the request"
    AWAIT = "waiting for the first byte of the response"
    HEAD = "reading the response head"
    BODY = "reading the response body"


class CloseReason(Enum):
    """Why a connection left the pool."""

    PEER_CLOSED = "the peer had closed it while it was idle"
    PEER_RESET = "the peer had reset it while it was idle"
    STRAY_BYTES = "bytes arrived that answer no request"
    PEER_ASKED = "the response said it would be the last (Connection: close, or HTTP/1.0)"
    CLIENT_ASKED = "the request said Connection: close"
    PROTOCOL_SWITCHED = "the connection no longer speaks HTTP (101, CONNECT)"
    HINT_EXPIRED = "idle for longer than the peer's Keep-Alive timeout allows"
    HINT_USED_UP = "the peer's Keep-Alive max is used up"
    IDLE_TIMEOUT = "idle for longer than idle_timeout"
    MAX_AGE = "older than max_age"
    MAX_USES = "used max_uses times"
    UNREAD_RESPONSE = "given back before its response was read to the end"
    FAILED = "it failed while in use"
    SUSPECT = "a connection of the same pool had just turned out to be dead"
    HEARTBEAT_MISSED = "no answer to a heartbeat came in time"
    HEARTBEAT_WRONG = "a heartbeat was answered otherwise than expected"
    SURPLUS = "more connections were idle than max_idle allows"
    LEAKED = "its lease was dropped without being released"
    FORKED = "it belongs to the parent process"
    CLOSED_LOCALLY = "closed by the pool or its user"


class Verdict(Enum):
    """Whether a failed request was repeated, and why (not)."""

    REPEATED_NEVER_SENT = "repeated: no byte of it had been sent"
    REPEATED_STALE = "repeated: it is safe to repeat and the reused connection had gone stale"
    LEFT_TO_CALLER = "left to the caller's Retry, which covers it"
    LEFT_UNSENT = "left to the caller's Retry: nothing was sent, so it may be repeated freely"
    LEFT_AT_HIS_RISK = "left to the caller's Retry, which asks for any method to be repeated"
    REFUSED_MAYBE_PROCESSED = (
        "not repeated: the server may have processed it and it is not known to be idempotent"
    )
    REFUSED_INCOMPLETE = "not repeated: part of it was sent and it is not known to be idempotent"
    REFUSED_RESPONSE_STARTED = "not repeated: its response had started"
    REFUSED_BODY = "not repeated: its body cannot be sent again from the start"
    REFUSED_FRESH = "not repeated: the connection was new, so staleness is not the cause"
    REFUSED_TIMED_OUT = "not repeated: the caller's timeout has run out"
    REFUSED_INTERRUPTED = "not repeated: not the connection failed, something else interrupted the request"
    REFUSED_AGAIN = "not repeated: it was a repeat already"
    REFUSED_OFF = "not repeated: recovery is switched off"

    @property
    def repeats(self) -> bool:
        """True if holdfast repeats the request itself."""
        return self in (Verdict.REPEATED_NEVER_SENT, Verdict.REPEATED_STALE)


class Cause(Enum):
    """The likely cause of a failure, and what to change."""

    STALE_CONNECTION = (
        "the server (or a balancer in between) gave up the idle connection while the request was"
        " on its way; a limits.idle_timeout below its keep-alive limit avoids it, and an"
        " Idempotency-Key makes the request repeatable"
    )
    CRASHED_ON_REQUEST = (
        "the server took the request on a new connection and closed it without an answer: it"
        " crashed, was restarted, or refuses this kind of request"
    )
    REJECTED_UPLOAD = (
        "the server closed the connection while the request was still being sent: it refuses the"
        " request (too large, not allowed) or went away"
    )
    CUT_RESPONSE = (
        "the connection ended inside the response: the server or a proxy in between was stopped,"
        " or gave up on it"
    )
    NO_ANSWER_IN_TIME = (
        "no answer within the caller's read timeout: the server is slow, or something in between"
        " drops packets in silence"
    )
    NOT_REACHED = "no connection could be established: the server is down, or cannot be reached"
    NOT_HTTP = "what came back is not an HTTP/1.1 response, or TLS found it tampered with"
