"""Looking at what holdfast did: :func:`stats` for the whole, :func:`report` for one failure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from holdfast._core.failure import FailureReport, TcpFacts
from holdfast._core.learning import Learner
from holdfast._net.probe import Reply
from holdfast._net.tcp_keepalive import KeepaliveInEffect
from holdfast._threads.origins import Origins, the_origins
from holdfast.adapters import pools_below
from holdfast.adapters.urllib3._context import Count, PoolContext
from holdfast.adapters.urllib3._faults import find_report
from holdfast.adapters.urllib3._pool import origin_of
from holdfast.adapters.urllib3._wrapping import is_open, pooled
from holdfast.errors import WrapConflictError
from holdfast.vocabulary import CloseReason, Verdict

__all__ = [
    "FailureReport",
    "KeepaliveInEffect",
    "Learned",
    "LearnedLimits",
    "Reply",
    "Stats",
    "TcpFacts",
    "learned",
    "report",
    "stats",
]


@dataclass(frozen=True)
class LearnedLimits:
    """What was learned about one origin. In seconds; None where nothing is known."""

    idle_limit: float | None
    """The idle age at which it hangs up."""
    flow_limit: float | None
    """The idle age at which something on the way to it had forgotten the connection."""
    use_limit: int | None
    """The requests after which it hangs up without a word."""

    @classmethod
    def of(cls, learner: Learner, now: float) -> LearnedLimits | None:
        """None if it is nothing at all."""
        idle, flow = learner.idle_limit(now), learner.flow_limit(now)
        limits = cls(
            None if idle is None else idle.seconds,
            None if flow is None else flow.seconds,
            learner.use_limit(now),
        )
        return None if limits == cls(None, None, None) else limits


class Learned:
    """See :func:`learned`."""

    def __init__(self, origins: Origins) -> None:
        self._origins = origins

    def limits(self) -> dict[str, LearnedLimits]:
        """By origin: scheme, host and port, the proxy on the way, the address."""
        return self._origins.tell(LearnedLimits.of)

    def to_json(self) -> str:
        """All of it, for another process or the next one. Ages, no times: no clock needs to agree."""
        return json.dumps(self._origins.export())

    def load_json(self, text: str | bytes) -> None:
        """Takes in what :meth:`to_json` gave. What this process has seen itself counts for more.

        Raises :class:`~holdfast.errors.KnowledgeError` if it is no such document, is cut, or is larger
        than what can be known; then nothing has been taken in.
        """
        self._origins.load(text)

    def forget(self) -> None:
        """As at the start of the process."""
        self._origins.forget()


def learned() -> Learned:
    """What this process has learned about the servers it talks to, for all wrapped clients.

    A client whose policy names a clock of its own keeps what it learns to itself.
    """
    return Learned(the_origins())


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
    parked: int
    """Connections that are open only to see when their peer hangs up; they count as open."""
    probes: Mapping[Reply, int]
    """Idle connections whose peer's kernel was asked whether it still knows them, by what came of it."""
    learned: Mapping[str, LearnedLimits]
    """What is known now about the origins of the pools that exist, by their names."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            name: {_plain(key): _plain(entry) for key, entry in value.items()}
            if isinstance(value, Mapping)
            else _plain(value)
            for name, value in vars(self).items()
        }


def _plain(value: object) -> Any:
    if isinstance(value, Enum):
        return value.name
    return vars(value).copy() if isinstance(value, (KeepaliveInEffect, LearnedLimits)) else value


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
    contexts = [pool._holdfast for pool in pools if _counts_into(pool, context)]
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
        parked=sum(len(own.outposts) for own in contexts),
        probes={reply: counts[reply] for reply in Reply if counts[reply]},
        learned=context.origins.tell(LearnedLimits.of, about={origin_of(pool) for pool in pools}),
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
