"""The words every part of holdfast shares. Imports nothing of ours.

An enum member's value is its explanation, so a reason can always be shown to a person.
"""

from __future__ import annotations

from enum import Enum

__all__ = ["Cause", "CloseReason", "EndedBy", "Evidence", "Phase", "Progress", "Verdict"]


class Progress(Enum):
    """How far a request got before its connection failed. Decides whether it may be repeated."""

    NOT_SENT = "no byte of the request was handed to the kernel"
    INCOMPLETE = "the last byte of the request was never handed to the kernel"
    PEER_CLOSED_FIRST = "the peer had hung up before a byte of the request arrived"
    MAYBE_PROCESSED = "the whole request was handed over and no answer came"
    RESPONSE_STARTED = "at least one byte of the response arrived"


class Evidence(Enum):
    """What the verdict on the progress rests on."""

    HANDED_OVER = "counted: the bytes that were handed to the kernel and that came back"
    FIN_BEFORE_REQUEST = (
        "the kernel: the peer's FIN acknowledged no byte of the request, and a reset answered the request"
    )
    STRAY = "the kernel: what came left the peer before it had a byte of the request"
    NOT_ASKED = "the kernel was not asked: the connection was new, or the request may be repeated anyway"
    UNKNOWN_HERE = "the kernel cannot tell: no TCP_INFO on this platform or kind of socket"
    UNCLEAR_START = "the kernel cannot tell: earlier bytes were still unacknowledged"
    NO_FIN = "the kernel cannot tell: a reset without a FIN before it, as a peer sends that has read all"
    ACKNOWLEDGED = "the kernel: the peer had acknowledged bytes of the request"
    NOT_OVER = "the kernel cannot tell: the peer's side was closed, but no reset answered the request"
    UNCLEAR_QUEUE = "the kernel cannot tell: its send queue does not hold just the request"


class EndedBy(Enum):
    """Who or what ended the connection."""

    FIN = "the peer closed it (FIN)"
    RESET = "it was reset (RST), by the peer or something in between"
    TIMEOUT = "the caller's timeout ran out; it was still open"
    SILENCE = "the kernel gave it up: what was sent, or its keepalive probes, stayed unacknowledged"
    LOCAL = "it was closed on this side"
    NOT_OPENED = "it was never established"
    PROTOCOL = "what came made no sense, or was not the answer"
    ANSWERED = "nobody; the answer itself says that the request failed"


class Phase(Enum):
    """What the client was doing when the connection failed."""

    RESOLVE = "resolving the name"
    CONNECT = "opening the TCP connection"
    TUNNEL = "asking the proxy for a tunnel"
    TLS = "shaking hands over TLS"
    SEND = "sending the request"
    AWAIT = "waiting for the first byte of the response"
    HEAD = "reading the response head"
    BODY = "reading the response body"

    @property
    def opens(self) -> bool:
        """The connection was not established yet, so nothing of the request was sent."""
        return self in (Phase.RESOLVE, Phase.CONNECT, Phase.TUNNEL, Phase.TLS)


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
    LEARNED_LIMIT = "idle for longer than the peer was seen to keep a connection"
    FLOW_LIMIT = "idle for longer than the way to the peer was seen to keep a silent connection"
    LEARNED_USES = "used as often as the peer was seen to allow"
    MAX_AGE = "older than max_age"
    MAX_USES = "used max_uses times"
    UNREAD_RESPONSE = "given back before its response was read to the end"
    FAILED = "it failed while in use"
    UNANSWERED = "its peer's kernel gave no sign of life when it was asked (a keepalive probe)"
    DOUBTFUL = "a request that must not be executed twice was to go out on it, and nobody could vouch for it"
    SUSPECT = "a connection of the same pool had just turned out to be dead"
    HEARTBEAT_MISSED = "no answer to a heartbeat came in time"
    HEARTBEAT_WRONG = "a heartbeat was answered otherwise than expected"
    HEARTBEAT_UNDER_WAY = "it was wanted while a heartbeat was under way on it"
    SURPLUS = "more connections were idle than max_idle allows"
    LEAKED = "its lease was dropped without being released"
    FORKED = "it belongs to the parent process"
    CLOSED_LOCALLY = "closed by the pool or its user"


class Verdict(Enum):
    """Whether a failed request was repeated, and why (not)."""

    REPEATED_NEVER_SENT = "repeated: no byte of it had been sent"
    REPEATED_STALE = "repeated: it is safe to repeat and the reused connection had gone stale"
    REPEATED_PEER_CLOSED_FIRST = "repeated: the peer had hung up before a byte of it arrived"
    REPEATED_AFTER_WAIT = "repeated after a wait: it is safe to repeat and the retry policy covers it"
    REPEATED_STATUS = "repeated after a wait: it is safe to repeat and the policy names this status"
    RECONNECTED = "connected again after a wait: nothing had been sent"
    LEFT_TO_CALLER = "left to the caller's Retry, which covers it"
    LEFT_UNSENT = (
        "not connected again by holdfast; nothing was sent, so the caller's Retry may do as it likes"
    )
    LEFT_AT_HIS_RISK = "left to the caller's Retry, which asks for any method to be repeated"
    REFUSED_MAYBE_PROCESSED = (
        "not repeated: the server may have processed it and it is not known to be idempotent"
    )
    REFUSED_EVIDENCE = "not repeated: the policy does not go by evidence that the peer had hung up first"
    REFUSED_INCOMPLETE = "not repeated: part of it was sent and it is not known to be idempotent"
    REFUSED_RESPONSE_STARTED = "not repeated: its response had started"
    REFUSED_BODY = "not repeated: its body cannot be sent again from the start"
    REFUSED_BY_RETRY = "not repeated: the caller's Retry grants nothing for an error of this kind"
    REFUSED_FORBIDDEN = "not repeated: the caller said so for this request"
    REFUSED_ATTEMPTS = "not repeated: it has been sent as often as the policy allows"
    REFUSED_BUDGET = "not repeated: the pool's retry budget is used up"
    REFUSED_DEADLINE = "not repeated: the deadline over all attempts leaves no time for it"
    REFUSED_RETRY_AFTER = "not repeated: the server asks for a longer wait (Retry-After) than is allowed"
    REFUSED_TIMED_OUT = "not repeated: the caller's timeout has run out"
    REFUSED_INTERRUPTED = "not repeated: not the connection failed, something else interrupted the request"

    @property
    def repeats(self) -> bool:
        """True if holdfast repeats the request, or the opening of its connection, itself."""
        return self in _REPEATS


_REPEATS = frozenset(
    {
        Verdict.REPEATED_NEVER_SENT,
        Verdict.REPEATED_STALE,
        Verdict.REPEATED_PEER_CLOSED_FIRST,
        Verdict.REPEATED_AFTER_WAIT,
        Verdict.REPEATED_STATUS,
        Verdict.RECONNECTED,
    }
)


class Cause(Enum):
    """The likely cause of a failure, and what to change."""

    KEEP_ALIVE_LIMIT = (
        "the server (or a balancer in between) gave up the idle connection while the request was on its"
        " way; a limits.idle_timeout below its keep-alive limit avoids it, and an Idempotency-Key makes"
        " the request repeatable"
    )
    REQUEST_LIMIT = (
        "the server closes a connection after a number of requests, and this one had reached it;"
        " limits.max_uses below that number avoids it"
    )
    ANNOUNCED_CLOSE = (
        "the server had announced that it would close (Connection: close) and the connection was used"
        " all the same, past the pool; let the pool hand out connections"
    )
    SERVER_WENT_AWAY = (
        "the server closed a connection that had just been in use: it was restarted or deployed, or"
        " closes after a number of requests; drain it before stopping it, or raise that number"
    )
    FLOW_FORGOTTEN = (
        "something in between (firewall, NAT, balancer) or a rebooted server no longer knows the"
        " connection; a limits.idle_timeout or keepalive.idle below its timer keeps it known"
    )
    STRAY_ANSWER = (
        "the server said something on the idle connection (an idle 408, an answer to something else)"
        " while the request was on its way; a limits.idle_timeout below its keep-alive limit avoids the"
        " first, the second is a server or proxy that has lost count of its answers"
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
        "the server has the request and did not answer within the caller's read timeout: it is slow, or"
        " the timeout short"
    )
    UNACKNOWLEDGED = (
        "what was sent stayed unacknowledged: the peer's host is gone, or something in between drops"
        " packets in silence; a limits.idle_timeout or keepalive.idle below its timer avoids the second"
    )
    CLOSED_LOCALLY = (
        "this side closed the connection while it was in use: another thread closed the pool or the"
        " response; keep them open until the request is done"
    )
    REFUSED = (
        "nobody listens there: the server is down or restarting, or its accept queue is full and it"
        " resets what comes"
    )
    NOT_REACHED_IN_TIME = (
        "nobody took the connection within the connect timeout: the host is down, a firewall drops the"
        " packets, or the server's accept queue is full"
    )
    UNREACHABLE = "there is no way to the host from here: a route, an interface or a network is missing"
    UNRESOLVED = "the name cannot be resolved: it is wrong, or the resolver cannot be reached"
    PORTS_EXHAUSTED = (
        "no local port was free: short connections use them up and each stays taken for a minute"
        " (TIME_WAIT); reuse connections, or spread them over more addresses"
    )
    ADDRESS_IN_USE = (
        "the local address that the connection was to be bound to is taken; let the kernel choose"
    )
    PROXY_REFUSED = "the proxy did not open a tunnel to the server"
    PROXY_GAVE_UP = (
        "the proxy in between closed the connection without an answer: its own connection to the server"
        " failed, or it was restarted"
    )
    TLS_CUT = (
        "the connection ended inside the TLS handshake: a balancer without a server behind it, a server"
        " that is overloaded or restarting, or one that speaks no TLS there"
    )
    TLS_FAILED = "TLS could not be agreed upon: the certificate, the name in it, or the versions allowed"
    OVERLOADED = "the server says that it cannot serve the request now"
    NOT_HTTP = "what came back is not an HTTP/1.1 response, or TLS found it tampered with"
    NOT_REACHED = "no connection could be established"
