"""Learning that a peer has ended a connection, without reading from it.

With epoll a descriptor is registered once, for the life of its connection: ``EPOLLRDHUP`` tells of a
FIN, and HUP and ERR, which nobody has to ask for, of a reset. Edge-triggered and without
``EPOLLIN``, because the answers of a connection that is in use must not wake anybody. Elsewhere there
is only "readable", so a descriptor is watched until something comes, and then until it is armed again.
"""

from __future__ import annotations

import select
import selectors
from contextlib import suppress
from typing import Protocol

__all__ = ["BROKEN", "ENDED", "READABLE", "Poller", "make_poller"]

READABLE = 1
"""There is something to read; where there is no epoll it may be the end as well."""
ENDED = 2
"""The peer will send no more."""
BROKEN = 4
"""Reset, or another error."""

Signs = int


class Poller(Protocol):
    """What the watcher waits with."""

    is_one_shot: bool
    """A descriptor must be dropped at each sign, and armed again."""

    def add(self, descriptor: int) -> None: ...
    def arm(self, descriptor: int, *, read: bool) -> None: ...
    def drop(self, descriptor: int) -> None: ...
    def add_waker(self, descriptor: int) -> None: ...
    def wait(self, timeout: float | None) -> list[tuple[int, Signs]]: ...
    def confirms(self, descriptor: int) -> bool: ...
    def close(self) -> None: ...


def make_poller() -> Poller:
    return EpollPoller() if hasattr(select, "epoll") else SelectorPoller()


class EpollPoller:
    """Linux."""

    is_one_shot = False

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._quiet = select.EPOLLRDHUP | select.EPOLLET
        self._poll = select.poll()

    def add(self, descriptor: int) -> None:
        self._epoll.register(descriptor, self._quiet)

    def arm(self, descriptor: int, *, read: bool) -> None:
        """Tells once more what is true already."""
        self._epoll.modify(descriptor, self._quiet | select.EPOLLIN if read else self._quiet)

    def drop(self, descriptor: int) -> None:
        with suppress(OSError):
            # Closed by somebody else: the kernel has dropped it.
            self._epoll.unregister(descriptor)

    def add_waker(self, descriptor: int) -> None:
        self._epoll.register(descriptor, select.EPOLLIN)

    def wait(self, timeout: float | None) -> list[tuple[int, Signs]]:
        found = self._epoll.poll(-1 if timeout is None else timeout)
        return [(descriptor, _signs(events)) for descriptor, events in found]

    def confirms(self, descriptor: int) -> bool:
        """Is it really over? What ``wait`` found may be about an earlier socket of this number."""
        self._poll.register(descriptor, select.POLLRDHUP)
        try:
            return bool(self._poll.poll(0))
        finally:
            self._poll.unregister(descriptor)

    def close(self) -> None:
        self._epoll.close()


def _signs(events: int) -> Signs:
    signs = READABLE if events & select.EPOLLIN else 0
    if events & select.EPOLLRDHUP:
        signs |= ENDED
    if events & (select.EPOLLHUP | select.EPOLLERR):
        signs |= BROKEN
    return signs


class SelectorPoller:
    """Everywhere else: kqueue on macOS and the BSDs, select on Windows."""

    is_one_shot = True

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def add(self, descriptor: int) -> None:
        with suppress(KeyError):
            self._selector.unregister(descriptor)
        self._selector.register(descriptor, selectors.EVENT_READ)

    def arm(self, descriptor: int, *, read: bool) -> None:  # noqa: ARG002 - it has only one way
        self.add(descriptor)

    def drop(self, descriptor: int) -> None:
        with suppress(KeyError, ValueError, OSError):
            self._selector.unregister(descriptor)

    def add_waker(self, descriptor: int) -> None:
        self.add(descriptor)

    def wait(self, timeout: float | None) -> list[tuple[int, Signs]]:
        return [(key.fd, READABLE) for key, _ in self._selector.select(timeout)]

    def confirms(self, descriptor: int) -> bool:
        """Is it still there? Whoever uses the connection may have read what came."""
        if not hasattr(select, "poll"):
            return bool(select.select([descriptor], [], [], 0)[0])
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        self._selector.close()
