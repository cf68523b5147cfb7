"""How long a server that takes no connections is given, before those who wait for it are told.

The time runs for the server, not for each request: once it has been away for longer than the policy
grants, requests fail as fast as they would without holdfast, until it takes a connection again.
"""

from __future__ import annotations

__all__ = ["Outage"]


class Outage:
    _FORGET = 30.0
    """Seconds. An outage that nobody has met for so long may be another by now."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._seen_at = 0.0

    def met(self, now: float, patience: float) -> float:
        """A connection could not be opened. Answers until when to try again."""
        if self._since is None or now - self._seen_at > max(patience, self._FORGET):
            self._since = now
        self._seen_at = now
        return self._since + patience

    def over(self) -> None:
        """A connection was opened."""
        self._since = None
