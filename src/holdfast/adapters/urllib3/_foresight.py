"""A pooled connection that lay idle for long, or keeps bad company: may it carry the request that wants it?

What was learned about its origin is asked first, then, where that leaves a doubt, the peer's kernel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast._core.idempotency import IDEMPOTENT_METHODS
from holdfast._core.standing import Standing
from holdfast._net.probe import Reply, probe
from holdfast._net.tcp_info import snapshot
from holdfast._net.tcp_keepalive import tcp_socket
from holdfast._threads.origins import Rest
from holdfast.adapters.urllib3._caller import Call
from holdfast.adapters.urllib3._judging import call_of
from holdfast.adapters.urllib3._outpost import Outpost, claim
from holdfast.policy import Policy
from holdfast.vocabulary import CloseReason, EndedBy, Evidence, Progress

if TYPE_CHECKING:
    from holdfast._core.failure import FailureReport
    from holdfast.adapters.urllib3._exchange import Exchange
    from holdfast.adapters.urllib3._record import ConnectionRecord

__all__ = ["keep_watch", "learn_from", "why_doubted"]

SOON = 0.05
"""Seconds beyond two round trips; a busy machine is late."""


def why_doubted(record: ConnectionRecord, sock: Any, idle: float, now: float) -> CloseReason | None:
    """Why it must be closed. ``idle``: seconds it lay. If it is only too good to be lost, but not good
    enough for this request, the call is told so."""
    record.context.origins.look_for_suspension()
    call = call_of(record)
    unsafe = call is not None and _is_unsafe(call, record.context.policy)
    told = snapshot(sock)
    rest = Rest(idle, idle) if told is None else Rest(max(idle, told.quiet_for), told.unheard_for)
    standing, why_spent = record.known.stands(
        rest,
        # Who sends something past urlopen() does not say what.
        allowed=record.entry.unsafe_allowance if call is None else record.entry.idle_allowance,
        allowed_unsafe=record.entry.unsafe_allowance,
        rtt=None if told is None else told.rtt,
        unsafe=unsafe,
        uses=record.entry.uses,
        now=now,
        limits=record.context.limits,
    )
    if standing is Standing.SPENT:
        return why_spent or CloseReason.HINT_EXPIRED
    if call is not None and standing is Standing.NOT_FOR_UNSAFE:
        call.is_choosy = True
        return None
    record.rested = rest
    if standing is Standing.DOUBTFUL or record.entry.idle_since <= record.known.suspect:
        return _ask_peer(record, sock, rest, call if unsafe else None)
    return None


def _ask_peer(record: ConnectionRecord, sock: Any, rest: Rest, unsafe: Call | None) -> CloseReason | None:
    """``unsafe``: the call that must not go out if nobody answers for the connection."""
    if tcp_socket(sock) is None:
        return None  # it never leaves this machine, or only its maker knows how it does
    limits, known = record.context.limits, record.known
    if (limits.probe_after if unsafe is None else limits.probe_unsafe_after) is None:
        reply = Reply.UNKNOWN  # nobody is to be asked
    else:
        reply = probe(sock)
        record.context.tally.count(reply)
    now = record.context.clock()
    if reply is Reply.SILENT:
        known.fell_silent(rest, now)
        return CloseReason.UNANSWERED
    # What came in the meantime is seen now.
    reason = record.why_dead(sock)
    if reply is Reply.ENDED or reason is not None:
        known.found_dead(now - record.entry.idle_since, record.entry.uses, now)  # as its siblings are judged
        return reason or CloseReason.PEER_RESET
    if reply is Reply.ANSWERED:
        known.answered(rest, record.entry.uses, now)
    elif unsafe is not None:
        unsafe.is_choosy = True
    return None


def keep_watch(record: ConnectionRecord, conn: Any, reason: CloseReason) -> bool:
    """Makes an outpost of a connection that has reached its limit. False: it would show nothing new, or one
    is enough, or it cannot be watched, or nobody wants it."""
    limits, context = record.context.limits, record.context
    if not _would_show_something(record, reason) or not limits.park or record.parked is None:
        return False
    if not claim(record.known):
        return False
    outpost = Outpost(record, conn.sock, reason)
    conn.sock = None
    context.outposts.add(outpost)
    outpost.set_up()
    if context.has_given_up:
        outpost.give_up()  # its pool was closed meanwhile
    return True


def _would_show_something(record: ConnectionRecord, reason: CloseReason) -> bool:
    """When its peer hangs up: later than was learned, or than it said."""
    if reason is CloseReason.HINT_EXPIRED:
        return record.context.limits.learn and not record.entry.is_hint_proved
    return reason is CloseReason.LEARNED_LIMIT


def learn_from(record: ConnectionRecord, exchange: Exchange, report: FailureReport) -> None:
    """A request has failed on a connection that had lain idle."""
    if not report.reused or report.progress is Progress.RESPONSE_STARTED:
        return
    known, now = record.known, record.context.clock()
    tcp = report.tcp
    if report.ended_by is EndedBy.SILENCE or (
        report.ended_by is EndedBy.TIMEOUT and tcp is not None and tcp.unacknowledged and tcp.retransmits
    ):
        known.fell_silent(record.rested or Rest(report.idle, report.idle), now)
    elif report.ended_by in _BY_PEER and _was_stale(exchange, report, now):
        known.found_dead(report.idle, record.entry.uses - 1, now)


_BY_PEER = (EndedBy.FIN, EndedBy.RESET)


def _was_stale(exchange: Exchange, report: FailureReport, now: float) -> bool:
    """Not one that died of the request: whoever had hung up answers it at once, and has not acknowledged
    a byte of it."""
    if report.evidence is Evidence.ACKNOWLEDGED:
        return False
    rtt = 0.0 if report.tcp is None else report.tcp.rtt
    return not exchange.began or now - exchange.began < 2 * rtt + SOON


def _is_unsafe(call: Call, policy: Policy) -> bool:
    """As far as can be said without the request's headers: with an Idempotency-Key of the caller's own it
    is no worse to be careful."""
    if call.options is not None and call.options.idempotent is not None:
        return not call.options.idempotent
    if call.method in IDEMPOTENT_METHODS or policy.retry.add_idempotency_key:
        return False
    return not call.vouches_for(call.method)
