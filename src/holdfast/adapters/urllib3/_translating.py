"""The exception that urllib3 would raise for an error, where its own code is passed by."""

from __future__ import annotations

import http.client
import ssl

from urllib3.connection import _wrap_proxy_error
from urllib3.exceptions import (
    ConnectTimeoutError,
    MaxRetryError,
    ProtocolError,
    ProxyError,
    ReadTimeoutError,
    SSLError,
)
from urllib3.util.retry import Retry

from holdfast._core.retry import EXHAUSTED
from holdfast._net.deadline import DeadlineOverError
from holdfast.adapters.urllib3._caller import Call
from holdfast.adapters.urllib3._faults import is_timeout
from holdfast.adapters.urllib3._judging import NotToBeRepeated
from holdfast.vocabulary import Phase, Verdict

__all__ = ["as_urlopen_raises"]


def as_urlopen_raises(stop: NotToBeRepeated, call: Call) -> Exception:
    """What must not be repeated comes as where Retry does not apply; what was repeated often enough, as
    where Retry has run out."""
    error = _translated(stop, call)
    verdict = stop.report.verdict
    ran_out = verdict in EXHAUSTED or (stop.report.phase.opens and verdict is not Verdict.REFUSED_FORBIDDEN)
    if not ran_out or not _counts(call.retry, call.method, error):
        return error
    return _caused_by(error, MaxRetryError(call.pool, call.url, error))


def _counts(retry: Retry, method: str, error: Exception) -> bool:
    """Whether a Retry counts such an error, or raises it as it is; see its ``increment``."""
    if retry.total is False:
        return False
    inner = error.original_error if isinstance(error, ProxyError) else error
    if isinstance(inner, ConnectTimeoutError):
        return retry.connect is not False
    if isinstance(error, (ReadTimeoutError, ProtocolError)):
        allowed = retry.allowed_methods
        return retry.read is not False and (not allowed or method.upper() in allowed)
    return True


def _translated(stop: NotToBeRepeated, call: Call) -> Exception:
    error = stop.error
    if isinstance(error, ssl.SSLError):
        error = _caused_by(error, SSLError(error))
    if stop.before_proxy and call.pool.proxy is not None:
        return _caused_by(stop.error, _wrap_proxy_error(error, call.pool.proxy.scheme))
    if isinstance(error, DeadlineOverError):
        return _caused_by(error, ReadTimeoutError(call.pool, call.url, str(error)))
    if is_timeout(error) and isinstance(error, OSError) and stop.report.phase is not Phase.SEND:
        message = f"Read timed out. (read timeout={stop.read_timeout})"
        return _caused_by(error, ReadTimeoutError(call.pool, call.url, message))
    if isinstance(error, (OSError, http.client.HTTPException)):
        return _caused_by(error, ProtocolError("Connection aborted.", error))
    return error


def _caused_by(cause: Exception, error: Exception) -> Exception:
    error.__cause__ = cause
    return error
