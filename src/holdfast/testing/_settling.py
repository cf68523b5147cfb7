"""Counts what the script still has to do to idle connections, so that tests can wait for it."""

from __future__ import annotations

import threading
from types import TracebackType

__all__ = ["Settling"]


class Settling:
    """A context manager around each piece of unfinished business, and a way to wait for all of it.

    Entered before the answer leaves: whoever has read an answer finds what comes after it counted.
    """

    def __init__(self) -> None:
        self._unfinished = 0
        self._changed = threading.Condition()

    def __enter__(self) -> None:
        with self._changed:
            self._unfinished += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._unfinished -= 1
            self._changed.notify_all()

    def wait(self, timeout: float) -> bool:
        """Wait until nothing is unfinished; False after `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._unfinished, timeout)
