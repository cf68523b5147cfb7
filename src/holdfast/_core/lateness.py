"""How late servers are, and how exactly ages can be seen. Measured on real servers.

nginx, httpd, HAProxy, Jetty and Node end an idle connection within milliseconds of their limit; gunicorn,
waitress and Redis look round once a second, Tomcat's poller ends it up to two seconds late. None is early.
"""

from __future__ import annotations

__all__ = ["AT_ONCE", "LATE", "SAME", "slack"]

LATE = 2.0
"""Seconds that a server may be late."""

AT_ONCE = 0.5
"""Seconds within which ends have one cause: a restart, or one round of the server's timer."""

SAME = 0.05
"""Seconds that two ages may differ although the limit is the same: our own scheduling."""


def slack(age: float) -> float:
    """Seconds that a connection may live beyond an age at which another one ended, under one limit.
    A quarter of it at least: waitress looks every 30 seconds for what is older than 120."""
    return max(LATE, age / 4)
