"""Taking heartbeats out of a stream of messages, and passing on everything else unchanged.

A message is known by its frame: where it begins and ends is the protocol's business, and bytes that
look like a heartbeat inside another message are none. What may still become a heartbeat is held back
until that is known, everything else passes at once.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from holdfast.errors import PolicyError

__all__ = ["Frames", "Framing", "Lines", "Sieve"]


class Framing(Protocol):
    """How a protocol separates its messages."""

    def wrap(self, message: bytes) -> bytes:
        """The message as it is on the wire."""
        ...

    def passing(self, held: bytes) -> int | None:
        """How many bytes from here on belong to a message that begins here; None if that cannot be
        told yet; -1 for all up to and with the next end."""
        ...

    def end(self) -> bytes:
        """The last byte of every message, where -1 is answered."""
        ...


@dataclass(frozen=True)
class Lines:
    """Messages are lines."""

    ending: bytes = b"\r\n"

    def wrap(self, message: bytes) -> bytes:
        return message + self.ending

    def passing(self, held: bytes) -> int | None:  # noqa: ARG002 - every beginning is a line's
        return -1

    def end(self) -> bytes:
        return self.ending[-1:]


@dataclass(frozen=True)
class Frames:
    """Messages are preceded by their length, big-endian, in ``header`` bytes, itself not counted."""

    header: int = 4

    def wrap(self, message: bytes) -> bytes:
        return len(message).to_bytes(self.header, "big") + message

    def passing(self, held: bytes) -> int | None:
        if len(held) < self.header:
            return None
        return self.header + int.from_bytes(held[: self.header], "big")

    def end(self) -> bytes:
        raise AssertionError("a frame knows its length")


class Sieve:
    """One stream."""

    __slots__ = ("_framing", "_held", "_hidden", "_passing")

    def __init__(self, framing: Framing, hidden: Collection[bytes]) -> None:
        """``hidden``: the heartbeats, as they are on the wire."""
        if not all(hidden):
            raise PolicyError("hidden", hidden, "a heartbeat needs at least one byte")
        self._framing = framing
        self._hidden = tuple(hidden)
        self._held = b""
        self._passing = 0
        """Bytes that are still to pass of a message that is none; -1 for up to its end."""

    def feed(self, data: bytes) -> tuple[bytes, list[bytes]]:
        """What passes, and the heartbeats that were in it."""
        held, passed, found = self._held + data, [], []
        while held:
            if self._passing:
                count = self._length(held)
                passed.append(held[:count])
                held = held[count:]
                continue
            heartbeat = next((h for h in self._hidden if held.startswith(h)), None)
            if heartbeat is not None:
                found.append(heartbeat)
                held = held[len(heartbeat) :]
                continue
            begins = self._framing.passing(held)
            if begins is None or any(h.startswith(held) for h in self._hidden):
                break
            self._passing = begins
        self._held = held
        return b"".join(passed), found

    def rest(self) -> bytes:
        """The stream has ended: what was held back is no heartbeat any more."""
        rest, self._held = self._held, b""
        return rest

    def _length(self, held: bytes) -> int:
        """How much of it passes now."""
        if self._passing > 0:
            count = min(self._passing, len(held))
            self._passing -= count
            return count
        end = held.find(self._framing.end())
        if end < 0:
            return len(held)
        self._passing = 0
        return end + 1
