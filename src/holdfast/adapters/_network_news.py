"""Whose connections are in doubt when the network changes: who asks for it is told, in the watcher's thread,
while there is anything to watch."""

from __future__ import annotations

import logging
import weakref
from typing import Protocol

from holdfast._net.network_changes import prick_up
from holdfast._threads.watcher import the_watcher

__all__ = ["Concerned", "tell_of_changes"]

log = logging.getLogger("holdfast.network")


class Concerned(Protocol):
    def _network_changed(self) -> None:
        """An own address, a route or a link is gone. Must not block."""


def tell_of_changes(one: Concerned) -> None:
    """As long as it lives."""
    _all.add(one)
    the_watcher().listen(prick_up, _tell)


_all: weakref.WeakSet[Concerned] = weakref.WeakSet()


def _tell() -> None:
    for one in list(_all):
        try:
            one._network_changed()
        except Exception:
            log.exception("%r could not be told that the network has changed", one)
