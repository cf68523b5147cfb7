"""The log ``holdfast.failures``: a line for each cause and origin per interval, with their number.

One for the process, however many pools there are: a server that is away is one piece of news. Never a
stack trace: the exception has it, where there is one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Hashable

from holdfast._core.aggregation import Aggregation
from holdfast._core.failure import FailureReport
from holdfast._threads.fork_safe import ForkSafeLock

__all__ = ["log_failure", "log_listener_failure"]

log = logging.getLogger("holdfast.failures")
_LISTENER_INTERVAL = 60.0
_lock = ForkSafeLock()
_aggregation = Aggregation()


def log_failure(report: FailureReport, interval: float) -> None:
    """A failure that was repaired is told as INFO, one that the caller may meet as WARNING."""
    level = logging.INFO if report.verdict.repeats else logging.WARNING
    if not log.isEnabledFor(level):
        return
    count = _count((report.origin, report.cause), interval)
    if count is not None:
        log.log(
            level,
            "%s: %s (%s)%s",
            report.origin,
            report.cause.value,
            report.verdict.value,
            _times(count),
        )


def log_listener_failure(listener: object, event: object, error: Exception) -> None:
    """With its stack trace, for nobody else will show it; but not one for each event."""
    count = _count(("listener", id(listener)), _LISTENER_INTERVAL)
    if count is not None:
        message = "listener %r failed on %s%s"
        log.error(message, listener, type(event).__name__, _times(count), exc_info=error)


def _count(kind: Hashable, interval: float) -> int | None:
    with _lock.lock:
        return _aggregation.met(kind, time.monotonic(), interval)


def _times(count: int) -> str:
    return "" if count == 1 else f" [{count} times since the last line]"
