"""Who is calling, what he says about this request, and what his urllib3.Retry would do with it.

The connection is not told for which call it works, so each thread notes its current one. A Retry
is only read, never called: a subclass may count or sleep in ``increment``.
"""

from __future__ import annotations

import ssl
import threading
from typing import TYPE_CHECKING, Any

from urllib3.exceptions import SSLError
from urllib3.util.retry import Retry

from holdfast._core.retry import Caller, Campaign
from holdfast._net.deadline import Deadline
from holdfast.adapters.urllib3._faults import find_report
from holdfast.policy import RequestOptions
from holdfast.vocabulary import Progress

if TYPE_CHECKING:
    from urllib3 import HTTPConnectionPool

__all__ = ["Call", "in_progress"]

_URLLIB3S_OWN = Retry.DEFAULT


class Call:
    """One pass through ``urlopen``; each of urllib3's retries is a call of its own."""

    # Class-level values are the start: one of these is made for every request, and most never change or
    # look at them.
    options: RequestOptions | None = None
    deadline: Deadline | None = None
    campaign: Campaign | None = None
    """Made when the first attempt has failed."""
    first_retry: Retry | None = None
    """What the caller gave for the request, before urllib3 counted it down."""
    keeps_answer = False
    """The answer that came is handed over, whatever the Retry would do because of its status."""
    key: str | None = None
    """The Idempotency-Key that holdfast has given it."""

    def __init__(self, pool: HTTPConnectionPool, method: str, url: str, retries: Any) -> None:
        self.pool = pool
        self.method = method
        self.url = url
        self.retries = retries
        """As the caller gave it: a Retry, a number, a bool, or None for the pool's."""
        self.is_repeat = isinstance(retries, Retry) and bool(retries.history)
        """urllib3 is repeating a request: its Retry has a history."""
        self.is_special = self.is_repeat
        """It was sent before, or something was said about it."""
        self.is_governed = False
        """Something was said about it: options, a deadline, or statuses in the policy."""
        self.is_choosy = False
        """The connection that it was just lent is not good enough for it, though for others."""

    def go_on_from(self, before: Call) -> None:
        """It repeats the request of that call."""
        self.options, self.deadline = before.options, before.deadline
        self.campaign, self.key = before.campaign, before.key
        self.first_retry = before.first_retry or before.retry

    def started_campaign(self) -> Campaign:
        if self.campaign is None:
            self.campaign = Campaign(
                ends_at=None if self.deadline is None else self.deadline.ends_at,
                forbidden=self.options is not None and not self.options.repeat,
            )
        return self.campaign

    @property
    def retry(self) -> Retry:
        if isinstance(self.retries, Retry):
            return self.retries
        return Retry.from_int(self.retries, default=self.pool.retries)

    # -- what his Retry says

    @property
    def gives_no_retry(self) -> bool:
        """He gave no Retry, or one that grants nothing at all. requests, botocore and others always
        pass such a one, to leave retrying to somebody else; it cannot be told from a "no" of his."""
        first = self.first_retry or self.retry
        return first is _URLLIB3S_OWN or not _has_left(first.total) or _is_own_after_redirects(first)

    def says_to_reading(self, method: str) -> Caller:
        """About a connection that broke after it was opened."""
        if self.gives_no_retry:
            return Caller.SILENT
        return Caller.COVERS if self.covers(method) else Caller.REFUSES

    def says_to_connecting(self) -> Caller:
        """About a connection that could not be opened."""
        if self.gives_no_retry:
            return Caller.SILENT
        retry = self.retry
        return Caller.COVERS if _has_left(retry.total) and _has_left(retry.connect) else Caller.REFUSES

    def covers(self, method: str) -> bool:
        """Whether the Retry would repeat this request after a read error, as ``increment`` has it."""
        retry = self.retry
        allowed = retry.allowed_methods
        return _has_left(retry.total) and _has_left(retry.read) and (not allowed or method.upper() in allowed)

    def would_repeat(self, method: str, error: BaseException, *, opening: bool) -> bool:
        """A TLS error is "other" to Retry, and that it repeats whatever the method."""
        retry = self.retry
        if isinstance(error, (ssl.SSLError, SSLError)):
            return _has_left(retry.total) and _has_left(retry.other)
        if opening:
            return _has_left(retry.total) and _has_left(retry.connect)
        return self.covers(method)

    def vouches_for(self, method: str) -> bool:
        """Whether the caller listed this very method, and lets it be repeated when reading fails.
        Methods are also listed for the sake of status codes, with ``read=False``."""
        allowed = self.retry.allowed_methods
        return bool(allowed) and method.upper() in (allowed or ()) and self.covers(method)

    def takes_any_method(self) -> bool:
        """``allowed_methods=None``: repeat whatever it is. A word about errors in general, not
        about this request, so it does not make an unsafe one safe."""
        return not self.retry.allowed_methods

    # -- what came before

    @property
    def last_error(self) -> Exception | None:
        """What the attempt before this one ended with; None also if that was a response."""
        return self.retries.history[-1].error if self.is_repeat else None

    def is_after_stale(self) -> bool:
        """It repeats a request because a reused connection failed."""
        if not self.is_repeat:
            return False
        report = find_report(self.last_error)
        return report is not None and report.reused

    def has_sent(self) -> bool:
        """Whether any attempt before this one may have sent a part of the request."""
        for attempt in self.retries.history if self.is_repeat else ():
            report = find_report(attempt.error)
            if report is None or report.progress is not Progress.NOT_SENT:
                return True
        return False


class _Here(threading.local):
    call: Call | None = None


in_progress = _Here()
"""``in_progress.call`` is this thread's; set and restored by ``ResilientPool.urlopen``."""


def _is_own_after_redirects(retry: Retry) -> bool:
    """A manager that follows a redirect hands on urllib3's own Retry, counted down."""
    history, own = retry.history, _URLLIB3S_OWN
    if not history or any(entry.error is not None or not entry.redirect_location for entry in history):
        return False
    return all(getattr(retry, name) == getattr(own, name) for name in _GRANTS) and (
        own.total is not None and retry.total == own.total - len(history)
    )


_GRANTS = ("connect", "read", "status", "other", "allowed_methods", "status_forcelist", "backoff_factor")


def _has_left(count: int | None) -> bool:
    return count is None or (count is not False and count > 0)
