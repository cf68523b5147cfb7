"""How OpenSSL says that a TLS stream ended without a close_notify, as many servers end theirs."""

from __future__ import annotations

import ssl

__all__ = ["is_ragged_end"]

_REASON = "UNEXPECTED_EOF_WHILE_READING"


def is_ragged_end(error: BaseException) -> bool:
    """From Python 3.14 with OpenSSL 3.6 on it is no ``SSLEOFError`` if the alert fails by which OpenSSL answers
    that end: that failure is what is told, as an ``SSLError`` with the reason of the end, or bare, as EPIPE."""
    if isinstance(error, ssl.SSLError):
        return isinstance(error, ssl.SSLEOFError) or getattr(error, "reason", None) == _REASON
    return isinstance(error, BrokenPipeError)
