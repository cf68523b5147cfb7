"""Requests of one pool fail in any way and any order, while time passes and servers come and go.

Hypothesis plays the world; what is held against it is what the policy promises.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

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
from holdfast.policy import RetryBudget, RetryPolicy
from holdfast.testing import FakeClock
from holdfast.vocabulary import Progress, Verdict

A_BIT = 1e-9


def mostly(usual: bool) -> st.SearchStrategy[bool]:
    """The unusual ends a request's story, and most stories shall be long."""
    return st.sampled_from([usual] * 7 + [not usual])


budgets = st.none() | st.builds(
    RetryBudget,
    ratio=st.sampled_from([0.0, 0.2, 1.0]),
    per_second=st.sampled_from([0.0, 1.0, 10.0]),
    most=st.sampled_from([1.0, 3.0, 20.0]),
)
policies = st.builds(
    RetryPolicy,
    recovery=mostly(True),
    peer_closed_first=st.booleans(),
    repeat_incomplete=st.booleans(),
    attempts=st.integers(1, 5),
    base_delay=st.sampled_from([0.01, 0.1]),
    max_delay=st.sampled_from([0.1, 2.0]),
    reconnect=st.sampled_from([0.0, 1.0, 5.0]),
    budget=budgets,
    max_retry_after=st.sampled_from([0.0, 5.0, 60.0]),
)


@dataclass
class Asked:
    """A request, and what has become of it."""

    campaign: Campaign
    safe: bool
    replayable: bool
    caller: Caller
    sent: int = 0
    repeats: int = 0
    recoveries: int = 0
    failed_opening: int = 0
    verdicts: list[Verdict] = field(default_factory=list)


class Pool(RuleBasedStateMachine):
    requests = Bundle("requests")

    @initialize(policy=policies)
    def open(self, policy: RetryPolicy) -> None:
        self.policy = policy
        self.clock = FakeClock()
        self.began = self.clock()
        self.budget = None if policy.budget is None else Budget(policy.budget, self.clock())
        self.outage = Outage()
        self.made = 0
        self.paid = 0
        """Repeats and connects that the budget has to pay for."""

    # -- what happens

    @rule(
        target=requests,
        safe=mostly(True),
        replayable=mostly(True),
        caller=st.sampled_from([Caller.SILENT, Caller.SILENT, Caller.SILENT, Caller.COVERS, Caller.REFUSES]),
        deadline=st.none() | st.none() | st.sampled_from([0.005, 0.5, 3.0, 30.0]),
        forbidden=mostly(False),
    )
    def ask(
        self, safe: bool, replayable: bool, caller: Caller, deadline: float | None, forbidden: bool
    ) -> Asked:
        ends_at = None if deadline is None else self.clock() + deadline
        asked = Asked(Campaign(ends_at=ends_at, forbidden=forbidden), safe, replayable, caller)
        self.send(asked)
        return asked

    @rule(seconds=st.sampled_from([0.0, 0.001, 0.1, 1.0, 1_000.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(others=st.integers(1, 4))
    def others_succeed(self, others: int) -> None:
        self.made += others

    @rule()
    def the_server_is_there(self) -> None:
        self.outage.over()

    @rule(
        target=requests,
        asked=consumes(requests),
        progress=st.sampled_from(Progress),
        reused=st.booleans(),
        timed_out=mostly(False),
        interrupted=mostly(False),
        nonsense=mostly(False),
        chance=st.floats(0, 1),
    )
    def it_fails(
        self,
        asked: Asked,
        progress: Progress,
        reused: bool,
        timed_out: bool,
        interrupted: bool,
        nonsense: bool,
        chance: float,
    ) -> object:
        attempt = Attempt(
            progress=progress,
            reused=reused,
            safe=asked.safe,
            replayable=asked.replayable,
            timed_out=timed_out,
            interrupted=interrupted,
            nonsense=nonsense,
            caller=asked.caller,
        )
        recovered, failures = asked.campaign.recovered, asked.campaign.failures
        before = self.tokens()
        decision = decide(attempt, asked.campaign, self.means(chance))
        assert asked.campaign.failures == failures + 1
        verdict = decision.verdict
        if verdict.repeats:
            self.check_harmless(attempt, asked)
            assert not timed_out
            assert not interrupted
            assert not nonsense
            if verdict is Verdict.REPEATED_AFTER_WAIT:
                assert asked.caller is Caller.SILENT
                assert asked.campaign.failures < self.policy.attempts
                self.paid += 1
            else:
                assert self.policy.recovery
                assert not recovered
                assert asked.campaign.recovered
                assert decision.delay == 0
                assert self.tokens() == before
                asked.recoveries += 1
        else:
            self.check_reason(attempt, asked, verdict, before)
        return self.carry_out(asked, decision)

    @rule(
        target=requests,
        asked=consumes(requests),
        retry_after=st.none() | st.sampled_from([0.0, 1.0, 5.0, 30.0, 60.0, 31_536_000.0]),
        chance=st.floats(0, 1),
    )
    def it_is_told_to_come_again(self, asked: Asked, retry_after: float | None, chance: float) -> object:
        attempt = Attempt(
            progress=Progress.RESPONSE_STARTED,
            reused=False,
            safe=asked.safe,
            replayable=asked.replayable,
            timed_out=False,
            interrupted=False,
            nonsense=False,
            caller=asked.caller,
        )
        before = self.tokens()
        decision = decide_status(attempt, asked.campaign, self.means(chance), retry_after)
        if decision.verdict.repeats:
            assert decision.verdict is Verdict.REPEATED_STATUS
            self.check_harmless(attempt, asked)
            assert asked.caller is Caller.SILENT
            assert (retry_after or 0) <= decision.delay
            assert (retry_after or 0) <= self.policy.max_retry_after
            assert asked.campaign.failures < self.policy.attempts
            self.paid += 1
        else:
            assert self.tokens() == before
            if decision.verdict is Verdict.REFUSED_RETRY_AFTER:
                assert retry_after is not None
                assert retry_after > self.policy.max_retry_after
        return self.carry_out(asked, decision)

    @rule(
        target=requests,
        asked=consumes(requests),
        connect_timeout=st.none() | st.sampled_from([0.05, 1.0, 20.0]),
        tries=st.integers(1, 12),
        chance=st.floats(0, 1),
    )
    def it_cannot_be_connected(
        self, asked: Asked, connect_timeout: float | None, tries: int, chance: float
    ) -> object:
        """The connection is refused ``tries`` times, then taken; or given up before."""
        began = self.clock()
        until = float("inf") if connect_timeout is None else began + connect_timeout
        for number in range(1, tries + 1):
            give_up_at = min(until, self.outage.met(self.clock(), self.policy.reconnect))
            decision = decide_reconnect(
                asked.campaign,
                self.means(chance),
                caller=asked.caller,
                failures=number,
                give_up_at=give_up_at,
            )
            if not decision.verdict.repeats:
                self.check_not_connected(asked, decision.verdict, give_up_at)
                return self.carry_out(asked, decision)
            assert decision.verdict is Verdict.RECONNECTED
            assert not asked.campaign.forbidden
            assert asked.caller is Caller.SILENT
            self.clock.advance(decision.delay)
            assert self.clock() <= until + A_BIT
            assert self.clock() <= began + self.policy.reconnect + A_BIT
            assert asked.campaign.ends_at is None or self.clock() < asked.campaign.ends_at
            if not self.means(chance).may_spend():
                return self.carry_out(asked, Decision(Verdict.REFUSED_BUDGET))
            self.paid += 1
        self.outage.over()
        return asked

    # -- what is promised

    @invariant()
    def the_budget_is_neither_overdrawn_nor_passed_by(self) -> None:
        if not hasattr(self, "policy") or self.budget is None or self.policy.budget is None:
            return
        assert self.tokens() >= -A_BIT
        flowed = self.policy.budget.per_second * (self.clock() - self.began)
        came_in = self.policy.budget.most + self.policy.budget.ratio * self.made + flowed
        assert self.paid <= came_in + 1e-6

    def send(self, asked: Asked) -> None:
        """It goes out, if it may: the promises that hold for every request."""
        asked.sent += 1
        self.made += 1
        ours = asked.sent if asked.caller is Caller.SILENT else asked.repeats
        assert ours <= self.policy.attempts + 1
        assert asked.recoveries <= 1

    def carry_out(self, asked: Asked, decision: Decision) -> object:
        asked.verdicts.append(decision.verdict)
        if decision.verdict.repeats:
            assert not asked.campaign.forbidden
            self.clock.advance(decision.delay)
            assert asked.campaign.ends_at is None or self.clock() < asked.campaign.ends_at
            asked.repeats += 1
            self.send(asked)
            return asked
        assert decision.delay == 0
        left = decision.verdict in (Verdict.LEFT_TO_CALLER, Verdict.LEFT_UNSENT)
        if left and asked.caller is Caller.COVERS and not asked.campaign.forbidden:
            self.send(asked)  # his Retry does
            return asked
        return multiple()

    def check_harmless(self, attempt: Attempt, asked: Asked) -> None:
        assert not asked.campaign.forbidden
        assert attempt.replayable
        if attempt.safe:
            return
        harmless = {Progress.NOT_SENT}
        if self.policy.peer_closed_first:
            harmless.add(Progress.PEER_CLOSED_FIRST)
        if self.policy.repeat_incomplete:
            harmless.add(Progress.INCOMPLETE)
        assert attempt.progress in harmless

    def check_reason(self, attempt: Attempt, asked: Asked, verdict: Verdict, tokens: float) -> None:
        """A refusal says what is the case."""
        campaign, policy = asked.campaign, self.policy
        longest = policy.max_delay
        may_be = {
            Verdict.REFUSED_FORBIDDEN: campaign.forbidden,
            Verdict.REFUSED_BODY: not attempt.replayable,
            Verdict.REFUSED_INCOMPLETE: not attempt.safe and attempt.progress is Progress.INCOMPLETE,
            Verdict.REFUSED_MAYBE_PROCESSED: not attempt.safe
            and attempt.progress is Progress.MAYBE_PROCESSED,
            Verdict.REFUSED_EVIDENCE: not (attempt.safe or policy.peer_closed_first)
            and attempt.progress is Progress.PEER_CLOSED_FIRST,
            Verdict.REFUSED_RESPONSE_STARTED: attempt.nonsense
            or (not attempt.safe and attempt.progress is Progress.RESPONSE_STARTED),
            Verdict.REFUSED_INTERRUPTED: attempt.interrupted,
            Verdict.REFUSED_TIMED_OUT: attempt.timed_out,
            Verdict.REFUSED_DEADLINE: campaign.is_over(self.clock() + longest),
            Verdict.REFUSED_ATTEMPTS: campaign.failures >= policy.attempts,
            Verdict.REFUSED_BUDGET: tokens < 1,
            Verdict.REFUSED_BY_RETRY: attempt.caller is Caller.REFUSES,
            Verdict.LEFT_TO_CALLER: attempt.caller is Caller.COVERS,
        }
        assert may_be[verdict]
        assert self.tokens() == tokens

    def check_not_connected(self, asked: Asked, verdict: Verdict, give_up_at: float) -> None:
        campaign = asked.campaign
        may_be = {
            Verdict.REFUSED_FORBIDDEN: campaign.forbidden,
            Verdict.REFUSED_DEADLINE: campaign.is_over(self.clock() + self.policy.max_delay),
            Verdict.LEFT_UNSENT: asked.caller is not Caller.SILENT or self.clock() >= give_up_at,
        }
        assert may_be[verdict]

    # -- means

    def tokens(self) -> float:
        return float("inf") if self.budget is None else self.budget.tokens(self.clock(), self.made)

    def means(self, chance: float) -> Means:
        return Means(self.policy, self.budget, self.clock(), self.made, chance)


TestPool = Pool.TestCase
TestPool.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
