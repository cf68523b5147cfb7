"""holdfast: pooled connections that survive.

    import holdfast

    holdfast.wrap(pool_manager_or_session)

validates pooled connections before they are reused, repeats a request when that is safe and never
when it is not, and explains every failure.
"""

from __future__ import annotations

import logging

from holdfast.adapters import request_options, unwrap, wrap
from holdfast.adapters.sockets import Lease, PoolStats, SocketPool
from holdfast.errors import (
    AcquireTimeoutError,
    ConnectError,
    HoldfastError,
    KnowledgeError,
    LeaseError,
    NotWrappableError,
    PolicyError,
    PoolClosedError,
    PoolError,
    PortsExhaustedError,
    StrayAnswerError,
    TooManyWaitingError,
    WrapConflictError,
)
from holdfast.observe import (
    FailureReport,
    KeepaliveInEffect,
    Learned,
    LearnedLimits,
    Reply,
    Stats,
    TcpFacts,
    learned,
    report,
    stats,
)
from holdfast.policy import Heartbeat, Policy, PoolLimits, RetryBudget, RetryPolicy, TcpKeepalive
from holdfast.vocabulary import Cause, CloseReason, EndedBy, Evidence, Phase, Progress, Verdict

__all__ = [
    "AcquireTimeoutError",
    "Cause",
    "CloseReason",
    "ConnectError",
    "EndedBy",
    "Evidence",
    "FailureReport",
    "Heartbeat",
    "HoldfastError",
    "KeepaliveInEffect",
    "KnowledgeError",
    "Learned",
    "LearnedLimits",
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
    "Reply",
    "RetryBudget",
    "RetryPolicy",
    "SocketPool",
    "Stats",
    "StrayAnswerError",
    "TcpFacts",
    "TcpKeepalive",
    "TooManyWaitingError",
    "Verdict",
    "WrapConflictError",
    "learned",
    "report",
    "request_options",
    "stats",
    "unwrap",
    "wrap",
]

__version__ = "0.1.0"

# What a library logs is shown only to those who ask for it.
logging.getLogger(__name__).addHandler(logging.NullHandler())
