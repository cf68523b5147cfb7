"""A lock that is free in the child of a fork, whoever held it in the parent."""

from __future__ import annotations

import os
import threading
import weakref

__all__ = ["ForkSafeLock"]


class ForkSafeLock:
    """``with fork_safe.lock:``. Reentrant: the garbage collector may run anywhere, and with it the
    finalizer of a pool, which counts."""

    __slots__ = ("__weakref__", "lock")

    def __init__(self) -> None:
        self.lock = threading.RLock()
        _all.add(self)


_all: weakref.WeakSet[ForkSafeLock] = weakref.WeakSet()


def _renew() -> None:
    for one in list(_all):
        one.lock = threading.RLock()


# Work at import, for once: a hook that is registered at the first wrap would have to know whether
# it was registered before, under a lock that has the same problem.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
