"""Is what came back the answer to a heartbeat? It may come in pieces, never, or with bytes behind it.

Bytes behind the answer are as bad as a wrong one: they would be read as the answer to the next
request.
"""

from __future__ import annotations

from enum import Enum, auto

from holdfast.policy import Heartbeat

__all__ = ["Answer", "Exchange"]

MOST = 65_536
"""Bytes of an answer. No heartbeat needs more; what sends more is not answering one."""


class Answer(Enum):
    """What came so far is …"""

    PENDING = auto()
    GOOD = auto()
    WRONG = auto()


class Exchange:
    """One heartbeat of the form send and expect."""

    __slots__ = ("_expect", "received")

    def __init__(self, heartbeat: Heartbeat) -> None:
        self._expect = heartbeat.expect
        self.received = b""

    def feed(self, data: bytes) -> Answer:
        self.received += data
        if len(self.received) > MOST:
            return Answer.WRONG
        if isinstance(self._expect, bytes):
            return self._compare(self._expect)
        assert self._expect is not None
        try:
            return Answer.GOOD if self._expect(self.received) else Answer.PENDING
        except Exception:  # noqa: BLE001 - somebody's function; whatever it cannot read is no answer
            return Answer.WRONG

    def _compare(self, expected: bytes) -> Answer:
        if self.received == expected:
            return Answer.GOOD
        return Answer.PENDING if expected.startswith(self.received) else Answer.WRONG
