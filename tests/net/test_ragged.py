"""What is the end of a TLS stream without a close_notify, in the words of any OpenSSL."""

from __future__ import annotations

import errno
import ssl

import pytest

from holdfast._net.ragged import is_ragged_end


def ssl_error(kind: type[ssl.SSLError], number: int, reason: str | None) -> ssl.SSLError:
    error = kind(number, f"[SSL: {reason}]")
    error.reason = reason or ""
    return error


@pytest.mark.parametrize(
    "error",
    [
        ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "EOF occurred in violation of protocol"),
        ssl_error(ssl.SSLError, ssl.SSL_ERROR_SYSCALL, "UNEXPECTED_EOF_WHILE_READING"),
        BrokenPipeError(errno.EPIPE, "Broken pipe"),
    ],
    ids=repr,
)
def test_it_is(error: Exception) -> None:
    assert is_ragged_end(error)


@pytest.mark.parametrize(
    "error",
    [
        ssl.SSLError("made by somebody else, without a reason"),
        ssl_error(ssl.SSLError, ssl.SSL_ERROR_SSL, "BAD_RECORD_MAC"),
        ssl.SSLZeroReturnError(ssl.SSL_ERROR_ZERO_RETURN, "a close_notify"),
        ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
        TimeoutError("timed out"),
        EOFError(),
    ],
    ids=repr,
)
def test_it_is_not(error: Exception) -> None:
    assert not is_ragged_end(error)
