"""How far did the request get? Answered from what was handed over and what came back."""

from __future__ import annotations

from holdfast.vocabulary import Evidence, Phase, Progress

__all__ = ["ATOMIC_SEND", "Delivery"]

ATOMIC_SEND = 4096
"""Bytes that an empty send buffer takes whole or not at all.

The smallest send buffer Linux allows holds 4,608 bytes (SOCK_MIN_SNDBUF), and over TLS this much
is one record. So if the first send is no longer than this and fails, the peer has none of it;
a longer one may have been taken in part before it failed."""


class Delivery:
    """One attempt to get one request delivered over one connection."""

    # Class-level values are the start of what most requests never change or look at: one of these is made
    # for every request.
    failed_length = 0
    """Bytes in the first send, if that one failed."""
    received = 0
    """Bytes of the response that were read from the kernel."""
    head_read = False
    """The response head was read to its end."""
    evidence = Evidence.NOT_ASKED
    """What the kernel said about a request that was handed over and got no answer."""

    def __init__(self) -> None:
        self.sends = 0
        """Sends that succeeded."""
        self.handed_over = 0
        """Bytes in them."""
        self.complete = False
        """The last byte of the request was handed over."""
        self.needs_proof = False
        """It may not be repeated unless the peer is known not to have it."""

    @property
    def progress(self) -> Progress:
        if self.received:
            return Progress.RESPONSE_STARTED
        if self.complete:
            proved = self.evidence is Evidence.FIN_BEFORE_REQUEST
            return Progress.PEER_CLOSED_FIRST if proved else Progress.MAYBE_PROCESSED
        if self.sends == 0 and self.failed_length <= ATOMIC_SEND:
            return Progress.NOT_SENT
        return Progress.INCOMPLETE

    @property
    def phase(self) -> Phase:
        if self.head_read:
            return Phase.BODY
        if self.received:
            return Phase.HEAD
        return Phase.AWAIT if self.complete else Phase.SEND
