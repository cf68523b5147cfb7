"""What is known about a failed request.

Holds no URL path, header, body or credential: it is made to be logged.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import Enum
from typing import Any

from holdfast._core.evidence import TcpSnapshot
from holdfast.vocabulary import Cause, EndedBy, Evidence, Phase, Progress, Verdict

__all__ = ["FailureReport", "TcpFacts"]


@dataclass(frozen=True)
class TcpFacts:
    """What the kernel knew about the connection when it failed (TCP_INFO, man 7 tcp; Linux)."""

    rtt: float
    """Round-trip time, smoothed, in seconds."""
    min_rtt: float
    """The smallest round-trip time seen, in seconds."""
    retransmits: int
    """Retransmissions over the life of the connection."""
    unacknowledged: int
    """Segments in flight."""
    unsent: int
    """Bytes that were written and not sent yet."""

    @classmethod
    def of(cls, snapshot: TcpSnapshot) -> TcpFacts:
        return cls(
            rtt=snapshot.rtt,
            min_rtt=snapshot.min_rtt,
            retransmits=snapshot.total_retrans,
            unacknowledged=snapshot.unacked,
            unsent=snapshot.notsent_bytes,
        )

    def __str__(self) -> str:
        return (
            f"round trip {self.rtt * 1000:.1f} ms, {self.retransmits} retransmitted,"
            f" {self.unacknowledged} segments unacknowledged, {self.unsent} bytes unsent"
        )


@dataclass(frozen=True, kw_only=True)
class FailureReport:
    """Everything known about one failed attempt. ``str()`` prints it for people."""

    origin: str
    """``scheme://host:port``."""
    method: str | None
    """None if the connection was opened ahead of any request."""
    phase: Phase
    progress: Progress
    evidence: Evidence
    """What the progress rests on."""
    verdict: Verdict
    cause: Cause
    ended_by: EndedBy
    error: str
    """Type and message of the original error."""
    errno: int | None = None
    """Its number, if the operating system gave one."""
    waited: float = 0.0
    """Seconds that holdfast waited before this attempt."""
    sent: int = 0
    """Bytes of the request that were handed to the kernel."""
    received: int = 0
    """Bytes of the response that came."""
    reused: bool = False
    """The connection had carried requests before."""
    age: float = 0.0
    """Seconds since the connection was opened (or adopted)."""
    idle: float = 0.0
    """Seconds it had been idle when the request began."""
    uses: int = 0
    """Requests it had answered before."""
    keep_alive_timeout: float | None = None
    """Seconds the peer last announced, if it did."""
    keep_alive_max: int | None = None
    """Further requests the peer last announced to take, if it did."""
    announced_close: bool = False
    """The peer had said ``Connection: close`` before."""
    tcp: TcpFacts | None = None
    """None where the kernel does not tell."""
    left_out: int = 0
    """Attempts between this one and ``earlier`` that were like it and are not kept."""
    earlier: FailureReport | None = None
    """The attempt this one repeated."""

    @property
    def attempts(self) -> tuple[FailureReport, ...]:
        """All failed attempts at this request, the first one first."""
        found: list[FailureReport] = [self]
        while found[-1].earlier is not None:
            found.append(found[-1].earlier)
        return tuple(reversed(found))

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON. An enum becomes its name; its sentence is the enum's value."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}

    def __str__(self) -> str:
        lines = [
            f"{self.method or 'Connecting'} to {self.origin} failed: {self.error}",
            f"  how far:    {self.progress.value} ({self.progress.name}), while {self.phase.value}",
            f"  known from: {self.evidence.value}",
            f"  ended:      {self.ended_by.value}",
            f"  connection: {self._connection()}",
            *([f"  network:    {self.tcp}"] if self.tcp else []),
            f"  decision:   {self.verdict.value}",
            f"  likely:     {self.cause.value}",
        ]
        before = self.attempts[:-1]
        lines += [f"  attempt {n}:  {attempt._briefly()}" for n, attempt in enumerate(before, 1)]
        return "\n".join(lines)

    def _briefly(self) -> str:
        where = "opening" if self.phase.opens else "reused" if self.reused else "new"
        waited = f"after {self.left_out} more like it, " if self.left_out else ""
        waited += f"after {self.waited:.3f} s, " if self.waited else ""
        return f"{waited}{where} connection, {self.error}; {self.verdict.value}"

    def _connection(self) -> str:
        if self.phase.opens:
            return "not opened"
        if not self.reused:
            return f"new, {self.age:.3f} s old"
        return (
            f"reused, {self.age:.3f} s old, idle {self.idle:.3f} s before this request,"
            f" {self.uses} answered before, {self._hint()}"
        )

    def _hint(self) -> str:
        said = [] if self.keep_alive_timeout is None else [f"keep-alive {self.keep_alive_timeout:g} s"]
        said += [] if self.keep_alive_max is None else [f"{self.keep_alive_max} more requests"]
        said += ["close"] if self.announced_close else []
        return f"hint: {', '.join(said)}" if said else "no hint"


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, FailureReport):
        return value.as_dict()
    return dict(vars(value)) if isinstance(value, TcpFacts) else value
