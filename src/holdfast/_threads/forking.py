"""Who has to start clean in the child of a fork."""

from __future__ import annotations

import logging
import os
import weakref
from typing import Protocol

# Their hooks must have been registered, and so run, before the one below: what is reset here closes
# sockets, which the watcher has to forget, under a lock that was anybody's in the parent.
import holdfast._threads.watcher
import holdfast._threads.workers  # noqa: F401 - see above

__all__ = ["Forkable", "reset_after_fork"]

log = logging.getLogger("holdfast.fork")


class Forkable(Protocol):
    def _after_fork(self) -> None:
        """In the child, whose only thread this is."""


def reset_after_fork(one: Forkable) -> None:
    """As long as it lives."""
    _all.add(one)


_all: weakref.WeakSet[Forkable] = weakref.WeakSet()


def _reset() -> None:
    for one in list(_all):
        try:
            one._after_fork()
        except Exception:
            # The others must start clean all the same: what they hold is the parent's.
            log.exception("%r could not be reset after a fork", one)


# Work at import, for once: a hook that is registered at the first need would have to know, among
# threads, whether that was done before.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset)
