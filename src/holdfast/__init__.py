"""holdfast: pooled connections that survive.

    import holdfast

    holdfast.wrap(pool_manager_or_session)

validates pooled connections before they are reused, repeats a request when that is safe and never
when it is not, and explains every failure.
"""

from __future__ import annotations

from holdfast.adapters import unwrap, wrap
from holdfast.adapters.sockets import Lease, PoolStats, SocketPool
from holdfast.errors import (
    AcquireTimeoutError,
    ConnectError,
    HoldfastError,
    LeaseError,
    NotWrappableError,
    PolicyError,
    PoolClosedError,
    PoolError,
    PortsExhaustedError,
    TooManyWaitingError,
    WrapConflictError,
)
from holdfast.observe import FailureReport, KeepaliveInEffect, Stats, report, stats
from holdfast.policy import Heartbeat, Policy, PoolLimits, RetryPolicy, TcpKeepalive
from holdfast.vocabulary import Cause, CloseReason, Phase, Progress, Verdict

__all__ = [
    "AcquireTimeoutError",
    "Cause",
    "CloseReason",
    "ConnectError",
    "FailureReport",
    "Heartbeat",
    "HoldfastError",
    "KeepaliveInEffect",
    "Lease",
    "LeaseError",
    "NotWrappableError",
    "Phase",
    "Policy",
    "PolicyError",
    "PoolClosedError",
    "PoolError",
    "PoolLimits",
    "PoolStats",
    "PortsExhaustedError",
    "Progress",
    "RetryPolicy",
    "SocketPool",
    "Stats",
    "TcpKeepalive",
    "TooManyWaitingError",
    "Verdict",
    "WrapConflictError",
    "report",
    "stats",
    "unwrap",
    "wrap",
]

__version__ = "0.1.0"
