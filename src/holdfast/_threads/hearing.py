"""What the watcher hears besides the ends of connections: news of the network, which concern all of them.

It listens only while there is something to watch: news for nobody are no reason for a thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from holdfast._threads.polling import Poller

__all__ = ["Ears", "Hearing"]


class Ears(Protocol):
    """Readable when there is news."""

    def fileno(self) -> int: ...
    def heard(self) -> bool:
        """Takes all of it, without blocking. Whether it matters."""
        ...

    def close(self) -> None: ...


class Hearing:
    """One pair of ears, opened as often as the watcher wakes up. All of it under the watcher's lock."""

    def __init__(self) -> None:
        self._open: Callable[[], Ears | None] | None = None
        self._told: Callable[[], None] | None = None
        self._ears: Ears | None = None

    def set(self, open_ears: Callable[[], Ears | None], told: Callable[[], None]) -> None:
        """Must not raise; None if there are none here. They take effect when it begins the next time."""
        self._open, self._told = open_ears, told

    def begin(self, poller: Poller) -> None:
        if self._open is None or self._ears is not None:
            return
        self._ears = self._open()
        if self._ears is not None:
            poller.add_waker(self._ears.fileno())

    def end(self) -> None:
        """In the child of a fork as well: the parent's go on hearing."""
        ears, self._ears = self._ears, None
        if ears is not None:
            ears.close()

    def news(self, descriptor: int) -> Callable[[], None] | None:
        """Whom to call, if these are the ears and it matters."""
        ears = self._ears
        return self._told if ears is not None and ears.fileno() == descriptor and ears.heard() else None
