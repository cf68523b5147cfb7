"""The pool of raw sockets: what is opened, how it is asked, and how it is closed."""

from __future__ import annotations

import logging
import random
import socket
import ssl
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, TypeVar

from typing_extensions import Self

from holdfast._core.pool_entry import PoolEntry, State
from holdfast._core.pool_sizes import PoolSizes
from holdfast._net.connecting import Address
from holdfast._threads.lease import Lease
from holdfast._threads.pool import PoolDriver
from holdfast._threads.refusals import check_timeout
from holdfast._threads.retrying import Retrying
from holdfast._threads.watcher import the_watcher
from holdfast._threads.workers import the_workers
from holdfast.adapters._network_news import tell_of_changes
from holdfast.adapters.sockets._beating_calls import run_call
from holdfast.adapters.sockets._calling import Call
from holdfast.adapters.sockets._link import Link
from holdfast.adapters.sockets._opening import Opener, name_of
from holdfast.adapters.sockets._stats import PoolStats
from holdfast.errors import PolicyError
from holdfast.events import ConnectionClosed, ConnectionOpened, Event
from holdfast.policy import Policy
from holdfast.vocabulary import CloseReason

__all__ = ["SocketPool"]

AnswerT = TypeVar("AnswerT")

log = logging.getLogger("holdfast.sockets")


class SocketPool(PoolDriver[socket.socket]):
    r"""Connections to one address, for any number of threads::

        pool = SocketPool(("127.0.0.1", 6379), policy=Policy(heartbeat=heartbeats.redis()))
        with pool.acquire() as lease:
            lease.sock.sendall(b"INCR hits\r\n")

    ``address``
        ``(host, port)``, or a path for a unix socket. A name is resolved for every connection, and all
        its addresses are tried.
    ``policy``
        ``limits`` (``PoolLimits(max_uses=1)`` closes after each use), ``keepalive``, ``heartbeat``,
        ``listener``. Default ``Policy()``.
    ``maxsize``
        Connections at the same time, whatever they do. Default 10.
    ``max_idle``, ``min_idle``
        At most so many lie idle (default: ``maxsize``); at least so many are kept open in the
        background, from the start (default 0).
    ``max_waiting``
        Callers that may wait at the same time; who comes on top is refused at once. Default: no limit.
    ``acquire_timeout``
        Seconds ``acquire`` waits and connects altogether, unless it is told otherwise. Default 30; None
        waits for ever.
    ``connect_timeout``
        Seconds for one address, TLS and ``on_connect`` included. Default 10.
    ``timeout``
        What the socket's own timeout is when it is lent, in seconds. Default 60, because a peer that is
        gone shall not block a thread for ever; None blocks.
    ``ssl_context``, ``server_hostname``
        For TLS. The name defaults to the host.
    ``connect``
        ``connect(address, timeout)`` returns a connected socket: for SOCKS, or a handshake of its own.
        TLS comes on top of it.
    ``on_connect``
        ``on_connect(sock)`` is called once for each new connection: the login. What it raises comes out
        of ``acquire``.
    ``on_release``
        ``on_release(sock)`` is called when a lease ended well, in its thread: the reset. If it raises,
        the connection is closed.
    """

    def __init__(
        self,
        address: Address,
        *,
        policy: Policy | None = None,
        maxsize: int = 10,
        max_idle: int | None = None,
        min_idle: int = 0,
        max_waiting: int | None = None,
        acquire_timeout: float | None = 30.0,
        connect_timeout: float | None = 10.0,
        timeout: float | None = 60.0,
        ssl_context: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
        connect: Callable[[Address, float | None], socket.socket] | None = None,
        on_connect: Callable[[Any], object] | None = None,
        on_release: Callable[[Any], object] | None = None,
    ) -> None:
        if policy is not None and not isinstance(policy, Policy):
            raise PolicyError("policy", policy, "must be a holdfast.Policy or None")
        sizes = PoolSizes(maxsize=maxsize, max_idle=max_idle, min_idle=min_idle, max_waiting=max_waiting)
        policy = policy or Policy()
        if policy.heartbeat is not None and policy.heartbeat.request is not None:
            rule = "is for wrapped HTTP clients; a SocketPool needs one with send and expect, or call"
            raise PolicyError("heartbeat", policy.heartbeat, rule)
        self._opener = Opener(
            address,
            keepalive=policy.keepalive,
            connect_timeout=connect_timeout,
            timeout=timeout,
            ssl_context=ssl_context,
            server_hostname=server_hostname,
            connect=connect,
            on_connect=on_connect,
        )
        check_timeout(acquire_timeout, "acquire_timeout")
        if on_release is not None and not callable(on_release):
            raise PolicyError("on_release", on_release, "must be callable or None")
        self._on_release = on_release
        # A connection that is used once and closed is never idle, so there is nothing to watch.
        self._is_watched = policy.limits.max_uses != 1 or min_idle > 0
        super().__init__(name_of(address, ssl_context), sizes, policy, acquire_timeout)
        counts = self._counts  # not self, or it would keep itself alive
        self._retrying = Retrying(policy, lambda: counts.uses + counts.opened)
        self._tell(lambda core, now: core.timer(now))
        tell_of_changes(self)

    def call(
        self, fn: Callable[[Any], AnswerT], *, idempotent: bool, timeout: float | None = None
    ) -> AnswerT:
        """Acquires a connection, answers with what ``fn(sock)`` answers, and releases it.

        If the connection fails under it, ``fn`` is called again, on a new connection, by the rules of
        ``policy.retry`` and where that is safe: no byte had been sent (the kernel's count proves it), the peer
        had hung up before one arrived (its acknowledgements prove it), or ``idempotent`` says that it may be
        executed twice. A peer that takes no connections is tried again for ``policy.retry.reconnect`` seconds.
        Otherwise the error is raised, with the verdict as a note. ``fn`` must do nothing besides that must not be repeated, and must raise when the peer
        hangs up (``EOFError`` or ``ConnectionError``).

        ``timeout``: seconds for all attempts together; what is left of it is the socket's timeout. Default:
        ``acquire_timeout`` for each acquire, and the socket's own.
        """
        return Call(self, fn, idempotent=idempotent, timeout=timeout).run()

    def _acquire_new(self, timeout: float | None) -> Lease[socket.socket]:
        deadline = None if timeout is None else time.monotonic() + timeout
        lease = self.acquire(timeout)
        if not lease.reused:
            return lease
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        lease._tie(self._acquire_slowly(left, lease._untied(), CloseReason.SUSPECT))
        return lease

    def stats(self) -> PoolStats:
        """How it stands, and what it did."""
        self._reap()
        counts = self._counts
        with self._lock:
            states = [entry.state for entry in self._core.everything]
            uses = counts.uses + sum(entry.uses for entry in self._core.everything)
            idle, waiting = self._core.idle, len(self._core.waiting)
        checking = states.count(State.CHECKING) + states.count(State.DOUBTED)
        opening = states.count(State.OPENING)
        leased = len(states) - idle - checking - opening
        return PoolStats(
            idle=idle,
            leased=leased,
            opening=opening,
            checking=checking,
            waiting=waiting,
            acquired=uses + leased,
            opened=counts.opened,
            waits=counts.waits,
            longest_wait=counts.longest_wait,
            heartbeats=counts.beats,
            leaked=counts.leaks,
            closed=dict(counts.closes),
            repeated={verdict: n for verdict, n in counts.verdicts.items() if verdict.repeats},
            refused={verdict: n for verdict, n in counts.verdicts.items() if not verdict.repeats},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<SocketPool {self.name}, {len(self._core.everything)} of {self._sizes.maxsize} open>"

    def __del__(self) -> None:
        core, timer = getattr(self, "_core", None), getattr(self, "_timer", None)
        if core is None or timer is None:
            return
        # No lock may be taken here: the garbage collector runs anywhere.
        the_watcher().call_soon(lambda: the_watcher().set(timer, None))
        if not core.everything:
            return
        for entry in list(core.everything):
            if entry.link is not None:
                the_watcher().call_soon(entry.link.close)
        with suppress(TypeError, AttributeError):  # the interpreter is being taken down
            message = f"{self.name} was dropped with {len(core.everything)} connections open; close() it"
            warnings.warn(message, ResourceWarning, stacklevel=2, source=self)

    def close(self) -> None:
        self._opener.give_up()
        super().close()

    def _after_fork(self) -> None:
        self._opener.after_fork()
        super()._after_fork()

    def _network_changed(self) -> None:
        self._tell(lambda core, now: core.recheck(now))

    # -- what the driver asks for

    def _open(self, entry: PoolEntry, deadline: float | None) -> None:
        sock = self._opener.open(deadline, self._random_share)
        entry.link = link = Link(self, entry, sock, needs_reset=self._on_release is not None)
        self._counts.connected()
        if self._is_watched:
            link.watch()
        self._announce(ConnectionOpened(self.name))

    def _close(self, entry: PoolEntry, reason: CloseReason) -> None:
        link = entry.link
        if link is None:
            return
        caller = link.caller
        if reason is CloseReason.FORKED:
            # The thread is the parent's, and so is the connection: waking it would end that.
            link.caller = None
        link.close()
        if caller is not None and reason is CloseReason.HEARTBEAT_MISSED:
            the_workers().write_off(caller)
        self._announce(ConnectionClosed(self.name, reason, self._clock() - entry.opened_at, entry.uses))

    def _look(self, entry: PoolEntry) -> CloseReason | None:
        reason: CloseReason | None = entry.link.look()
        return reason

    def _prove(self, entry: PoolEntry, deadline: float | None) -> CloseReason | None:
        link: Link = entry.link
        return link.prove(deadline) if entry.is_doubtful(self._clock()) else link.look()

    def _beat(self, entry: PoolEntry) -> None:
        heartbeat, link = self._policy.heartbeat, entry.link
        assert heartbeat is not None
        self._counts.beaten()
        if heartbeat.call is not None:
            the_workers().do(lambda: run_call(self, entry, heartbeat))
        elif not the_watcher().call_soon(lambda: link.beat(heartbeat), link.descriptor, link.told):
            # There is no thread for it, at the end of the interpreter or when there are too many. Then
            # it is looked at, and must not stay reserved.
            self._check(entry)

    def _tidy(self, entry: PoolEntry) -> CloseReason | None:
        link: Link = entry.link
        if self._on_release is not None and not link.is_closed():
            self._on_release(link.sock)
        return link.tidy()

    def _watch_again(self, entry: PoolEntry) -> None:
        if the_watcher().is_one_shot:
            link: Link = entry.link
            the_watcher().arm(link.descriptor, link.told)

    def _is_stale(self, entry: PoolEntry, error: BaseException | None) -> bool:
        return isinstance(error, (OSError, EOFError)) and entry.uses > 0

    def _something_came(self, entry: PoolEntry) -> None:
        """Where there is no epoll: something can be read, perhaps the end."""
        link: Link = entry.link
        if not self._reserve(entry):
            # In use: its answers are nobody's business. Watched again when it comes back.
            entry.alarm = None
            # It may have come back between the two, by one who did not see that.
            if not self._reserve(entry):
                return
        reason = link.look()
        if reason is None:
            the_watcher().arm(link.descriptor, link.told)
        self._checked(entry, reason)

    def _reserve(self, entry: PoolEntry) -> bool:
        return bool(self._tell(lambda core, now: core.reserve(entry, now)))

    def _random_share(self) -> float:
        return random.random()  # noqa: S311 - spreads load

    def _announce(self, event: Event) -> None:
        if self._policy.listener is None:
            return
        try:
            self._policy.listener(event)
        except Exception:
            log.exception("a listener raised, and was ignored")
