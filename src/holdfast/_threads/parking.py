"""Having sockets watched that somebody else pools.

Whoever pools them says when one is idle (:meth:`Parked.park`) and when he takes it to use
(:meth:`Parked.take`). Each is one indivisible step of a list, without a lock or a system call: the one
thing in the list is the right to touch the socket, and whoever took it out has it. So the watcher never
touches one that is in use, and nobody uses one that the watcher is closing.
"""

from __future__ import annotations

from collections.abc import Callable

from holdfast._threads.watcher import the_watcher

__all__ = ["Parked"]


class Parked:
    """One socket, from when it was connected until :meth:`forget`. Starts in use.

    ``on_dead`` is called once at the most, in the watcher's thread, when the peer has ended the
    connection while it was parked. The socket is its own then, to be closed.
    """

    __slots__ = ("_descriptor", "_ended", "_idle", "_is_one_shot", "_on_dead")

    def __init__(self, descriptor: int, on_dead: Callable[[], None]) -> None:
        self._descriptor = descriptor
        self._on_dead = on_dead
        self._idle: list[None] = []
        self._ended = False
        self._is_one_shot = False
        the_watcher().watch(descriptor, self._told)
        self._is_one_shot = the_watcher().is_one_shot

    def park(self) -> bool:
        """It is idle now. False if its peer has ended it already: then it is still the caller's, to
        be closed."""
        self._idle.append(None)
        # Looked at after it was laid down, as the watcher lays down its note before it tries to take:
        # one of the two sees the other.
        if self._ended and self.take():
            return False
        if self._is_one_shot:
            the_watcher().arm(self._descriptor, self._told)
        return True

    def take(self) -> bool:
        """It is the caller's now. False if it is the watcher's, and dead."""
        try:
            self._idle.pop()
        except IndexError:
            return False
        return True

    def forget(self) -> None:
        """Before the socket is closed. When this returns, the watcher does not touch it any more, and
        ``on_dead`` is neither under way (but for a call of this from within it) nor called again."""
        the_watcher().forget(self._descriptor, self._told)

    def revive(self) -> None:
        """From within ``on_dead``: what came was no end, and it may be parked again. Only where there is no
        epoll, which tells of nothing else."""
        self._ended = not self._is_one_shot

    def abandon(self) -> None:
        """The socket is garbage, unclosed. From anywhere, the garbage collector included."""
        the_watcher().call_soon(self.forget)

    def _told(self, signs: int) -> None:  # noqa: ARG002 - whatever it is, nobody has asked for it
        # Where there is no epoll, any answer to a request is such a sign. It counts only if the socket
        # is parked. One that was used and parked again between the sign and now is closed though it is
        # well, which costs a new connection; to say that it is no sign after all would take two steps,
        # between which its user could come for it in vain.
        if not self._is_one_shot:
            self._ended = True
        if self.take():
            self._ended = True
            self._on_dead()
