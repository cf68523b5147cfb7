"""Sending a request again, in the same connection object, so that all above it see one answer.

That happens inside ``getresponse()`` (or inside the send that failed), where phase and errno are
still known, and it works for every client on top.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable

import urllib3.connection
from urllib3.response import HTTPResponse

from holdfast._core.failure import FailureReport
from holdfast._core.retry import EXHAUSTED
from holdfast._core.retry_after import read_retry_after
from holdfast._net.deadline import DeadlineOverError
from holdfast.adapters.urllib3._caller import Call
from holdfast.adapters.urllib3._exchange import Exchange
from holdfast.adapters.urllib3._faults import attach
from holdfast.adapters.urllib3._foresight import learn_from
from holdfast.adapters.urllib3._judging import Judgement, NotToBeRepeated, call_of, judge, judge_status
from holdfast.adapters.urllib3._patience import Patience
from holdfast.adapters.urllib3._record import ConnectionRecord
from holdfast.vocabulary import CloseReason, Verdict

__all__ = ["RepeatingConnection", "key_for"]


class RepeatingConnection(urllib3.connection.HTTPConnection):
    _holdfast: ConnectionRecord
    _transmit: Callable[[Exchange], None]
    """Sends the request of an exchange."""

    def start_afresh(self) -> None:
        """Opens a new socket in place of one that cannot be trusted."""
        tunnel, exchange = self._holdfast.tunnel, self._holdfast.exchange
        self.close()
        self._holdfast.exchange = exchange
        if tunnel is not None:
            self.set_tunnel(*tunnel)
        self.connect()

    def _repeat_after(self, exchange: Exchange, error: Exception, patience: Patience | None = None) -> bool:
        """Sends the request again, on a new connection, if that is safe and allowed; else False."""
        record = self._holdfast
        record.entry.doom(CloseReason.FAILED)
        over = patience is not None and patience.is_over()
        judgement = judge(record, exchange, error, time_is_up=over)
        stop = self._call_to_stop(error) if judgement.is_final else None
        if stop is not None and _is_his_risk(stop, judgement.report):
            stop, judgement = None, judgement.but(Verdict.LEFT_AT_HIS_RISK)
        if not self._goes_on(judgement, patience):
            judgement = judgement.but(Verdict.REFUSED_TIMED_OUT)
        attach(error, judgement.report)
        learn_from(record, exchange, judgement.report)
        record.context.decided(judgement.report)
        if judgement.report.verdict.repeats:
            self._send_again(exchange, judgement, patience)
            return True
        record.exchange = None
        if stop is not None or isinstance(error, DeadlineOverError):
            granted = None if patience is None else patience.granted
            raise NotToBeRepeated(error, judgement.report, read_timeout=granted)
        return False

    def _repeats_after_status(self, exchange: Exchange, response: HTTPResponse, patience: Patience) -> bool:
        """The same because of what the answer says; else False, and the answer is the caller's."""
        record = self._holdfast
        retry_after = read_retry_after(response.headers.get("retry-after"), time.time())
        judgement = judge_status(record, exchange, f"{response.status} {response.reason}", retry_after)
        if not self._goes_on(judgement, patience):
            judgement = judgement.but(Verdict.REFUSED_TIMED_OUT)
        record.context.decided(judgement.report)
        if not judgement.report.verdict.repeats:
            return False
        response.close()
        record.entry.doom(CloseReason.CLOSED_LOCALLY)
        self._send_again(exchange, judgement, patience)
        return True

    def _goes_on(self, judgement: Judgement, patience: Patience | None) -> bool:
        """Whether the caller's own time leaves room for the wait before the repeat."""
        wait = judgement.delay
        return patience is None or not (wait and judgement.report.verdict.repeats and patience.is_over(wait))

    def _send_again(self, exchange: Exchange, judgement: Judgement, patience: Patience | None) -> None:
        record = self._holdfast
        record.context.retrying.wait(judgement.delay)
        timeout = exchange.connect_timeout
        self.timeout = timeout if patience is None else patience.at_most(timeout)
        record.exchange = again = exchange.again(judgement.report, judgement.delay)
        self.start_afresh()
        if patience is not None:
            self.timeout, again.began = patience.left(), record.context.clock()
        self._transmit(again)

    def _call_to_stop(self, error: Exception) -> Call | None:
        """The call of our pool whose Retry would repeat what nobody may repeat."""
        call = call_of(self._holdfast)
        if call is None:
            return None
        return call if call.would_repeat(call.method, error, opening=False) else None


def key_for(call: Call | None) -> str:
    """An Idempotency-Key: the same for all attempts at a request."""
    if call is None:
        return uuid.uuid4().hex
    if call.key is None:
        call.key = uuid.uuid4().hex
    return call.key


def _is_his_risk(call: Call, report: FailureReport) -> bool:
    """``Retry(allowed_methods=None)`` asks for everything to be repeated. It is obeyed where the pool is
    not to blame, on a fresh connection; but never for a body that cannot be resent, nor against what
    he says of this request."""
    if call.options is not None and call.options.idempotent is False:
        return False
    at_stake = (Verdict.REFUSED_BODY, Verdict.REFUSED_FORBIDDEN)
    return call.takes_any_method() and not report.reused and report.verdict not in (*at_stake, *EXHAUSTED)
