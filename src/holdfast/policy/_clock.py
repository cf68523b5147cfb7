"""The clock that everything goes by, unless a policy names another."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

__all__ = ["SYSTEM_CLOCK", "bare"]

_SLEEP_STATES = Path("/sys/power/state")
"""What the kernel can be suspended to, as words; empty if it was built without suspending
(Documentation/admin-guide/pm/sleep-states.rst)."""
_XEN = Path("/sys/hypervisor/type")
"""There only if this is a guest of Xen, which suspends its guests whatever the kernel says of itself."""


class _Clock(partial[float]):
    """Policies are compared and pickled, and there is one such clock."""

    def __reduce__(self) -> str:
        return "SYSTEM_CLOCK"


def bare(clock: Callable[[], float]) -> Callable[[], float]:
    """The same without what is around it, for those to whom a call is dear."""
    return clock.func if isinstance(clock, _Clock) and not clock.args else clock


def _system_clock() -> _Clock:
    """A peer does not stop counting when this machine is suspended, so neither does the clock. Where nothing
    can suspend it the cheaper clock is the same one: it saves a twentieth of a lease."""
    if not hasattr(time, "CLOCK_BOOTTIME") or _is_never_suspended():
        return _Clock(time.monotonic)
    return _Clock(time.clock_gettime, time.CLOCK_BOOTTIME)


def _is_never_suspended() -> bool:
    try:
        return not _SLEEP_STATES.read_text().strip() and not _XEN.exists()
    except (OSError, ValueError):
        return False  # nobody tells


SYSTEM_CLOCK = _system_clock()
"""Seconds that never go back. On Linux they go on while the machine is suspended (CLOCK_BOOTTIME, man 2
clock_gettime); elsewhere ``time.monotonic``, which may stand still then."""
