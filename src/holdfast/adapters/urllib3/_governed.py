"""The caller's Retry (or urllib3's own), held to what was said about this request.

Only where something was said: a deadline, options of the request, or statuses in the policy.
"""

from __future__ import annotations

import copy
import time
from dataclasses import replace

from urllib3.response import BaseHTTPResponse
from urllib3.util.retry import Retry

from holdfast._core.retry_after import read_retry_after
from holdfast.adapters._swap import swap
from holdfast.adapters.urllib3._caller import Call, in_progress
from holdfast.adapters.urllib3._context import PoolContext
from holdfast.adapters.urllib3._faults import attach, find_report
from holdfast.adapters.urllib3._judging import NotToBeRepeated
from holdfast.vocabulary import Verdict

__all__ = ["governed", "keeps_answer"]


class GovernedRetry(Retry):
    """In front of the class of a Retry."""

    def is_retry(self, method: str, status_code: int, has_retry_after: bool = False) -> bool:  # noqa: FBT001, FBT002 - urllib3's signature
        """Whether an answer is passed over for another; ``getresponse()`` has seen it first."""
        call = in_progress.call
        if call is not None and call.keeps_answer:
            return False
        return super().is_retry(method, status_code, has_retry_after)

    def sleep(self, response: BaseHTTPResponse | None = None) -> None:
        """Not past the deadline: the attempt after the wait could only say that it is over."""
        call = in_progress.call
        if response is None and call is not None and call.deadline is not None and self.history:
            error = self.history[-1].error
            report = find_report(error)
            if error is not None and report is not None and self.get_backoff_time() >= call.deadline.left():
                report = replace(report, verdict=Verdict.REFUSED_DEADLINE)
                attach(error, report)
                raise NotToBeRepeated(error, report)
        super().sleep(response)


def governed(retry: Retry) -> Retry:
    if isinstance(retry, GovernedRetry):
        return retry
    mine = copy.copy(retry)
    swap(mine, GovernedRetry)
    return mine


def keeps_answer(call: Call, response: BaseHTTPResponse, context: PoolContext) -> bool:
    """Whether an answer is handed to the caller whatever his Retry would do because of its status."""
    options = call.options
    if options is not None and (not options.repeat or options.idempotent is False):
        return True
    if context.statuses and call.gives_no_retry:
        return True  # the policy has decided already
    if call.deadline is None:
        return False
    wait = read_retry_after(response.headers.get("retry-after"), time.time()) or 0.0
    return max(wait, call.retry.get_backoff_time()) >= call.deadline.left()
