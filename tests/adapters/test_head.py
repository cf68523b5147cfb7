"""The one-step reading of a response head against http.client's own, byte for byte."""

from __future__ import annotations

import contextlib
import email.errors
import http.client
import socket
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from holdfast import Policy
from holdfast._core.entry import Entry
from holdfast._net.reading import Tap
from holdfast.adapters.urllib3._context import PoolContext
from holdfast.adapters.urllib3._head import read_plain_head
from holdfast.adapters.urllib3._response import PlainResponse

METHODS = ("GET", "HEAD", "POST")


def outcome(stream: bytes, method: str, *, plainly: bool) -> Any:
    """Everything that can be seen of a response, or the error."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(stream)
        theirs.shutdown(socket.SHUT_WR)
        tap: Any = Tap(ours)
        response: Any = (PlainResponse if plainly else http.client.HTTPResponse)(tap, method=method)
        if plainly:
            response._holdfast_raw, response._holdfast_entry = tap.raw, Entry(0.0)
            response._holdfast_context = PoolContext(Policy(accept_cut_heads=True))
        with contextlib.closing(response):
            try:
                response.begin()
            except (http.client.HTTPException, ValueError, UnicodeError, ConnectionError) as error:
                if type(error) is http.client.RemoteDisconnected:
                    return "the end"
                return type(error)
            fields = response.msg
            seen = [
                (response.version, response.status, response.code, response.reason),
                (response.chunked, response.chunk_left, response.length, response.will_close),
                (fields.items(), fields.keys(), fields.values(), fields.get_all("X"), printed(fields)),
                [repr(defect) for defect in fields.defects],
                ([] if fields.is_multipart() else fields.get_payload(), fields.get_content_type()),
                response.headers is fields,
            ]
            try:
                body = response.read()
            except (http.client.HTTPException, ValueError) as error:
                return [*seen, type(error)]
            return [*seen, body]


def printed(fields: http.client.HTTPMessage) -> object:
    """From 3.13 on, and in late versions of those before, the e-mail package refuses to print some."""
    try:
        return str(fields)
    except email.errors.MessageError as error:
        return type(error)


def agree(stream: bytes, method: str = "GET") -> None:
    expected = outcome(stream, method, plainly=False)
    found = outcome(stream, method, plainly=True)
    if found == "the end" != expected:
        # The one intended difference: a head that ends inside a line is no response.
        assert not stream.endswith(b"\n")
        return
    assert found == expected


PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: a\r\nX: b\r\n\r\nok"


def test_a_plain_head_is_read_in_one_step() -> None:
    head = read_plain_head(PLAIN)
    assert head is not None
    assert (head.size, head.status, head.reason) == (len(PLAIN) - 2, 200, "OK")
    assert head.fields.items() == [("Content-Length", "2"), ("X", "a"), ("X", "b")]


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        PLAIN[:-3],
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.10 200 OK\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n",
        b"HTTP/1.1 999 Odd\r\n\r\n",
        b"HTTP/1.1 200 OK\n\n",
        b"HTTP/1.1 200 OK\r\nA: b\n\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: multipart/mixed\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: message/http\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 101 + b"\r\n",
    ],
)
def test_whatever_is_not_plain_is_left_to_http_client(stream: bytes) -> None:
    assert read_plain_head(stream) is None
    agree(stream)


names = st.sampled_from(
    [b"X", b"x", b"Content-Length", b"content-length", b"Transfer-Encoding", b"Connection", b"Keep-Alive",
     b"Content-Type", b"From ", b"", b"A B", b"\xe4", b"X\t", b"Proxy-Connection", b"Date"]
)  # fmt: skip
values = st.sampled_from(
    [b"0", b"2", b"+2", b" 2 ", b"2_0", b"2,2", b"-1", b"", b"x", b"close", b"Close, x", b"keep-alive", b"chunked",
     b"Chunked ", b"gzip, chunked", b"multipart/mixed; boundary=x", b"message/rfc822", b"text/plain", b"\xfc\x85\x0b",
     b"a\x00b", b"\t tab", b"trail \t", b"=?utf-8?q?x?="]
) | st.binary(max_size=6)  # fmt: skip
separators = st.sampled_from([b": ", b":", b" : ", b":\t", b""])
line_ends = st.sampled_from([b"\r\n"] * 12 + [b"\n", b"\r", b"\r\n ", b"\r\r\n"])
status_lines = st.sampled_from(
    [b"HTTP/1.1 200 OK", b"HTTP/1.1 200", b"HTTP/1.1 200 ", b"HTTP/1.1 204 No", b"HTTP/1.1 304 x  ", b"HTTP/1.0 200 OK",
     b"HTTP/1.1  200 OK", b"HTTP/1.1 200\tOK", b"HTTP/1.1 500 \xe9", b"HTTP/1.2 200 OK", b"HTTP/2 200 OK", b"ICY 200 OK",
     b"HTTP/1.1 2000 x", b"HTTP/1.1 099 x", b"HTTP/1.1 418 I'm"]
)  # fmt: skip


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    lines = [draw(status_lines)]
    lines += [draw(names) + draw(separators) + draw(values) for _ in range(draw(st.integers(0, 4)))]
    head = b"".join(line + draw(line_ends) for line in lines)
    return (
        head
        + draw(st.sampled_from([b"\r\n", b"\r\n", b"\n", b""]))
        + draw(st.sampled_from([b"", b"ok", b"2\r\nok\r\n0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"]))
    )


@settings(max_examples=1500, deadline=None)
@given(streams(), st.sampled_from(METHODS))
@example(PLAIN, "GET")
@example(PLAIN, "HEAD")
@example(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "GET")
@example(b"HTTP/1.1 200 OK\r\nContent-Length: \xb2\r\n\r\n", "GET")
def test_it_agrees_with_http_client_on_any_head(stream: bytes, method: str) -> None:
    agree(stream, method)


@pytest.mark.parametrize("size", [8_000, 8_192, 9_000, 70_000])
def test_a_head_longer_than_the_buffer_is_read_all_the_same(size: int) -> None:
    agree(b"HTTP/1.1 200 OK\r\nX: " + b"a" * size + b"\r\nContent-Length: 2\r\n\r\nok")
