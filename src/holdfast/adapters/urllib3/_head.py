"""Reading an ordinary response head in one step.

http.client hands the head to the e-mail parser, line by line, and that is most of what a small
request costs. Here a head that is plain is read at once, to the same result; whatever is not plain
in every respect is left, untouched, to http.client. A test holds the two against each other.

This pays for what holdfast adds to a request, and more.
"""

from __future__ import annotations

import http.client
import re
from typing import NamedTuple

__all__ = ["Head", "read_plain_head"]

# HTTP/1.1, a final status, fields without folding, CRLF throughout.
_PLAIN = re.compile(rb"HTTP/1\.1 ([2-5][0-9][0-9])(?: ([^\r\n]*))?\r\n((?:[!-9;-~]+:[^\r\n]*\r\n)*)\r\n")

# http.client's own limits, which it reports in its own way. It counts the empty line as well.
_MAX_BYTES = 65_536
_MAX_FIELDS = 99

_PARSE_HEADERS = http.client.parse_headers


class Head(NamedTuple):
    size: int
    """Bytes, with the empty line."""
    status: int
    reason: str
    fields: http.client.HTTPMessage
    first: dict[str, str]
    """The first value of each field, by its name in lower case."""


def read_plain_head(buffered: bytes) -> Head | None:
    """What the buffered start of a response says; None if it is not all there, or not plain."""
    match = _PLAIN.match(buffered)
    if match is None or match.end() > _MAX_BYTES:
        return None
    if http.client.parse_headers is not _PARSE_HEADERS:
        return None  # somebody wants to see it done
    lines = match[3].decode("iso-8859-1").split("\r\n")[:-1]
    if len(lines) > _MAX_FIELDS:
        return None
    fields = http.client.HTTPMessage()
    first: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        value = value.lstrip(" \t")
        fields.set_raw(name, value)
        first.setdefault(name.lower(), value)
    if first.get("content-type", "").strip().lower().startswith(("multipart/", "message/")):
        # Of these the e-mail parser expects a body, and notes that there is none.
        return None
    fields.set_payload("")
    reason = "" if match[2] is None else match[2].decode("iso-8859-1").strip()
    return Head(match.end(), int(match[1]), reason, fields, first)
