"""holdfast: pooled connections that survive.

    import holdfast

    holdfast.wrap(pool_manager_or_session)

validates pooled connections before they are reused, repeats a request when that is safe and never
when it is not, and explains every failure.
"""

from __future__ import annotations

from holdfast.adapters import unwrap, wrap
from holdfast.errors import HoldfastError, NotWrappableError, PolicyError, WrapConflictError
from holdfast.observe import FailureReport, KeepaliveInEffect, Stats, report, stats
from holdfast.policy import Policy, PoolLimits, RetryPolicy, TcpKeepalive
from holdfast.vocabulary import Cause, CloseReason, Phase, Progress, Verdict

__all__ = [
    "Cause",
    "CloseReason",
    "FailureReport",
    "HoldfastError",
    "KeepaliveInEffect",
    "NotWrappableError",
    "Phase",
    "Policy",
    "PolicyError",
    "PoolLimits",
    "Progress",
    "RetryPolicy",
    "Stats",
    "TcpKeepalive",
    "Verdict",
    "WrapConflictError",
    "report",
    "stats",
    "unwrap",
    "wrap",
]

__version__ = "0.1.0"
