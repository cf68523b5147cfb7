"""What is known about a failed request, and the likely cause in plain words.

Holds no URL path, header, body or credential: it is made to be logged.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from holdfast.vocabulary import Cause, Phase, Progress, Verdict

__all__ = ["FailureReport", "likely_cause"]


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
