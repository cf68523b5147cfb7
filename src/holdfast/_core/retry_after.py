"""``Retry-After``: a number of seconds, or a date (RFC 9110 §10.2.3)."""

from __future__ import annotations

from datetime import timezone
from email.utils import parsedate_to_datetime

__all__ = ["read_retry_after"]

_NONSENSE_DIGITS = 12


def read_retry_after(value: str | None, wall_now: float) -> float | None:
    """Seconds from now; 0 for a date that has passed; None for what is neither number nor date.

    ``wall_now``: seconds since the epoch, for the date is the server's.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:_NONSENSE_DIGITS])
    try:
        date = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=timezone.utc)
    return max(0.0, date.timestamp() - wall_now)
