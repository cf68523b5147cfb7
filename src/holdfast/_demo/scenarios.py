"""What is done to the clients: a table to be read, each line one fault and the way to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from enum import Enum

from holdfast.testing import Fault, Plan, Via, on_fresh, on_reuse

__all__ = ["SCENARIOS", "Scenario", "Stage", "Upload"]


class Stage(Enum):
    """When the fault strikes. The table is drawn in these groups."""

    IDLE = "between two requests"
    LEAVING = "between the last look and the first byte"
    EXECUTED = "after the request was executed"
    UPLOAD = "in the middle of an upload"
    ANSWER = "inside the answer"


class Upload(Enum):
    """What a request's body is made of."""

    SMALL = "a few bytes"
    LARGE = "more than the kernel's buffers hold"
    STREAMED = "a generator"


@dataclass(frozen=True)
class Scenario:
    """One fault, and how its victim gets there: on a connection that has carried requests before,
    the *warm-ups*."""

    name: str
    stage: Stage
    fault: Fault
    _: KW_ONLY
    fresh: bool = False
    """The victim meets it on a new connection instead."""
    via: Via = Via.DIRECT
    tls: bool = False
    upload: Upload = Upload.SMALL
    repeat_meets: Fault = Fault.NONE
    """What befalls the first request of the second connection."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Added to every answer."""
    timeout: float = 10.0
    """The client's. Only a server that falls silent lets it run out."""

    @property
    def route(self) -> str:
        """The way to the server, unless it is the plain one."""
        if self.via is Via.FORWARD:
            return "proxy"
        if self.via is Via.CONNECT:
            return "tunnel"
        return "TLS" if self.tls else ""

    @property
    def label(self) -> str:
        """What the table calls it."""
        return f"{self.name} · {self.route}" if self.route else self.name

    def script(self, warm_ups: int) -> list[Plan]:
        """The plans of the connections to come, if so many requests precede the victim."""
        # What befalls an idle connection is set off by the last request before.
        answered = warm_ups - (self.stage is Stage.IDLE)
        return [on_reuse(self.fault, after=answered), on_fresh(self.repeat_meets)]


SCENARIOS = (
    Scenario("closed while idle", Stage.IDLE, Fault.CLOSE_WHILE_IDLE),
    Scenario("reset while idle", Stage.IDLE, Fault.RESET_WHILE_IDLE),
    Scenario("408 while idle, then closed", Stage.IDLE, Fault.IDLE_408),
    Scenario("stray answer while idle", Stage.IDLE, Fault.STRAY_BYTES_WHILE_IDLE),
    Scenario("stray answer after the answer", Stage.IDLE, Fault.STRAY_BYTES_AFTER),
    Scenario("announces close, but stays", Stage.IDLE, Fault.ANNOUNCE_CLOSE_AND_STAY),
    Scenario(
        "Keep-Alive: timeout=0, closes",
        Stage.LEAVING,
        Fault.CLOSE_AS_REQUEST_LEAVES,
        headers={"Keep-Alive": "timeout=0"},
    ),
    Scenario("closed as the request leaves", Stage.LEAVING, Fault.CLOSE_AS_REQUEST_LEAVES),
    Scenario("closed as it leaves", Stage.LEAVING, Fault.CLOSE_AS_REQUEST_LEAVES, via=Via.FORWARD),
    Scenario("closed as it leaves", Stage.LEAVING, Fault.CLOSE_AS_REQUEST_LEAVES, tls=True),
    Scenario("half-closed as it leaves", Stage.LEAVING, Fault.HALF_CLOSE_AS_REQUEST_LEAVES),
    Scenario("reset as the request leaves", Stage.LEAVING, Fault.RESET_AS_REQUEST_LEAVES),
    Scenario(
        "reset as it leaves",
        Stage.LEAVING,
        Fault.RESET_AS_REQUEST_LEAVES,
        via=Via.CONNECT,
        tls=True,
    ),
    Scenario("executed, then closed", Stage.EXECUTED, Fault.READ_THEN_CLOSE),
    Scenario("executed, then closed", Stage.EXECUTED, Fault.READ_THEN_CLOSE, via=Via.CONNECT, tls=True),
    Scenario("executed, then reset", Stage.EXECUTED, Fault.READ_THEN_RESET),
    Scenario("executed, then reset", Stage.EXECUTED, Fault.READ_THEN_RESET, via=Via.FORWARD),
    Scenario(
        "executed, reset, and again",
        Stage.EXECUTED,
        Fault.READ_THEN_RESET,
        repeat_meets=Fault.READ_THEN_RESET,
    ),
    Scenario("new connection, executed, reset", Stage.EXECUTED, Fault.READ_THEN_RESET, fresh=True),
    Scenario("executed, then silence", Stage.EXECUTED, Fault.READ_THEN_SILENCE, timeout=0.4),
    Scenario("executed, garbled record", Stage.EXECUTED, Fault.CORRUPT_TLS_RECORD, tls=True),
    Scenario(
        "large upload, reset half-way",
        Stage.UPLOAD,
        Fault.READ_HALF_THEN_RESET,
        upload=Upload.LARGE,
    ),
    Scenario(
        "streamed upload, reset",
        Stage.UPLOAD,
        Fault.READ_HALF_THEN_RESET,
        upload=Upload.STREAMED,
    ),
    Scenario(
        "streamed upload, reset",
        Stage.UPLOAD,
        Fault.READ_HALF_THEN_RESET,
        upload=Upload.STREAMED,
        via=Via.FORWARD,
    ),
    Scenario("cut inside the status line", Stage.ANSWER, Fault.CUT_STATUS_LINE),
    Scenario("cut inside a header line", Stage.ANSWER, Fault.CUT_HEAD),
    Scenario("cut inside the body", Stage.ANSWER, Fault.CUT_BODY),
    Scenario("cut inside a chunk", Stage.ANSWER, Fault.CUT_CHUNK, via=Via.CONNECT, tls=True),
)
