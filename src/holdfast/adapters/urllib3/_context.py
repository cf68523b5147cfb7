"""What a wrapped pool, its manager and its connections share: the policy, and the counting."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from holdfast._core.entry import Entry
from holdfast._core.failure import FailureReport
from holdfast._net.tcp_keepalive import KeepaliveInEffect
from holdfast._threads.failure_log import log_failure, log_listener_failure
from holdfast._threads.origins import Origins, origins_by
from holdfast._threads.retrying import Retrying
from holdfast._threads.tally import Tally
from holdfast.adapters._network_news import tell_of_changes
from holdfast.errors import PolicyError
from holdfast.events import ConnectionClosed, ConnectionOpened, Event, RepeatDecided
from holdfast.policy import Policy
from holdfast.vocabulary import CloseReason

if TYPE_CHECKING:
    from holdfast.adapters.urllib3._outpost import Outpost

__all__ = ["Count", "PoolContext"]


class Count(Enum):
    """Counted besides the members of CloseReason and Verdict."""

    OPENED = "connections opened"
    FIRST_USE = "requests that went out on a connection that had carried none"
    ADOPTED = "connections that were open already when they were wrapped"
    HEARTBEATS = "heartbeats that were sent"


class PoolContext:
    """One for each wrapped object; a child counts into its parent as well."""

    __slots__ = (
        "__weakref__",
        "clock",
        "deadline",
        "governs",
        "has_given_up",
        "keepalive",
        "limits",
        "origins",
        "outposts",
        "parent",
        "policy",
        "released",
        "retrying",
        "statuses",
        "tally",
        "ticks",
    )

    def __init__(self, policy: Policy, parent: PoolContext | None = None) -> None:
        """Raises :class:`~holdfast.PolicyError` if the policy has a heartbeat of another protocol."""
        if policy.heartbeat is not None and policy.heartbeat.request is None:
            rule = "is for a SocketPool; a wrapped HTTP client needs one from Heartbeat.http()"
            raise PolicyError("heartbeat", policy.heartbeat, rule)
        self.policy = policy
        self.parent = parent
        self.limits = policy.limits
        self.clock = policy.clock
        self.origins: Origins = origins_by(policy.clock) if parent is None else parent.origins
        tell_of_changes(self.origins)
        self.outposts: set[Outpost] = set()
        """Connections of this pool that are kept open and not lent."""
        self.has_given_up = False
        """And none is wanted any more."""
        self.tally: Tally = Tally(None if parent is None else parent.tally)
        self.ticks = tuple(ticker.tick for ticker in self.tally.ticks)
        """Each called once for every request that goes out."""
        self.retrying = Retrying(policy, self.tally.ticked)
        self.statuses = policy.retry.statuses
        self.deadline = policy.retry.deadline
        self.governs = bool(self.statuses) or self.deadline is not None
        """The policy has something to say about how the caller's Retry goes on."""
        self.keepalive: KeepaliveInEffect | None = None
        """Read back from the connection opened last."""
        self.released = False
        """The target was unwrapped; connections still out find out when they are lent again."""

    def child(self) -> PoolContext:
        return PoolContext(self.policy, self)

    def give_up_outposts(self) -> None:
        """For good."""
        # In this order: who sets one up does it first and looks then.
        self.has_given_up = True
        for outpost in list(self.outposts):
            outpost.give_up()

    def note_keepalive(self, in_effect: KeepaliveInEffect | None) -> None:
        context: PoolContext | None = self
        while context is not None:
            context.keepalive = in_effect
            context = context.parent

    def opened(self, origin: str) -> None:
        self.retrying.opened()
        self.tally.count(Count.OPENED)
        if self.policy.listener is not None:
            self._tell(ConnectionOpened(origin))

    def closed(self, origin: str, entry: Entry, reason: CloseReason) -> None:
        self.tally.count(reason)
        if self.policy.listener is not None:
            age = self.clock() - entry.opened_at
            self._tell(ConnectionClosed(origin, reason, age, entry.uses))

    def decided(self, report: FailureReport) -> None:
        self.tally.count(report.verdict)
        if self.policy.log_interval is not None:
            log_failure(report, self.policy.log_interval)
        if self.policy.listener is not None:
            self._tell(RepeatDecided(report.origin, report.method or "", report.progress, report.verdict))

    def _tell(self, event: Event) -> None:
        listener = self.policy.listener
        assert listener is not None
        try:
            listener(event)
        except Exception as error:  # noqa: BLE001 - an observer must not decide over a request
            log_listener_failure(listener, event, error)
