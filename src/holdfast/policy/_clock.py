"""The clock that everything goes by, unless a policy names another."""

from __future__ import annotations

import time
from functools import partial

__all__ = ["SYSTEM_CLOCK"]


class _Clock(partial[float]):
    """Policies are compared and pickled, and there is one such clock."""

    def __reduce__(self) -> str:
        return "SYSTEM_CLOCK"


# A peer does not stop counting when this machine is suspended.
SYSTEM_CLOCK = (
    _Clock(time.clock_gettime, time.CLOCK_BOOTTIME)
    if hasattr(time, "CLOCK_BOOTTIME")
    else _Clock(time.monotonic)
)
"""Seconds that never go back. On Linux they go on while the machine is suspended (CLOCK_BOOTTIME, man 2
clock_gettime); elsewhere ``time.monotonic``, which may stand still then."""
