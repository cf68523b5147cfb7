"""Looking at what holdfast did: :func:`stats` for the whole, :func:`report` for one failure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from holdfast._core.failure import FailureReport, TcpFacts
from holdfast._net.tcp_keepalive import KeepaliveInEffect
from holdfast.adapters import pools_below
from holdfast.adapters.urllib3._context import Count, PoolContext
from holdfast.adapters.urllib3._faults import find_report
from holdfast.adapters.urllib3._wrapping import is_open, pooled
from holdfast.errors import WrapConflictError
from holdfast.vocabulary import CloseReason, Verdict

__all__ = ["FailureReport", "KeepaliveInEffect", "Stats", "TcpFacts", "report", "stats"]


@dataclass(frozen=True)
class Stats:
    """Counted since the target was wrapped, over all pools below it, also those that are gone."""

    pools: int
    """Pools that exist now."""
    idle: int
    """Connections that lie open in a pool now."""
    open: int
    """Connections that are open now, idle or in use."""
    opened: int
    adopted: int
    """Connections that were open already when they were wrapped."""
    requests: int
    """Requests that were sent, each repeat counted."""
    reused: int
    """Of these, on a connection that had carried one before."""
    heartbeats: int
    """Sent on idle connections. Not among the requests."""
    closed: Mapping[CloseReason, int]
    repeated: Mapping[Verdict, int]
    """Requests that holdfast repeated, by reason."""
    refused: Mapping[Verdict, int]
    """Failed requests that it did not repeat, by reason."""
    keepalive: KeepaliveInEffect | None
    """TCP keepalive as read back from the connection that was opened last."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            name: {key.name: count for key, count in value.items()}
            if isinstance(value, Mapping)
            else vars(value)
            if isinstance(value, KeepaliveInEffect)
            else value
            for name, value in vars(self).items()
        }


def stats(target: object) -> Stats:
    """What became of the connections and requests of a wrapped target.

    Raises :class:`~holdfast.errors.WrapConflictError` if it is not wrapped.
    """
    pools = pools_below(target)
    context = getattr(target, "_holdfast", None)
    if not isinstance(context, PoolContext) or context.released:
        raise WrapConflictError(f"{type(target).__name__} is not wrapped; wrap() it first")
    counts = context.tally.snapshot()
    requests = context.tally.ticked()
    opened, adopted = counts[Count.OPENED], counts[Count.ADOPTED]
    closed = {reason: counts[reason] for reason in CloseReason if counts[reason]}
    verdicts = {verdict: counts[verdict] for verdict in Verdict if counts[verdict]}
    return Stats(
        pools=len(pools),
        idle=sum(is_open(conn) for pool in pools if _counts_into(pool, context) for conn in pooled(pool)),
        open=opened + adopted - sum(closed.values()),
        opened=opened,
        adopted=adopted,
        requests=requests,
        reused=requests - counts[Count.FIRST_USE],
        heartbeats=counts[Count.HEARTBEATS],
        closed=closed,
        repeated={verdict: n for verdict, n in verdicts.items() if verdict.repeats},
        refused={verdict: n for verdict, n in verdicts.items() if not verdict.repeats},
        keepalive=context.keepalive,
    )


def _counts_into(pool: Any, context: PoolContext) -> bool:
    """A pool that was wrapped by itself, before its manager was, keeps its own counts."""
    own = getattr(pool, "_holdfast", None)
    while own is not None and own is not context:
        own = own.parent
    return own is context


def report(error: BaseException | None) -> FailureReport | None:
    """What is known about the failure behind an exception of a wrapped client.

    Finds it however deep the libraries in between have chained it; None if there is none.
    """
    return find_report(error)
