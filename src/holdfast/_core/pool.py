"""The rules of a pool: who is lent what, who waits, what is kept, checked and closed.

An entry is in exactly one place at a time. The place "idle" is a deque and two dicts, and taking one out,
or putting one in, is one indivisible step of these: whoever took it has it, without a lock. So
:meth:`PoolCore.lend` and :meth:`PoolCore.give_back` may be called without one, or be written out by a driver
to whom a call is too dear. Every other method wants the driver's lock, and leaves what to do in ``outbox``.

Why nobody can be forgotten: one who waits first raises the flags and then looks at the idle ones;
one who gives back first lays it down and then looks at the flags. One of the two sees the other.
"""

from __future__ import annotations

from collections import deque

from holdfast._core import reuse
from holdfast._core.actions import Action, Close, Grant, Open, Refuse, WhyRefused
from holdfast._core.asking import Asking, beat_due
from holdfast._core.idle_place import NOTHING, IdlePlace, Slip
from holdfast._core.pool_entry import IDLE, LEASED, UNDER_WATCH, PoolEntry, State, Stimulus, left_behind
from holdfast._core.pool_sizes import PoolSizes
from holdfast._core.waiting import Ticket
from holdfast._core.warming import Warming
from holdfast.policy import Heartbeat, PoolLimits
from holdfast.vocabulary import CloseReason

__all__ = ["PoolCore"]


class PoolCore:
    """Feed it what happened, with the time; do what it leaves in ``outbox``."""

    def __init__(self, sizes: PoolSizes, limits: PoolLimits, heartbeat: Heartbeat | None = None) -> None:
        self._sizes = sizes
        self._limits = limits
        self.everything: dict[PoolEntry, None] = {}
        """All that count against maxsize, the oldest first."""
        self._idle = IdlePlace()
        self.top = self._idle.top
        """The idle ones that came back last."""
        self.waiting: deque[Ticket] = deque()
        self.outbox: list[Action] = []
        self._asking = Asking(heartbeat)
        self._ended: WhyRefused | None = None
        self._warming = Warming(sizes)
        self._set_flags()

    # -- without the lock

    def lend(self, now: float) -> PoolEntry | None:
        """An idle entry, the one used last; None if the answer is not that simple."""
        if self.lendable is not self.top:
            return None
        # Newest first: the others then age past idle_timeout and leave, so the pool shrinks
        # to what the load needs.
        entry = self._idle.take_newest()
        if entry is None:
            return None
        if now - entry.idle_since < entry.idle_allowance and now < entry.old_at:
            entry.state = LEASED
            return entry
        # Back to where it was. Only its limits say that it must go, and the locked way asks them again.
        self._idle.fresh[entry] = True
        return None

    def give_back(self, slip: Slip, now: float) -> bool:
        """The lease ended well. True if :meth:`settle` has to be called, with the lock."""
        entry = slip.entry
        entry.uses += 1
        entry.idle_since = now
        entry.state = IDLE
        slip.pool = None
        self.top.append(slip)
        # Asked after it was laid down; see above.
        return self.ask_after_return or entry.alarm is None

    # -- with the lock: lending

    def settle(self, entry: PoolEntry, now: float) -> None:
        """After a return that needs thought. Somebody may have taken the entry in the meantime."""
        self._serve(now)
        if entry.state is IDLE and self._idle.claim(entry):
            self._keep_or_retire(entry, now)
        self._warm(now)

    def request(self, ticket: Ticket, now: float) -> None:
        """Answered in the ticket, now or later. If it is later, he who asks has to wait."""
        if self._ended is not None:
            self._serve(now)
            self._end(self._ended, now)
            ticket.why_refused = self._ended
            return
        ticket.entry = None if self.waiting else self._next(now)
        self._warm(now)
        if ticket.entry is not None:
            return
        self.waiting.append(ticket)
        self._set_flags()
        self._serve(now)  # also with what `lend` put back behind the back of those who wait
        if ticket.waits and len(self.waiting) > self._sizes.most_waiting:
            self.waiting.remove(ticket)
            self._set_flags()
            ticket.why_refused = WhyRefused.TOO_MANY_WAITING

    def gave_up(self, ticket: Ticket, now: float) -> None:
        """His time ran out. If he was served in that moment he gets it all the same."""
        self._serve(now)
        if ticket in self.waiting:
            self.waiting.remove(ticket)
            self._set_flags()

    def hand_on(self, ticket: Ticket, now: float) -> None:
        """He cannot take anything any more. What he was given goes to the next."""
        self.gave_up(ticket, now)
        entry = ticket.entry
        if entry is not None and entry.state is State.OPENING:
            self.retire(entry, CloseReason.CLOSED_LOCALLY, now)
        elif entry is not None and entry.state is State.LEASED:
            self._lay_down(entry, Stimulus.RETURN, now)

    def opened(self, entry: PoolEntry, now: float, jitter: float) -> bool:
        """It is connected. False if it is retired, for the pool was closed. ``jitter``: 0 to 1, random."""
        entry.opened_at = entry.idle_since = now
        reuse.opened(entry, self._limits, jitter)
        entry.trust(self._limits.probe_after)
        self._asking.opened(entry, now, jitter)
        if entry.state is not State.OPENING or self._ended is WhyRefused.CLOSED:
            self.retire(entry, CloseReason.CLOSED_LOCALLY, now)
            return False
        if entry in self._warming.under_way:
            self._warming.under_way.discard(entry)
            self._lay_down(entry, Stimulus.WARM, now)
        else:
            entry.move(Stimulus.CONNECT)
        return True

    def open_failed(self, entry: PoolEntry, now: float) -> None:
        if entry in self._warming.under_way and self._ended is None:
            self._warming.failed(now)
        self.retire(entry, CloseReason.FAILED, now)

    def replace(self, ticket: Ticket, reason: CloseReason, now: float, *, by_new: bool = False) -> None:
        """He was lent a dead one. If there is another he gets it, and does not lose his turn for it."""
        assert ticket.entry is not None
        self._close(ticket.entry, reason)
        ticket.entry = self._new(now) if by_new else self._next(now)
        self._serve(now)
        self._warm(now)

    def retire(self, entry: PoolEntry, reason: CloseReason, now: float) -> None:
        """Whoever has it wants it gone. Its place is free at once. Harmless if it is gone already."""
        if entry.state is State.CLOSED:
            return
        if entry.state is State.LOST:
            entry.move(Stimulus.RETIRE)  # its copy was closed at the fork
            return
        if entry.state is State.LEASED:
            entry.uses += 1
        self._close(entry, reason)
        self._serve(now)
        self._warm(now)

    # -- with the lock: idle ones

    def reserve(self, entry: PoolEntry, now: float) -> bool:
        """Sets an idle entry apart, before anybody else can look. False if it is not idle."""
        if not self._idle.claim(entry):
            return False
        entry.move(Stimulus.RESERVE)
        entry.asked_at = now
        return True

    def startled(self, entry: PoolEntry, reason: CloseReason, now: float) -> bool:
        """The peer ended it. True if it was idle: it is reserved now, to be looked at. What is in use
        is closed when it comes back."""
        if self.reserve(entry, now):
            return True
        entry.doom(reason)
        # It may have been laid down between the two, by one who did not see the reason yet.
        if self._idle.claim(entry):
            self.retire(entry, reason, now)
        return False

    def recheck(self, now: float) -> None:
        """One was found dead that nobody had ended: the others may be as well."""
        for entry in self._idle.all():
            if self.reserve(entry, now):
                entry.suspected_at = now
                self.outbox.append(self._asking.ask(entry, now))

    def checked(
        self, entry: PoolEntry, reason: CloseReason | None, now: float, *, answered: bool = False
    ) -> None:
        """What came of a check or heartbeat: a reason to close it, or None."""
        if entry.state not in UNDER_WATCH:
            return
        if reason is not None:
            self.retire(entry, reason, now)
            return
        entry.misses = 0
        entry.alarm = None
        if answered:
            entry.heard_at = now
        self._lay_down(entry, Stimulus.ANSWER, now)

    def began(self, entry: PoolEntry, now: float) -> bool:
        """A thread is free for the heartbeat of this entry. False if nobody wants it any more."""
        return self._asking.began(entry, now)

    def timer(self, now: float) -> None:
        """Call it when ``next_deadline`` has come, and once at the start. More often does no harm."""
        for entry in list(self._asking.alarms.due(now)):
            if entry.state in UNDER_WATCH:
                if self._asking.is_over(entry, now, wanted=bool(self.waiting)):
                    self._close(entry, CloseReason.HEARTBEAT_MISSED)
            elif self._idle.claim(entry):
                self._think_about(entry, now)
        self._serve(now)
        self._warm(now)

    def next_deadline(self) -> float | None:
        """When ``timer`` is to be called."""
        alarm, warm = self._asking.alarms.earliest(), self._warming.not_before
        return alarm if warm is None else warm if alarm is None else min(alarm, warm)

    # -- with the lock: the end

    def drain(self, now: float) -> None:
        """Nobody new. Who waits is served, what comes back and is not needed is closed."""
        self._end(self._ended or WhyRefused.DRAINING, now)

    def close(self, now: float) -> None:
        """Nobody at all. What is leased is closed when it comes back."""
        self._end(WhyRefused.CLOSED, now)

    def forked(self) -> None:
        """In the child: all of this belongs to the parent. The driver makes a new core."""
        self.outbox += [Close(entry, CloseReason.FORKED) for entry in left_behind(list(self.everything))]
        self.everything.clear()

    @property
    def idle(self) -> int:
        return len(self._idle)

    # -- the rules behind it

    def _set_flags(self) -> None:
        sizes, busy = self._sizes, bool(self.waiting) or self._ended is not None
        # Pools that use these settings take the lock each time; others need not even ask for it.
        self.lendable = NOTHING if busy or sizes.min_idle > 0 else self.top
        self.ask_after_return = busy or sizes.most_idle < sizes.maxsize or self._limits.max_uses is not None

    def _next(self, now: float) -> PoolEntry | None:
        """An idle one that may be lent, or the place for a new one."""
        while (entry := self._idle.claim_newest()) is not None:
            reason = reuse.why_not_reuse(entry, self._limits, now)
            if reason is None:
                entry.move(Stimulus.LEND)
                return entry
            self._close(entry, reason)
        if len(self.everything) < self._sizes.maxsize:
            return self._new(now)
        spare = self._asking.expendable(self.everything)
        if spare is None:
            return None
        if spare.state is State.DOUBTED:
            self._close(spare, CloseReason.HEARTBEAT_MISSED)
            return self._new(now)
        spare.move(Stimulus.ANSWER)
        self._idle.put(spare)
        return self._next(now)

    def _new(self, now: float) -> PoolEntry:
        entry = PoolEntry(now)
        self.everything[entry] = None
        return entry

    def _serve(self, now: float) -> None:
        while self.waiting:
            entry = self._next(now)
            if entry is None:
                return
            ticket = self.waiting.popleft()
            ticket.entry = entry
            self.outbox.append(Grant(ticket, entry))
        self._set_flags()

    def _lay_down(self, entry: PoolEntry, stimulus: Stimulus, now: float) -> None:
        """It becomes idle; or it goes to one who waits, or leaves."""
        entry.move(stimulus)
        self._keep_or_retire(entry, now, rested=stimulus is Stimulus.ANSWER)
        self._serve(now)

    def _keep_or_retire(self, entry: PoolEntry, now: float, *, rested: bool = False) -> None:
        reason = reuse.why_not_reuse(entry, self._limits, now)
        if reason is None and self._ended is not None and not self.waiting:
            reason = CloseReason.CLOSED_LOCALLY
        if reason is not None:
            self._close(entry, reason)
            return
        self._idle.put(entry, rested=rested)
        if not self.waiting and self.idle > self._sizes.most_idle:
            oldest = self._idle.claim_oldest()
            if oldest is not None:
                self._close(oldest, CloseReason.SURPLUS)
        if entry.alarm is None and entry.state is State.IDLE:
            self._asking.lies_idle(entry, now)

    def _think_about(self, entry: PoolEntry, now: float) -> None:
        """An idle entry whose alarm rang, claimed already."""
        reason = reuse.why_not_reuse(entry, self._limits, now)
        if reason is not None:
            self._close(entry, reason)
        elif now >= beat_due(entry):
            entry.move(Stimulus.RESERVE)
            self.outbox.append(self._asking.ask(entry, now))
        else:
            # Moved to the other place if it was used since; the order among those that nobody
            # has used for so long is of no weight.
            self._idle.put(entry, rested=True)
            self._asking.lies_idle(entry, now)

    def _warm(self, now: float) -> None:
        if not self._sizes.min_idle or self._ended is not None:
            return
        for _ in range(self._warming.lacking(self.everything, self.idle, now)):
            entry = self._new(now)
            self._warming.under_way.add(entry)
            self.outbox.append(Open(entry))

    def _end(self, why: WhyRefused, now: float) -> None:
        self._ended = why
        while self.waiting and why is WhyRefused.CLOSED:
            ticket = self.waiting.popleft()
            ticket.why_refused = why
            self.outbox.append(Refuse(ticket, why))
        self._warming.not_before = None
        self._set_flags()
        for entry in list(self.everything):
            if entry.state in UNDER_WATCH or self._idle.claim(entry):
                self._close(entry, CloseReason.CLOSED_LOCALLY)
        self._serve(now)

    def _close(self, entry: PoolEntry, reason: CloseReason) -> None:
        entry.move(Stimulus.RETIRE)
        self.everything.pop(entry, None)
        self._warming.under_way.discard(entry)
        self._asking.queued.pop(entry, None)
        self._asking.alarms.forget(entry, len(self.everything))
        self.outbox.append(Close(entry, reason))
