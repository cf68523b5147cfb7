"""All settings. Frozen, keyword-only, in seconds, and checked where they are made.

The defaults are meant to be good enough that most users never build a :class:`Policy`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from holdfast.errors import PolicyError
from holdfast.events import Event
from holdfast.policy._checks import require_bool, require_instance, require_seconds
from holdfast.policy._clock import SYSTEM_CLOCK
from holdfast.policy._connections import Heartbeat, PoolLimits, TcpKeepalive
from holdfast.policy._requests import HttpRequest
from holdfast.policy._retries import RequestOptions, RetryBudget, RetryPolicy

__all__ = [
    "SYSTEM_CLOCK",
    "Heartbeat",
    "HttpRequest",
    "Policy",
    "PoolLimits",
    "RequestOptions",
    "RetryBudget",
    "RetryPolicy",
    "TcpKeepalive",
]


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Everything :func:`holdfast.wrap` can be told."""

    limits: PoolLimits = field(default_factory=PoolLimits)
    keepalive: TcpKeepalive | None = field(default_factory=TcpKeepalive)
    """``None`` leaves the sockets' options alone."""
    heartbeat: Heartbeat | None = None
    """Asks idle connections. A :class:`holdfast.SocketPool` takes one of its protocol, wrapped HTTP
    clients take :meth:`Heartbeat.http`; either refuses the other's. Default ``None``: nothing is sent
    that nobody asked for."""
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    listener: Callable[[Event], None] | None = None
    """Called with every event of :mod:`holdfast.events`, in the thread that caused it, with no
    lock held. What it raises is logged and dropped. Must be picklable if a wrapped
    ``requests.Session`` is to be pickled."""
    accept_cut_heads: bool = False
    """Take the end of the connection for the end of a response head that has no empty line at its end,
    as http.client does. Default off: a head that may be cut is no answer (RFC 9112 §8). For servers
    that leave the line out."""
    log_interval: float | None = 60.0
    """Seconds within which failures of the same cause and origin are one line of the log
    (``holdfast.failures``), with their number. ``None`` switches these lines off."""
    clock: Callable[[], float] = SYSTEM_CLOCK
    """Seconds, never going back. Default: one that goes on while the machine is suspended, where it can be
    and there is one (Linux: CLOCK_BOOTTIME), because a peer counts on; else ``time.monotonic``. For tests:
    ``holdfast.testing.FakeClock``."""
    sleep: Callable[[float], None] = time.sleep
    """Waits so many seconds before a retry. For tests: ``FakeClock().sleep``."""

    def __deepcopy__(self, memo: object) -> Policy:
        """A policy never changes, and its listener is somebody's: a copied session shares it."""
        return self

    def __post_init__(self) -> None:
        require_instance("limits", self.limits, PoolLimits)
        if self.keepalive is not None:
            require_instance("keepalive", self.keepalive, TcpKeepalive)
        if self.heartbeat is not None:
            require_instance("heartbeat", self.heartbeat, Heartbeat)
            _require_reach(self.heartbeat, self.limits.idle_timeout)
        require_instance("retry", self.retry, RetryPolicy)
        if self.listener is not None and not callable(self.listener):
            raise PolicyError("listener", self.listener, "must be callable or None")
        require_bool("accept_cut_heads", self.accept_cut_heads)
        require_seconds("log_interval", self.log_interval, optional=True)
        if not callable(self.clock):
            raise PolicyError("clock", self.clock, "must be callable and return seconds")
        if not callable(self.sleep):
            raise PolicyError("sleep", self.sleep, "must be callable and take seconds")


def _require_reach(heartbeat: Heartbeat, idle_timeout: float | None) -> None:
    if heartbeat.request is not None and idle_timeout is not None and heartbeat.interval >= idle_timeout:
        rule = f"its interval must be shorter than limits.idle_timeout={idle_timeout!r}, or it is never sent"
        raise PolicyError("heartbeat", heartbeat, rule)
