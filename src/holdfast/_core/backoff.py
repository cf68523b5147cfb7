"""How long to wait before the next attempt: exponential backoff with full jitter.

Full jitter (a random share of the whole, rather than the whole plus a little) spreads the clients
that failed together best; the reasoning and the simulation are in "Exponential Backoff And Jitter" of
the AWS Architecture Blog.
"""

from __future__ import annotations

__all__ = ["backoff"]

_ENOUGH = 60  # 2 ** 60 times any delay is past any limit, and a float can still hold it


def backoff(failures: int, *, base: float, most: float, chance: float) -> float:
    """Seconds to wait after so many failures in a row. ``chance``: 0 to 1, drawn by the caller."""
    return min(most, base * 2.0 ** min(failures - 1, _ENOUGH)) * chance
