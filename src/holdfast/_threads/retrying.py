"""What the requests of one pool share about retries: a budget, and how long its server is away."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from holdfast._core.budget import Budget
from holdfast._core.outage import Outage
from holdfast._core.retry import (
    Attempt,
    Caller,
    Campaign,
    Decision,
    Means,
    decide,
    decide_reconnect,
    decide_status,
)
from holdfast._threads.fork_safe import ForkSafeLock
from holdfast.policy import Policy
from holdfast.vocabulary import Verdict

__all__ = ["Retrying"]


class Retrying:
    def __init__(self, policy: Policy, requests: Callable[[], int]) -> None:
        """``requests``: how many the pool has made."""
        self._policy = policy.retry
        self._clock = policy.clock
        self._sleep = policy.sleep
        self._requests = requests
        self._lock = ForkSafeLock()
        budget = policy.retry.budget
        self._budget = None if budget is None else Budget(budget, policy.clock())
        self._outage = Outage()
        self._away = False

    def after_failure(self, attempt: Attempt, campaign: Campaign) -> Decision:
        with self._lock.lock:
            return decide(attempt, campaign, self._means())

    def after_status(self, attempt: Attempt, campaign: Campaign, retry_after: float | None) -> Decision:
        with self._lock.lock:
            return decide_status(attempt, campaign, self._means(), retry_after)

    def wait(self, delay: float) -> None:
        if delay > 0:
            self._sleep(delay)

    def opened(self) -> None:
        """A connection was opened: the server is there."""
        if self._away:
            with self._lock.lock:
                self._away = False
                self._outage.over()

    def await_reconnect(
        self, campaign: Campaign, caller: Caller, failures: int, *, give_up_at: float, not_before: float
    ) -> tuple[Verdict, float]:
        """Waits until a connection may be tried again, or says why it is not; and how long it waited.
        ``give_up_at``: when the caller's own patience for connecting ends. ``not_before``: it is this
        late at least, whatever the clock says; a test's may stand still while we wait."""
        with self._lock.lock:
            self._away = True
            give_up_at = min(give_up_at, self._outage.met(self._clock(), self._policy.reconnect))
        refused = None
        slept = 0.0
        while True:
            with self._lock.lock:
                means = self._means(not_before=not_before + slept)
                decision = decide_reconnect(
                    campaign, means, caller=caller, failures=failures, give_up_at=give_up_at
                )
            if not decision.verdict.repeats:
                return refused or decision.verdict, slept
            self.wait(decision.delay)
            slept += decision.delay
            with self._lock.lock:
                if self._means().may_spend():
                    return decision.verdict, slept
            failures, refused = failures + 1, Verdict.REFUSED_BUDGET

    def _means(self, *, not_before: float = -math.inf) -> Means:
        now = max(self._clock(), not_before)
        chance = random.random()  # noqa: S311 - spreads clients
        return Means(self._policy, self._budget, now, self._requests(), chance)
