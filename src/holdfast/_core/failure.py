"""What is known about a failed request, and the likely cause in plain words.

Holds no URL path, header, body or credential: it is made to be logged.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

from holdfast.vocabulary import Phase, Progress, Verdict

__all__ = ["Cause", "FailureReport", "likely_cause"]


class Cause(Enum):
    """The likely cause, and what to change."""

    STALE_CONNECTION = (
        "the server (or a balancer in between) gave up the idle connection while the request was"
        " on its way; a limits.idle_timeout below its keep-alive limit avoids it, and an"
        " Idempotency-Key makes the request repeatable"
    )
    CRASHED_ON_REQUEST = (
        "the server took the request on a new connection and closed it without an answer: it"
        " crashed, was restarted, or refuses this kind of request"
    )
    REJECTED_UPLOAD = (
        "the server closed the connection while the request was still being sent: it refuses the"
        " request (too large, not allowed) or went away"
    )
    CUT_RESPONSE = (
        "the connection ended inside the response: the server or a proxy in between was stopped,"
        " or gave up on it"
    )
    NO_ANSWER_IN_TIME = (
        "no answer within the caller's read timeout: the server is slow, or something in between"
        " drops packets in silence"
    )
    NOT_REACHED = "no connection could be established: the server is down, or cannot be reached"
    NOT_HTTP = "what came back is not an HTTP/1.1 response, or TLS found it tampered with"


def likely_cause(
    progress: Progress, *, phase: Phase, reused: bool, timed_out: bool, disconnected: bool
) -> Cause:
    """``disconnected``: the peer ended the connection (EOF, reset, broken pipe)."""
    if phase is Phase.CONNECT:
        return Cause.NOT_REACHED
    if timed_out:
        return Cause.NO_ANSWER_IN_TIME
    if not disconnected:
        return Cause.NOT_HTTP
    if progress is Progress.RESPONSE_STARTED:
        return Cause.CUT_RESPONSE
    if reused:
        return Cause.STALE_CONNECTION
    return Cause.CRASHED_ON_REQUEST if progress is Progress.MAYBE_PROCESSED else Cause.REJECTED_UPLOAD


@dataclass(frozen=True)
class FailureReport:
    """Everything known about one failed attempt. ``str()`` prints it for people."""

    origin: str
    """``scheme://host:port``."""
    method: str | None
    """None if the connection was opened ahead of any request."""
    phase: Phase
    progress: Progress
    verdict: Verdict
    cause: Cause
    reused: bool
    """The connection had carried requests before."""
    age: float
    """Seconds since the connection was opened (or adopted)."""
    idle: float
    """Seconds it had been idle when the request began."""
    uses: int
    """Requests it had answered before."""
    keep_alive_timeout: float | None
    """Seconds the peer last announced, if it did."""
    error: str
    """Type and message of the original error."""
    earlier: FailureReport | None = None
    """The attempt this one repeated."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON. An enum becomes its name; its sentence is the enum's value."""
        facts = asdict(self)
        for name in ("phase", "progress", "verdict", "cause"):
            facts[name] = getattr(self, name).name
        facts["earlier"] = self.earlier.as_dict() if self.earlier else None
        return facts

    def __str__(self) -> str:
        lines = [
            f"{self.method or 'Connecting'} to {self.origin} failed: {self.error}",
            f"  how far:    {self.progress.value} ({self.progress.name}), while {self.phase.value}",
            f"  connection: {self._connection()}",
            f"  decision:   {self.verdict.value}",
            f"  likely:     {self.cause.value}",
        ]
        if self.earlier:
            lines += [
                "  this was the repeat of:",
                *(f"    {line}" for line in str(self.earlier).splitlines()),
            ]
        return "\n".join(lines)

    def _connection(self) -> str:
        if not self.reused:
            return f"new, {self.age:.3f} s old"
        hint = self.keep_alive_timeout
        said = "no hint" if hint is None else f"hint: keep-alive {hint:g} s"
        return (
            f"reused, {self.age:.3f} s old, idle {self.idle:.3f} s before this request,"
            f" {self.uses} answered before, {said}"
        )
