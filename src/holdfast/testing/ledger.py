"""What the server executed: the truth a client's claims are compared with.

An entry is made when a request was read to its last byte, before anything else happens to it.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import overload

from holdfast.testing._http import Headers, Request

__all__ = ["Execution", "Identity", "Ledger"]

Identity = tuple[str, str]


@dataclass(frozen=True)
class Execution:
    """One request, executed once. Headers and body stay out of the repr: they may hold secrets."""

    method: str
    target: str
    key: str | None
    body: bytes = field(repr=False)
    connection: int
    headers: Headers = field(repr=False)

    @classmethod
    def of(cls, request: Request, *, connection: int) -> Execution:
        """Return the entry for `request`, which came on that connection."""
        return cls(
            method=request.method,
            target=request.target,
            key=request.headers.get("Idempotency-Key"),
            body=request.body,
            connection=connection,
            headers=request.headers,
        )

    @property
    def identity(self) -> Identity:
        """Method and target: what makes two executions the same request."""
        return (self.method, self.target)


class Ledger:
    """Every execution, in order. Reads like a list; may be read while the server runs."""

    def __init__(self) -> None:
        self._entries: list[Execution] = []
        self._tunnels = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._snapshot())

    def __iter__(self) -> Iterator[Execution]:
        return iter(self._snapshot())

    @overload
    def __getitem__(self, index: int) -> Execution: ...
    @overload
    def __getitem__(self, index: slice) -> list[Execution]: ...
    def __getitem__(self, index: int | slice) -> Execution | list[Execution]:
        return self._snapshot()[index]

    def __repr__(self) -> str:
        return f"Ledger({self._snapshot()!r})"

    def count(self, method: str, target: str) -> int:
        """Return how often this request was executed."""
        return sum(entry.identity == (method, target) for entry in self._snapshot())

    def executed_twice(self) -> list[Identity]:
        """Return the identities that were executed more than once, in order of first appearance."""
        counts = Counter(entry.identity for entry in self._snapshot())
        return [identity for identity, count in counts.items() if count > 1]

    @property
    def tunnels(self) -> int:
        """How many CONNECT requests opened a tunnel. They are no executions: the ledger counts them apart."""
        return self._tunnels

    def clear(self) -> None:
        """Forget everything so far."""
        with self._lock:
            self._entries.clear()
            self._tunnels = 0

    def record(self, execution: Execution) -> None:
        """Add one entry."""
        with self._lock:
            self._entries.append(execution)

    def record_tunnel(self) -> None:
        """Count one tunnel."""
        with self._lock:
            self._tunnels += 1

    def _snapshot(self) -> list[Execution]:
        with self._lock:
            return self._entries.copy()
