"""Threads must not keep alive what its user has dropped."""

from __future__ import annotations

import weakref
from collections.abc import Callable

__all__ = ["weakly"]


def weakly(owner: object, call: Callable[..., None], *args: object) -> Callable[[], None]:
    """``call(owner, *args)``, or nothing once the owner is gone."""
    reference = weakref.ref(owner)

    def later() -> None:
        alive = reference()
        if alive is not None:
            call(alive, *args)

    return later
