"""Telling failures of a connection apart, and tying our report to the exception."""

from __future__ import annotations

import errno
import http.client
import ssl
from collections.abc import Iterator

import urllib3.exceptions

from holdfast._core.failure import FailureReport

__all__ = ["SALVAGED", "attach", "describe", "find_report", "is_disconnect", "is_timeout"]

SALVAGED = frozenset({errno.EPIPE, errno.ECONNRESET, errno.EPROTOTYPE})
"""Errors of sending after which an early response may still be readable."""

_DISCONNECTS = (
    ConnectionError,
    ssl.SSLEOFError,
    ssl.SSLZeroReturnError,
    http.client.IncompleteRead,
)
_DISCONNECT_NUMBERS = SALVAGED | {errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH}
_ATTRIBUTE = "_holdfast_report"


def is_timeout(error: BaseException) -> bool:
    """The caller's timeout ran out. ETIMEDOUT from the kernel is a builtin TimeoutError as well,
    but with a number: there the connection died, and nobody's time is up."""
    if isinstance(error, TimeoutError):
        return error.errno is None
    return isinstance(error, urllib3.exceptions.TimeoutError)


def is_disconnect(error: BaseException) -> bool:
    """The connection ended under the request, as opposed to saying something unintelligible."""
    return any(
        isinstance(link, _DISCONNECTS) or (isinstance(link, OSError) and link.errno in _DISCONNECT_NUMBERS)
        for link in _chain(error)
    )


def describe(error: BaseException) -> str:
    """Type and message, except where the message repeats what the peer sent."""
    name = type(error).__name__
    if isinstance(error, http.client.HTTPException) and not isinstance(error, OSError):
        return name
    return f"{name}: {error}" if str(error) else name


def attach(error: BaseException, report: FailureReport) -> None:
    setattr(error, _ATTRIBUTE, report)
    if hasattr(error, "add_note"):
        error.add_note(f"holdfast: {report.verdict.value}; {report.progress.value}")


def find_report(error: BaseException | None) -> FailureReport | None:
    """The report nearest to the surface, however deep the libraries above chained the error."""
    for link in _chain(error):
        report = getattr(link, _ATTRIBUTE, None)
        if isinstance(report, FailureReport):
            return report
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Breadth first through causes, contexts and the places where urllib3 and requests keep the
    error they wrap (``args``, MaxRetryError.reason, ProxyError.original_error)."""
    waiting: list[object] = [error]
    seen: set[int] = set()
    while waiting:
        link = waiting.pop(0)
        if not isinstance(link, BaseException) or id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        waiting += [*link.args, getattr(link, "reason", None), getattr(link, "original_error", None)]
        waiting += [link.__cause__, link.__context__]
