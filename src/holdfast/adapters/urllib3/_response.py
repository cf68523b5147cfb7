"""The end of a response, and an end that came too early, seen where http.client reads them."""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING, Any

from holdfast._core.entry import Entry
from holdfast._core.peer import HTTP_1_1
from holdfast._net.reading import WatchedSocketIO
from holdfast._net.tcp_info import End
from holdfast.adapters._swap import mixed
from holdfast.adapters.urllib3._head import read_plain_head
from holdfast.vocabulary import CloseReason

if TYPE_CHECKING:
    from holdfast.adapters.urllib3._context import PoolContext

__all__ = ["ResilientResponse", "resilient_response_class"]

_CUT = "Remote end closed connection inside the response head"
SWITCHING_PROTOCOLS = 101
OK = 200
NO_CONTENT = 204
NOT_MODIFIED = 304


class ResilientResponse(http.client.HTTPResponse):
    """In front of whatever response class the connection uses (botocore has its own)."""

    _holdfast_entry: Entry
    """Of the socket it is read from; by its end the connection may have another one."""
    _holdfast_context: PoolContext
    _holdfast_raw: WatchedSocketIO | None
    """None where the stream cannot be watched."""
    head_read = False
    """The head came to its end."""
    may_say_terms = True
    """Its head may say something about the connection."""
    whole: int | None = None
    """Bytes of head and body together; None if it was not reckoned."""

    @property
    def received(self) -> int:
        """Bytes of it that came so far, as far as it is known."""
        return 0 if self._holdfast_raw is None else self._holdfast_raw.received

    @property
    def at_end(self) -> bool:
        """The peer's end of the stream was read, or failed, or it cannot be told."""
        raw = self._holdfast_raw
        return raw is None or raw.at_end or raw.end is not None

    @property
    def end(self) -> End | None:
        """What the kernel said when the stream ended or failed."""
        return None if self._holdfast_raw is None else self._holdfast_raw.end

    @property
    def has_all_of_body(self) -> bool:
        """The body is here to its last byte, so reading it cannot fail."""
        raw, length = self._holdfast_raw, self.length
        if raw is None or length is None or self.isclosed():
            return False
        if self.whole is not None:
            return raw.received >= self.whole
        return length <= raw.buffered(self.fp)

    def take_your_time(self, timeout: float | None) -> None:
        """The answer is handed over, and no deadline holds for the reading of its body."""
        if self._holdfast_raw is not None:
            self._holdfast_raw.take_your_time(timeout)

    def begin(self, **kwargs: Any) -> None:
        raw = self._holdfast_raw
        try:
            super().begin(**kwargs)
        except http.client.HTTPException as error:
            if raw is not None and raw.received and raw.at_end and not raw.ends_line:
                raise http.client.RemoteDisconnected(_CUT) from error
            raise
        if raw is not None and raw.at_end and not (raw.ends_line and self._accepts_cut):
            # http.client reads no further than the empty line, so it has not met one; it takes the end of
            # the stream for the end of the head.
            raise http.client.RemoteDisconnected(_CUT)
        self._judge_head()

    @property
    def _accepts_cut(self) -> bool:
        """At the end of a line a head may be as its server meant it; inside of one it never is."""
        return self._holdfast_context.policy.accept_cut_heads

    def _judge_head(self) -> None:
        self.head_read = True
        raw = self._holdfast_raw
        if raw is not None:
            raw.in_chunks = self.chunked
        if self.will_close or self.status < OK or self._method == "CONNECT":  # type: ignore[attr-defined]
            self._holdfast_entry.doom(self._why_last())

    def _why_last(self) -> CloseReason:
        if self.status == SWITCHING_PROTOCOLS or self._method == "CONNECT":  # type: ignore[attr-defined]
            return CloseReason.PROTOCOL_SWITCHED
        if self.status < OK:
            # http.client hands out 102 and 103 as if they were the answer. The real one is still
            # to come, and would be taken for the answer to the next request.
            return CloseReason.STRAY_BYTES
        return CloseReason.PEER_ASKED

    def _close_conn(self) -> None:
        entry, raw = self._holdfast_entry, self._holdfast_raw
        if raw is not None:
            if self.length:
                entry.doom(CloseReason.UNREAD_RESPONSE)
            elif raw.received != self.whole and raw.has_leftover(self.fp):
                entry.doom(CloseReason.STRAY_BYTES)
            elif raw.at_end:
                entry.doom(CloseReason.PEER_CLOSED)
        entry.busy = False
        entry.idle_since = self._holdfast_context.clock()
        super()._close_conn()  # type: ignore[misc]


class PlainResponse(ResilientResponse):
    """Where the response class is http.client's own, a plain head is read in one step."""

    def begin(self, **kwargs: Any) -> None:
        if self._holdfast_raw is None or self.debuglevel or not self._begin_plainly():
            super().begin(**kwargs)

    def _begin_plainly(self) -> bool:
        """What http.client's begin() does with a plain head. False, with nothing consumed, if it
        has to do it itself."""
        head = read_plain_head(self.fp.peek(1))
        if head is None:
            return False
        # Each attribute once: CPython cannot look ahead for those of a class that derives from one in C.
        size, status, self.reason, fields, first = head
        self.fp.read(size)
        self.version = HTTP_1_1
        self.code = self.status = status
        self.headers = self.msg = fields
        self.chunked = chunked = first.get("transfer-encoding", "").lower() == "chunked"
        if chunked:
            self.chunk_left = None
        length = None if chunked else _length(first.get("content-length"))
        if status in (NO_CONTENT, NOT_MODIFIED) or self._method == "HEAD":  # type: ignore[attr-defined]
            length = 0
        self.length = length
        if length is not None:
            self.whole = size + length
        connection = first.get("connection")
        self.will_close = (connection is not None and "close" in connection.lower()) or (
            not chunked and length is None
        )
        self.may_say_terms = connection is not None or "keep-alive" in first
        self._judge_head()
        return True


def resilient_response_class(base: type) -> type[ResilientResponse]:
    """What to make instead of ``base``."""
    return PlainResponse if base is http.client.HTTPResponse else mixed(ResilientResponse, base)


def _length(value: str | None) -> int | None:
    try:
        length = int(value) if value else None
    except ValueError:
        return None
    return length if length is None or length >= 0 else None
