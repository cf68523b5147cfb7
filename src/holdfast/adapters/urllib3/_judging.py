"""From a failure to its report: the facts, the verdict, the likely cause."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from holdfast._core.causes import Facts, likely_cause
from holdfast._core.delivery import Delivery
from holdfast._core.entry import Entry
from holdfast._core.failure import FailureReport, TcpFacts
from holdfast._core.retry import EXHAUSTED, Attempt, Caller, Campaign, Decision, hazard
from holdfast._net.tcp_info import End
from holdfast.adapters.urllib3._caller import Call, in_progress
from holdfast.adapters.urllib3._exchange import Exchange
from holdfast.adapters.urllib3._faults import (
    attach,
    describe,
    ended_by,
    errno_of,
    is_interruption,
    is_nonsense,
    is_timeout,
)
from holdfast.vocabulary import Cause, EndedBy, Evidence, Phase, Progress, Verdict

if TYPE_CHECKING:
    from holdfast.adapters.urllib3._record import ConnectionRecord

__all__ = [
    "Judgement",
    "Source",
    "body_failed",
    "call_of",
    "connect_failed",
    "is_safe",
    "judge",
    "judge_status",
]


class NotToBeRepeated(Exception):  # noqa: N818 - it is no error, it carries one
    """Carries an error past ``Retry``: of a kind that ``urlopen`` does not catch, so that it gives
    the connection back and lets it through. ``ResilientPool.urlopen`` unpacks it."""

    def __init__(
        self,
        error: Exception,
        report: FailureReport,
        *,
        read_timeout: Any = None,
        before_proxy: bool = False,
    ) -> None:
        super().__init__(error)
        self.error = error
        self.report = report
        self.read_timeout = read_timeout
        self.before_proxy = before_proxy
        """urllib3 would say that the proxy could not be reached."""


class Judgement(NamedTuple):
    report: FailureReport
    delay: float
    """Seconds to wait before the repeat, if it is repeated."""
    is_final: bool
    """Nobody else may repeat it either."""

    def but(self, verdict: Verdict) -> Judgement:
        return self._replace(report=replace(self.report, verdict=verdict))


class Source(NamedTuple):
    """Where a response body comes from. Not the request itself: it would be kept for as long."""

    record: ConnectionRecord
    entry: Entry
    method: str
    reused: bool
    idle: float


def call_of(record: ConnectionRecord) -> Call | None:
    """The call this connection works for. None: nobody's, or a request within a request, past the pool."""
    call = in_progress.call
    return call if call is not None and getattr(call.pool, "_holdfast", None) is record.context else None


def is_safe(exchange: Exchange, call: Call | None) -> bool:
    """Whether it may be executed twice. What the caller says of this request goes first."""
    if call is not None and call.options is not None and call.options.idempotent is not None:
        return call.options.idempotent
    return exchange.idempotent or (call is not None and call.vouches_for(exchange.method))


def judge(
    record: ConnectionRecord, exchange: Exchange, error: BaseException, *, time_is_up: bool
) -> Judgement:
    """About an attempt that failed after its connection was opened. Brings the body back to its start
    where it is to be repeated."""
    exchange.note_response()
    attempt = _attempt(record, exchange, error, time_is_up=time_is_up)
    campaign = _campaign(record, exchange)
    decision = record.context.retrying.after_failure(attempt, campaign)
    final = (
        decision.verdict in EXHAUSTED or hazard(attempt, campaign, record.context.policy.retry) is not None
    )
    if not final and _goes_on(decision.verdict, call_of(record), error) and not exchange.rewind():
        decision, final = Decision(Verdict.REFUSED_BODY), True
    return Judgement(_report(record, exchange, attempt, decision.verdict, error), decision.delay, final)


def _goes_on(verdict: Verdict, call: Call | None, error: BaseException) -> bool:
    """The request will be sent again, by holdfast or by the caller's Retry."""
    return verdict.repeats or (call is not None and call.would_repeat(call.method, error, opening=False))


def judge_status(
    record: ConnectionRecord, exchange: Exchange, status: str, retry_after: float | None
) -> Judgement:
    """About an answer whose status the policy names."""
    exchange.note_response()
    attempt = _attempt(record, exchange, None, time_is_up=False)
    campaign = _campaign(record, exchange)
    decision = record.context.retrying.after_status(attempt, campaign, retry_after)
    if decision.verdict.repeats and not exchange.rewind():
        decision = Decision(Verdict.REFUSED_BODY)
    report = FailureReport(
        **_of_request(record, exchange),
        phase=Phase.HEAD,
        progress=Progress.RESPONSE_STARTED,
        evidence=Evidence.HANDED_OVER,
        verdict=decision.verdict,
        cause=Cause.OVERLOADED,
        ended_by=EndedBy.ANSWERED,
        error=status,
    )
    return Judgement(report, decision.delay, is_final=False)


def body_failed(source: Source, error: Exception, end: End | None) -> None:
    """A body that the caller was reading broke off. He has seen a part of it."""
    record, entry = source.record, source.entry
    facts = Facts(
        phase=Phase.BODY,
        progress=Progress.RESPONSE_STARTED,
        ended_by=ended_by(error, end, timed_out=is_timeout(error), opening=False),
        errno=errno_of(error),
        timed_out=is_timeout(error),
        terms=entry.terms,
        tcp=None if end is None else end.last,
    )
    report = FailureReport(
        **_of_connection(record, entry),
        **_of_facts(facts),
        method=source.method,
        evidence=Evidence.HANDED_OVER,
        verdict=Verdict.REFUSED_RESPONSE_STARTED,
        error=describe(error),
        reused=source.reused,
        idle=source.idle,
    )
    attach(error, report)
    record.context.decided(report)


def connect_failed(
    record: ConnectionRecord,
    error: Exception,
    phase: Phase,
    verdict: Verdict,
    *,
    waited: float,
    earlier: FailureReport | None,
    left_out: int,
) -> FailureReport:
    """Nothing was sent."""
    call = call_of(record)
    facts = Facts(
        phase=phase,
        progress=Progress.NOT_SENT,
        ended_by=ended_by(error, None, timed_out=False, opening=True),
        errno=errno_of(error),
        timed_out=is_timeout(error),
        terms=record.entry.terms,
    )
    report = FailureReport(
        **_of_facts(facts),
        origin=record.origin,
        method=None if call is None else call.method,
        evidence=Evidence.HANDED_OVER,
        verdict=verdict,
        error=describe(error),
        waited=waited,
        earlier=earlier,
        left_out=left_out,
    )
    attach(error, report)
    record.context.decided(report)
    return report


def _attempt(
    record: ConnectionRecord, exchange: Exchange, error: BaseException | None, *, time_is_up: bool
) -> Attempt:
    call = call_of(record)
    return Attempt(
        progress=exchange.progress,
        reused=exchange.reused,
        safe=is_safe(exchange, call),
        replayable=exchange.replayable,
        timed_out=time_is_up or (error is not None and is_timeout(error)),
        interrupted=error is not None and is_interruption(error),
        nonsense=error is not None and is_nonsense(error, stays_open=exchange.stays_open),
        # A connection that is used without a pool has no Retry, and nobody asked for any.
        caller=Caller.REFUSES if call is None else call.says_to_reading(exchange.method),
    )


def _campaign(record: ConnectionRecord, exchange: Exchange) -> Campaign:
    call = call_of(record)
    if call is not None:
        exchange.campaign = call.started_campaign()
    elif exchange.campaign is None:
        exchange.campaign = Campaign()
    return exchange.campaign


def _report(
    record: ConnectionRecord, exchange: Exchange, attempt: Attempt, verdict: Verdict, error: BaseException
) -> FailureReport:
    end = exchange.end
    facts = Facts(
        phase=exchange.phase,
        progress=attempt.progress,
        evidence=exchange.evidence,
        ended_by=EndedBy.PROTOCOL
        if attempt.nonsense
        else ended_by(error, end, timed_out=attempt.timed_out, opening=False),
        # What sending failed with says more than what then became of the salvaged answer.
        errno=errno_of(exchange.send_error or error) or errno_of(error),
        timed_out=attempt.timed_out,
        proxied=record.reached_proxy,
        reused=attempt.reused,
        idle=exchange.idle(record.context.clock()),
        terms=record.entry.terms,
        tcp=None if end is None else end.last,
    )
    return FailureReport(
        **_of_request(record, exchange),
        **_of_facts(facts),
        evidence=_evidence(exchange),
        verdict=verdict,
        error=describe(error),
    )


def _evidence(exchange: Delivery) -> Evidence:
    """The kernel has a say only about what was handed over and not answered."""
    unanswered = exchange.progress in (Progress.MAYBE_PROCESSED, Progress.PEER_CLOSED_FIRST)
    return exchange.evidence if unanswered else Evidence.HANDED_OVER


def _of_facts(facts: Facts) -> dict[str, Any]:
    return {
        "phase": facts.phase,
        "progress": facts.progress,
        "cause": likely_cause(facts),
        "ended_by": facts.ended_by,
        "errno": facts.errno,
        "tcp": None if facts.tcp is None else TcpFacts.of(facts.tcp),
    }


def _of_connection(record: ConnectionRecord, entry: Entry) -> dict[str, Any]:
    return {
        "origin": record.origin,
        "age": record.context.clock() - entry.opened_at,
        "uses": max(0, entry.uses - 1),
        "keep_alive_timeout": entry.terms.idle_timeout,
        "keep_alive_max": entry.terms.remaining,
        "announced_close": not entry.terms.persistent,
    }


def _of_request(record: ConnectionRecord, exchange: Exchange) -> dict[str, Any]:
    return {
        **_of_connection(record, record.entry),
        "method": exchange.method,
        "waited": exchange.waited,
        "sent": exchange.handed_over,
        "received": exchange.received,
        "reused": exchange.reused,
        "idle": exchange.idle(record.context.clock()),
        "earlier": exchange.earlier,
    }
