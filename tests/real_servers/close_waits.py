"""How long connections stand in CLOSE_WAIT: their peer has hung up, and our end is still open."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["in_close_wait", "longest_close_wait"]

_TABLE = Path("/proc/net/tcp")
_CLOSE_WAIT = "08"
_SAMPLE = 0.002
_PATIENCE = 20.0


def in_close_wait(port: int) -> set[str]:
    """Our ends (local address and port) of connections to this port that stand in CLOSE_WAIT now."""
    found = set()
    for line in _TABLE.read_text().splitlines()[1:]:
        _, local, remote, state = line.split()[:4]
        if state == _CLOSE_WAIT and int(remote.partition(":")[2], 16) == port:
            found.add(local)
    return found


def longest_close_wait(port: int, until: Callable[[], bool]) -> float:
    """Seconds that any connection to this port stood in CLOSE_WAIT, from now until the condition holds."""
    since: dict[str, float] = {}
    longest = 0.0
    ends = time.monotonic() + _PATIENCE
    while not until():
        now = time.monotonic()
        assert now < ends, "it never came"
        since = {end: since.get(end, now) for end in in_close_wait(port)}
        longest = max([longest, *(now - first for first in since.values())])
        time.sleep(_SAMPLE)
    return longest
