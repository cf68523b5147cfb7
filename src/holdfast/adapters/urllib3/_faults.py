"""Telling failures of a connection apart, and tying our report to the exception."""

from __future__ import annotations

import errno
import http.client
import socket
import ssl
from collections.abc import Iterator

import urllib3.exceptions

from holdfast._core.failure import FailureReport
from holdfast._net.ragged import is_ragged_end
from holdfast._net.tcp_info import End
from holdfast.errors import StrayAnswerError
from holdfast.vocabulary import EndedBy, Phase

__all__ = [
    "SALVAGED",
    "attach",
    "describe",
    "ended_by",
    "errno_of",
    "find_report",
    "is_disconnect",
    "is_failed_send",
    "is_interruption",
    "is_nonsense",
    "is_timeout",
    "is_worth_reconnecting",
]

SALVAGED = frozenset({errno.EPIPE, errno.ECONNRESET, errno.EPROTOTYPE})
"""Errors of sending after which an early response may still be readable."""

_LOST = SALVAGED | {
    errno.ECONNABORTED,
    errno.ENOTCONN,
    errno.ESHUTDOWN,
    errno.ETIMEDOUT,
    errno.EHOSTUNREACH,
    errno.EHOSTDOWN,
    errno.ENETUNREACH,
    errno.ENETDOWN,
    errno.ENETRESET,
}
"""What the kernel says when a connection is gone."""

_SILENCE = frozenset(
    {errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ENETUNREACH, errno.ENETDOWN}
)
_LOCAL = frozenset({errno.ECONNABORTED, errno.EBADF, errno.ENOTCONN, errno.ESHUTDOWN})

_ATTRIBUTE = "_holdfast_report"


def is_timeout(error: BaseException) -> bool:
    """The caller's timeout ran out. ETIMEDOUT from the kernel is a builtin TimeoutError as well,
    but with a number: there the connection died, and nobody's time is up."""
    if isinstance(error, TimeoutError):
        return error.errno is None
    # urllib3 derives NewConnectionError (refused, no route) from ConnectTimeoutError, for old callers.
    kinds = urllib3.exceptions.TimeoutError, urllib3.exceptions.NewConnectionError
    return isinstance(error, kinds[0]) and not isinstance(error, kinds[1])


def is_failed_send(error: OSError) -> bool:
    """The kernel or OpenSSL refused the bytes. Python runs signal handlers inside of ``sendall``,
    after the bytes are gone; what a handler raises says nothing about them."""
    if isinstance(error, ssl.SSLError):
        return type(error).__module__ == "ssl" and not isinstance(error, ssl.SSLWantReadError)
    return type(error).__module__ == "builtins" and error.errno in _LOST


def is_interruption(error: BaseException) -> bool:
    """Neither the connection nor its timeout failed: somebody else raised this in the middle."""
    return isinstance(error, OSError) and not (
        isinstance(error, (ConnectionError, TimeoutError, ssl.SSLError)) or error.errno in _LOST
    )


def is_disconnect(error: BaseException) -> bool:
    """The connection ended under the request, as opposed to saying something unintelligible."""
    kinds = (ConnectionError, ssl.SSLZeroReturnError, http.client.IncompleteRead)
    return any(
        isinstance(link, kinds) or is_ragged_end(link) or (isinstance(link, OSError) and link.errno in _LOST)
        for link in _chain(error, contexts=False)
    )


def is_nonsense(error: BaseException, *, stays_open: bool) -> bool:
    """What came is no HTTP, or no TLS. http.client calls a chunk whose length is no number an incomplete
    read as well: there the stream had not ended."""
    if is_timeout(error) or is_interruption(error):
        return False
    return not is_disconnect(error) or (stays_open and _is_incomplete(error))


def _is_incomplete(error: BaseException) -> bool:
    return any(isinstance(link, http.client.IncompleteRead) for link in _chain(error, contexts=False))


def is_worth_reconnecting(error: BaseException, phase: Phase) -> bool:
    """Refused, unresolved, unreachable, or cut short: what a restart looks like from here. Not what
    will be the same next time (certificates, a proxy that says no), nor a timeout, which is the
    caller's patience."""
    if phase is Phase.RESOLVE:
        return True
    if phase is Phase.TUNNEL or is_timeout(error):
        return is_disconnect(error) and not is_timeout(error)
    return is_disconnect(error) or errno_of(error) in _LOST | {errno.ECONNREFUSED, errno.EADDRNOTAVAIL}


def errno_of(error: BaseException) -> int | None:
    """The number that the operating system gave, however deep it lies. Those of name resolution
    (EAI_*) and of TLS are of another kind."""
    for link in _chain(error, contexts=False):
        if isinstance(link, OSError) and not isinstance(link, (ssl.SSLError, socket.gaierror)) and link.errno:
            return link.errno
    return None


def ended_by(error: BaseException, end: End | None, *, timed_out: bool, opening: bool) -> EndedBy:
    """Who or what ended the connection: by the kernel where it tells, else by the error."""
    if opening:
        return EndedBy.PROTOCOL if _is_tls_refusal(error) else EndedBy.NOT_OPENED
    if timed_out:
        return EndedBy.TIMEOUT
    if end is not None and end.fin_seen:
        return EndedBy.FIN
    number = errno_of(error)
    if number in _SILENCE:
        return EndedBy.SILENCE
    if number in _LOCAL:
        return EndedBy.LOCAL
    if number in _LOST or (end is not None and end.is_reset):
        return EndedBy.RESET
    if isinstance(error, StrayAnswerError):
        return EndedBy.PROTOCOL
    orderly = end is not None and end.orderly
    return EndedBy.FIN if orderly or is_disconnect(error) else EndedBy.PROTOCOL


def _is_tls_refusal(error: BaseException) -> bool:
    kinds = (ssl.SSLError, ssl.CertificateError, urllib3.exceptions.SSLError)
    return isinstance(error, kinds) and not is_disconnect(error)


def describe(error: BaseException) -> str:
    """Type and message; without the message where it may repeat what the peer sent."""
    name = type(error).__name__
    if isinstance(error, urllib3.exceptions.ProtocolError):
        inner = error.args[-1] if error.args else None
        return f"{name}: {describe(inner)}" if isinstance(inner, BaseException) else name
    if isinstance(error, (OSError, urllib3.exceptions.TimeoutError)) and str(error):
        return f"{name}: {error}"
    return name


def attach(error: BaseException, report: FailureReport) -> None:
    setattr(error, _ATTRIBUTE, report)
    if hasattr(error, "add_note"):
        error.add_note(f"holdfast: {report.verdict.value}; {report.progress.value}")


def find_report(error: BaseException | None) -> FailureReport | None:
    """The report nearest to the surface, however deep the libraries above chained the error."""
    for link in _chain(error, contexts=True):
        report = getattr(link, _ATTRIBUTE, None)
        if isinstance(report, FailureReport):
            return report
    return None


def _chain(error: BaseException | None, *, contexts: bool) -> Iterator[BaseException]:
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
        waiting += [link.__cause__, link.__context__ if contexts else None]
