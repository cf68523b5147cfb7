"""The likely cause of a failure, from everything known about it.

A guess, and said to be one: the first rule that fits, from what the errors name outright to what the
age and the end of a connection suggest.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass

from holdfast._core.evidence import TcpSnapshot
from holdfast._core.peer import PeerTerms
from holdfast.vocabulary import Cause, EndedBy, Evidence, Phase, Progress

__all__ = ["Facts", "likely_cause"]

_JUST_USED = 1.0
"""Seconds. Servers with a keep-alive limit shorter than this are rare; a restart, or a limit on the
number of requests, ends connections in steady use."""

_LONG_IDLE = 60.0
"""Seconds. A server closes an idle connection by FIN. A reset after a long silence comes from what has
forgotten it: balancers and NATs keep an idle flow for a minute and more."""

_UNREACHABLE = frozenset(
    {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EACCES, errno.EINVAL}
)
_BY_ERRNO = {
    errno.EADDRNOTAVAIL: Cause.PORTS_EXHAUSTED,
    errno.EADDRINUSE: Cause.ADDRESS_IN_USE,
    errno.ECONNREFUSED: Cause.REFUSED,
    errno.ECONNRESET: Cause.REFUSED,
    errno.ETIMEDOUT: Cause.NOT_REACHED_IN_TIME,
    **dict.fromkeys(_UNREACHABLE, Cause.UNREACHABLE),
}


@dataclass(frozen=True, kw_only=True)
class Facts:
    phase: Phase
    progress: Progress
    evidence: Evidence = Evidence.HANDED_OVER
    ended_by: EndedBy
    errno: int | None = None
    timed_out: bool = False
    """The caller's timeout ran out."""
    proxied: bool = False
    """The request goes to a proxy, which passes it on."""
    reused: bool = False
    idle: float = 0.0
    """Seconds."""
    terms: PeerTerms
    tcp: TcpSnapshot | None = None


def likely_cause(facts: Facts) -> Cause:
    if facts.phase.opens:
        return _while_opening(facts)
    if facts.evidence is Evidence.STRAY:
        return Cause.STRAY_ANSWER
    if facts.ended_by is EndedBy.LOCAL:
        return Cause.CLOSED_LOCALLY
    if facts.ended_by is EndedBy.SILENCE:
        return Cause.UNACKNOWLEDGED
    if facts.timed_out:
        return Cause.UNACKNOWLEDGED if _is_retransmitting(facts.tcp) else Cause.NO_ANSWER_IN_TIME
    if facts.ended_by is EndedBy.PROTOCOL:
        return Cause.NOT_HTTP
    if facts.progress is Progress.RESPONSE_STARTED:
        return Cause.CUT_RESPONSE
    return _stale(facts) if facts.reused else _fresh(facts)


def _while_opening(facts: Facts) -> Cause:
    if facts.errno in _BY_ERRNO and facts.phase is not Phase.TLS:
        return _BY_ERRNO[facts.errno]
    if facts.phase is Phase.RESOLVE:
        return Cause.UNRESOLVED
    if facts.phase is Phase.TUNNEL:
        return Cause.PROXY_REFUSED
    if facts.timed_out:
        return Cause.NOT_REACHED_IN_TIME
    if facts.phase is Phase.TLS:
        return Cause.TLS_FAILED if facts.ended_by is EndedBy.PROTOCOL else Cause.TLS_CUT
    return Cause.NOT_REACHED


def _is_retransmitting(tcp: TcpSnapshot | None) -> bool:
    return tcp is not None and tcp.unacked > 0 and tcp.retransmits > 0


def _stale(facts: Facts) -> Cause:
    if not facts.terms.persistent:
        return Cause.ANNOUNCED_CLOSE
    if facts.ended_by is EndedBy.RESET and facts.idle >= _LONG_IDLE:
        return Cause.FLOW_FORGOTTEN
    if facts.terms.remaining == 1:
        return Cause.REQUEST_LIMIT  # the server counts otherwise than it says
    return Cause.SERVER_WENT_AWAY if facts.idle < _JUST_USED else Cause.KEEP_ALIVE_LIMIT


def _fresh(facts: Facts) -> Cause:
    if facts.progress is not Progress.MAYBE_PROCESSED:
        return Cause.REJECTED_UPLOAD
    return Cause.PROXY_GAVE_UP if facts.proxied else Cause.CRASHED_ON_REQUEST
