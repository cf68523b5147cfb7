"""One request on one connection: what is needed to judge a failure, and to send it again."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from holdfast._core.delivery import ATOMIC_SEND, Delivery
from holdfast._core.failure import FailureReport
from holdfast._core.idempotency import IDEMPOTENCY_HEADERS, is_idempotent, is_replayable
from holdfast._core.peer import has_option
from holdfast._core.retry import Campaign
from holdfast._net.deadline import Deadline
from holdfast._net.hurry import Hurry
from holdfast._net.tcp_info import End
from holdfast.adapters.urllib3._patience import Patience
from holdfast.adapters.urllib3._response import ResilientResponse

__all__ = ["Exchange"]

_CONNECTION = frozenset({"connection", b"connection"})
_SAY_NOTHING_HERE = frozenset(
    {"Accept", "Accept-Encoding", "Authorization", "Content-Length", "Content-Type", "Host", "User-Agent"}
)
"""As most clients spell them; the rest is looked at letter by letter."""

_EXPECT = frozenset({"expect", b"expect"})
_KEY = IDEMPOTENCY_HEADERS | {name.encode() for name in IDEMPOTENCY_HEADERS}


class Exchange(Delivery):
    """Refers to the request while it is under way; dropped when its response head came."""

    names_key = False
    """There is an Idempotency-Key, be it one to rely on or not."""
    expects = False
    """A 100 (Continue) is awaited before the body."""
    waited = 0.0
    """Seconds waited before this attempt."""
    stays_open = False
    """The stream of the response had not come to its end."""
    campaign: Campaign | None = None
    end: End | None = None
    """What the kernel said about the connection when it failed."""
    idle_since = 0.0
    """When the response before this request ended."""
    began = 0.0
    """When the answer began to be awaited; 0 before."""
    send_error: BaseException | None = None
    earlier: FailureReport | None = None
    """The attempt that this one repeats."""
    body_position: int | None = None

    def __init__(
        self,
        method: str,
        url: str,
        body: Any,
        headers: Mapping[str, str] | None,
        options: dict[str, Any],
        connect_timeout: Any,
    ) -> None:
        super().__init__()
        self.method = method
        self.url = url
        self.body = body
        self.headers = headers
        self.options = options
        self.connect_timeout = connect_timeout
        self.reused = False
        """The connection had carried a request before."""
        self.names_connection = False
        """The caller sent a Connection header himself."""
        self.asks_close = False
        self.key: str | None = None
        """The Idempotency-Key that holdfast adds."""
        self.patience: Patience | None = None
        """The caller's read timeout, shared by all attempts; None until one has failed."""
        self.deadline: Deadline | None = None
        """Over all attempts."""
        self.hurry: Hurry | None = None
        """Finds out soon whether it arrives."""
        self.cork: list[bytes] | None = None
        """What is held back to go out in one send."""
        self.response: ResilientResponse | None = None
        if headers is not None:
            self._read(headers)
        if body is not None and not isinstance(body, (bytes, str)):
            self.body_position = _position(body)

    def _read(self, headers: Mapping[str, str]) -> None:
        for name in headers:
            if name in _SAY_NOTHING_HERE:
                continue
            lower = name.lower()
            if lower in _CONNECTION:
                self.names_connection = True
                self.asks_close = has_option(_text(headers[name]), "close")
            elif lower in _EXPECT:
                self.expects = True
            elif lower in _KEY:
                self.names_key = True

    def again(self, report: FailureReport, waited: float) -> Exchange:
        """The same request, for another attempt."""
        copy = Exchange(self.method, self.url, self.body, self.headers, self.options, self.connect_timeout)
        copy.earlier, copy.waited = report, waited
        copy.key, copy.needs_proof = self.key, self.needs_proof
        copy.campaign, copy.deadline, copy.patience = self.campaign, self.deadline, self.patience
        return copy

    def idle(self, now: float) -> float:
        """Seconds the connection had been idle when the request went out on it."""
        if not self.reused:
            return 0.0
        return (self.began or now) - self.idle_since

    def note_response(self) -> None:
        """Looks up how much of a response came."""
        if self.response is not None:
            self.received = self.response.received
            self.head_read = self.response.head_read
            self.end = self.response.end or self.end
            self.stays_open = not self.response.at_end

    @property
    def idempotent(self) -> bool:
        return self.key is not None or is_idempotent(self.method, self.headers if self.names_key else None)

    @property
    def corkable(self) -> bool:
        """A small body goes out in one send together with the head. Two segments cost a system
        call more, and a server whose accept queue is full resets the second one under SYN cookies.

        Only a body that is there at once: a generator may want to see the answer to the head
        first, so the head must not wait for it; nor where a 100 is expected."""
        return isinstance(self.body, (bytes, str)) and 0 < len(self.body) <= ATOMIC_SEND and not self.expects

    @property
    def replayable(self) -> bool:
        # The head goes first: as long as no send succeeded, no byte of the body was asked for.
        return self.sends == 0 or is_replayable(self.body)

    def rewind(self) -> bool:
        """Brings the body back to where it was; False if it cannot be, or only says it was."""
        if self.sends == 0 or not hasattr(self.body, "seek"):
            return self.replayable
        if self.body_position is None:
            return False
        try:
            self.body.seek(self.body_position)
            return bool(self.body.tell() == self.body_position)
        except (OSError, ValueError):
            return False


def _position(body: Any) -> int | None:
    try:
        position = body.tell()
    except (AttributeError, OSError, io.UnsupportedOperation, ValueError):
        return None
    return position if isinstance(position, int) else None


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
