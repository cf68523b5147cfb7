"""The requests, seeded: every client gets the very same ones.

A *story* is what one new client goes through with one server: warm-ups that are answered, the
victim that meets the fault, and a few requests that meet its consequences.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from holdfast._demo.scenarios import Scenario, Upload

__all__ = ["Kind", "Order", "Story", "stories"]

# Half of it is still to be sent when the reset comes, because it is more than the kernel's buffers
# take at their default limits. With 12 MB one such upload in eight was handed over in full.
_LARGE = 16 * 1024 * 1024
_PIECES = 24


class Kind(Enum):
    """What the traffic is made of."""

    GET = "GET"
    PUT = "PUT"
    POST = "POST"
    POST_WITH_KEY = "POST with Idempotency-Key"

    @property
    def method(self) -> str:
        return self.value.partition(" ")[0]

    @property
    def may_run_again(self) -> bool:
        """Executing it twice is legitimate: RFC 9110 §9.2.2, or the server goes by the key."""
        return self is not Kind.POST


@dataclass(frozen=True, kw_only=True)
class Order:
    """One request. Its path is its own, so that ledger and answer can be held against it."""

    kind: Kind
    path: str
    key: str | None
    pieces: tuple[bytes, ...] = field(repr=False)
    """Its body, as a generator yields it; empty for none."""
    streamed: bool = False

    @property
    def method(self) -> str:
        return self.kind.method

    @property
    def content(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def body(self) -> bytes | Iterator[bytes] | None:
        """As handed to a client; a generator is a new one each time."""
        if not self.pieces:
            return None
        return (piece for piece in self.pieces) if self.streamed else self.content

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.key is None else {"Idempotency-Key": self.key}


@dataclass(frozen=True)
class Story:
    """``orders[warm_ups]`` is the victim."""

    orders: tuple[Order, ...]
    warm_ups: int


def stories(scenario: Scenario, *, seed: int, rounds: int) -> Iterator[Story]:
    """In every round each kind of request is the victim once."""
    dice = random.Random(f"{seed} {scenario.label}")
    for number in range(rounds):
        for victim in dice.sample(list(Kind), len(Kind)):
            yield _story(scenario, victim, dice, f"/{number}/{victim.name.lower()}")


def _story(scenario: Scenario, victim: Kind, dice: random.Random, path: str) -> Story:
    warm_ups = 0 if scenario.fresh else dice.randint(1, 2)
    before, after = dice.choices(list(Kind), k=warm_ups), dice.choices(list(Kind), k=2)
    uploads = {warm_ups: scenario.upload}
    orders = [
        _order(kind, f"{path}/{number}", dice, uploads.get(number, Upload.SMALL))
        for number, kind in enumerate([*before, victim, *after])
    ]
    return Story(tuple(orders), warm_ups)


def _order(kind: Kind, path: str, dice: random.Random, upload: Upload) -> Order:
    return Order(
        kind=kind,
        path=path,
        key=f"key-{dice.getrandbits(64):016x}" if kind is Kind.POST_WITH_KEY else None,
        pieces=() if kind is Kind.GET else _pieces(upload, dice),
        streamed=upload is Upload.STREAMED,
    )


def _pieces(upload: Upload, dice: random.Random) -> tuple[bytes, ...]:
    if upload is Upload.SMALL:
        return (dice.randbytes(32),)
    if upload is Upload.STREAMED:
        return tuple(dice.randbytes(1024) for _ in range(_PIECES))
    return (_large_body(),)


@functools.cache
def _large_body() -> bytes:
    """One for all, to be kind to memory: requests are told apart by their paths."""
    return bytes(_LARGE)
