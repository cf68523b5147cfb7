"""Who is calling, and what his urllib3.Retry would do with a connection that broke.

The connection is not told for which call it works, so each thread notes its current one. A Retry
is only read, never called: a subclass may count or sleep in ``increment``.
"""

from __future__ import annotations

import ssl
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from urllib3.exceptions import SSLError
from urllib3.util.retry import Retry

from holdfast.adapters.urllib3._faults import find_report
from holdfast.vocabulary import Progress

if TYPE_CHECKING:
    from urllib3 import HTTPConnectionPool

__all__ = ["Call", "in_progress"]


class Call(NamedTuple):
    """One pass through ``urlopen``; each of its retries is a call of its own."""

    pool: HTTPConnectionPool
    method: str
    url: str
    retries: Any
    """As the caller gave it: a Retry, a number, a bool, or None for the pool's."""

    @property
    def retry(self) -> Retry:
        if isinstance(self.retries, Retry):
            return self.retries
        return Retry.from_int(self.retries, default=self.pool.retries)

    def covers(self, method: str) -> bool:
        """Whether the Retry would repeat this request after a read error, as ``increment`` has it."""
        retry = self.retry
        allowed = retry.allowed_methods
        return _has_left(retry.total) and _has_left(retry.read) and (not allowed or method.upper() in allowed)

    def would_repeat(self, method: str, error: BaseException) -> bool:
        """A TLS error is "other" to Retry, and that it repeats whatever the method."""
        if isinstance(error, (ssl.SSLError, SSLError)):
            return _has_left(self.retry.total) and _has_left(self.retry.other)
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

    @property
    def is_repeat(self) -> bool:
        """urllib3 is repeating a request: its Retry has a history."""
        return isinstance(self.retries, Retry) and bool(self.retries.history)

    @property
    def last_error(self) -> Exception | None:
        """What the attempt before this one ended with; None also if that was a response."""
        return self.retries.history[-1].error if self.is_repeat else None

    def is_after_stale(self) -> bool:
        """It repeats a request because a reused connection failed."""
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


def _has_left(count: int | None) -> bool:
    return count is None or (count is not False and count > 0)
