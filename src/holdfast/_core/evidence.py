"""What the kernel's view of a connection proves about a request that went out on it.

Two rules, both from the acknowledgements that TCP carries in every segment. They are used only on a
connection that was idle with nothing unacknowledged when the request went out, so that whatever the
peer acknowledges afterwards is a byte of this request.

*Causality*: an answer was sent after its request arrived, so the segment that brings its first byte
acknowledges a byte of the request. Bytes that come while nothing is acknowledged left the peer
before; they answer something else.

*Who closed first*: a FIN that left after a byte of the request arrived acknowledges that byte. A FIN
without it left before; the peer had hung up, and its kernel answers the request with a reset.
"""

from __future__ import annotations

from typing import NamedTuple

from holdfast.vocabulary import Evidence, Progress

__all__ = [
    "CLOSE",
    "CLOSE_WAIT",
    "ESTABLISHED",
    "Ending",
    "TcpSnapshot",
    "is_stray",
    "progress_between",
    "who_closed_first",
]

# States as Linux numbers them (include/net/tcp_states.h).
ESTABLISHED = 1
CLOSE = 7
CLOSE_WAIT = 8

_NO_SAMPLE = 2**32 - 1
"""All that was ever sent had to be sent twice, so no round trip could be measured."""

_MICROSECONDS = 1e-6
_MILLISECONDS = 1e-3


class TcpSnapshot(NamedTuple):
    """What TCP_INFO said at one moment (man 7 tcp), in the kernel's own units."""

    state: int
    retransmits: int
    """Retransmissions of the oldest unacknowledged segment."""
    rto_us: int
    unacked: int
    """Segments sent and not acknowledged."""
    last_data_sent_ms: int
    """Milliseconds ago."""
    last_data_recv_ms: int
    rtt_us: int
    total_retrans: int
    bytes_acked: int
    notsent_bytes: int
    min_rtt_us: int
    data_segs_in: int | None = None
    """Segments with data that came; ``tcpi_bytes_received`` will not do, for it counts a FIN as a byte."""
    bytes_sent: int | None = None
    """Handed to the network, those that were sent again counted again."""
    probes: int = 0
    """Of keepalive or a closed window, sent and not answered."""
    last_ack_recv_ms: int = 0
    """Milliseconds ago: anything that came, for every segment of an open connection acknowledges."""
    rttvar_us: int = 0
    segs_out: int = 0
    """Segments of any kind that were sent; this and the next are 32 bits wide and wrap."""
    segs_in: int = 0

    @property
    def quiet(self) -> bool:
        """All that was ever sent is acknowledged."""
        return self.unacked == 0 and self.notsent_bytes == 0

    @property
    def quiet_for(self) -> float:
        """Seconds since the last data came in, or since the connection was opened if none did."""
        return self.last_data_recv_ms * _MILLISECONDS

    @property
    def unheard_for(self) -> float:
        """Seconds since the peer's kernel showed any sign of life. Keepalive counts from there."""
        return min(self.last_data_recv_ms, self.last_ack_recv_ms) * _MILLISECONDS

    @property
    def rtt(self) -> float:
        """Seconds."""
        return self.rtt_us * _MICROSECONDS

    @property
    def min_rtt(self) -> float:
        """Seconds."""
        return self.min_rtt_us * _MICROSECONDS

    @property
    def rto(self) -> float:
        """Seconds until what is unacknowledged is sent again."""
        return self.rto_us * _MICROSECONDS

    @property
    def patience(self) -> float:
        """Seconds within which the peer's kernel has answered what was just sent: two round trips, or
        one after the first retransmission. Bounded, for a path that has gone bad has no bound."""
        return min(max(2 * self.rtt, self.rtt + self.rto, 0.005), 1.0)

    @property
    def probe_patience(self) -> float:
        """Seconds within which a kernel that is there has answered a question of ours. Four deviations
        beyond the mean are what the retransmission timer allows (RFC 6298), two round trips what a path
        allows that got longer; 50 ms are for a busy machine. A fresh connection is never far, so it is not
        worth more than three round trips to learn that one is needed."""
        deviation = self.rttvar_us * _MICROSECONDS
        wanted = max(2 * self.rtt + 4 * deviation, self.rtt + 0.05)
        return min(wanted, 3 * self.rtt + 0.05, 1.0)

    @property
    def hurried(self) -> float:
        """Seconds that what was sent may stay unacknowledged after it was sent again, if somebody is in a
        hurry to know. Linux counts from the first retransmission, and doubles the time to each next: three
        times the first is room for two, after the first copy and the probe of its tail (RFC 8985). Where one
        copy in ten is lost on the way or has its acknowledgement lost (5 % each way), one request in ten
        thousand loses all four. A second at the least: the fastest path may be the one that stalls."""
        return max(3 * self.rto, 1.0)


class Ending(NamedTuple):
    """How the kernel saw a connection end."""

    fin_seen: bool
    """The state was CLOSE_WAIT, or the reset was noted as EPIPE, which it is only after a FIN."""
    last: TcpSnapshot
    outq: int | None
    """Bytes written and not acknowledged; None if it cannot be told."""


def is_stray(before: TcpSnapshot, now: TcpSnapshot, *, one_send: bool, tick: float) -> bool:
    """Whether the first bytes of an "answer" left the peer before the request reached it.

    ``one_send``: the request went out in a single send. ``tick``: the resolution, in seconds, of the
    kernel's notes of when data came and went.
    """
    if not before.quiet:
        return False
    if now.bytes_acked == before.bytes_acked:
        return True
    sent_once = one_send and now.total_retrans == before.total_retrans
    return sent_once and _came_too_soon(now, tick)


def _came_too_soon(now: TcpSnapshot, tick: float) -> bool:
    """A reader who looks more than a round trip late finds the request acknowledged whatever the
    bytes are. If they came sooner after the request than the connection's smallest round trip, they
    cannot be its answer. Half of it, less two ticks: a path may become shorter while nobody looks,
    and a good answer must not be refused. Not for a request of several sends, or one that was sent
    again: the answer to the first copy may come soon after the last."""
    if now.min_rtt_us == _NO_SAMPLE:
        return False
    gap = (now.last_data_sent_ms - now.last_data_recv_ms) * _MILLISECONDS
    return gap + 2 * tick < now.min_rtt / 2


def progress_between(before: TcpSnapshot | None, after: TcpSnapshot | None) -> Progress:
    """How far a request got, seen from the socket alone. A doubt is ``MAYBE_PROCESSED``.

    Nothing was sent, and nothing can be any more, if the count of sent bytes stands where it stood and
    nothing is queued: a queue that a reset has emptied is lost for good, but one that still holds bytes may
    deliver them yet, even after the socket was closed.
    """
    if before is None or after is None or before.data_segs_in is None or after.data_segs_in is None:
        return Progress.MAYBE_PROCESSED
    if after.data_segs_in > before.data_segs_in:
        return Progress.RESPONSE_STARTED
    if after.bytes_sent == before.bytes_sent and after.quiet and before.quiet:
        return Progress.NOT_SENT
    return Progress.MAYBE_PROCESSED


def who_closed_first(before: TcpSnapshot, ending: Ending, written: int, *, exact: bool) -> Evidence:
    """Whether the peer had hung up before the request arrived.

    ``written``: bytes of the request. ``exact``: they went out as they are; over TLS they grow.

    A bare reset proves nothing: a peer that reads a request and resets at once has not acknowledged
    it either, for acknowledgements are delayed. Nor does an end of file without its FIN (TLS).

    What is left, and cannot be seen from here: a peer that half-closes while idle, executes a request
    all the same and aborts at once; and a middlebox that forges a FIN.
    """
    if not before.quiet:
        return Evidence.UNCLEAR_START
    if not ending.fin_seen:
        return Evidence.NO_FIN
    if ending.last.bytes_acked != before.bytes_acked:
        return Evidence.ACKNOWLEDGED
    if ending.last.state != CLOSE:
        return Evidence.NOT_OVER
    if ending.outq is None or ending.outq < written or (exact and ending.outq != written):
        return Evidence.UNCLEAR_QUEUE
    return Evidence.FIN_BEFORE_REQUEST
