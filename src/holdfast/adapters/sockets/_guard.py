"""The other end of long connections: a server that notices which of its clients are gone."""

from __future__ import annotations

import errno
import logging
import select
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Any

from holdfast._core.sieve import Framing, Sieve
from holdfast._core.silence import Patience, Silence, Step
from holdfast._net.tcp_info import snapshot
from holdfast._net.tcp_keepalive import apply_keepalive
from holdfast._threads.forking import reset_after_fork
from holdfast._threads.polling import BROKEN, ENDED, READABLE
from holdfast._threads.watcher import Timer, the_watcher
from holdfast._threads.workers import the_workers
from holdfast.adapters.sockets._guarded import GuardedSocket
from holdfast.errors import PolicyError
from holdfast.policy import TcpKeepalive

__all__ = ["Gone", "Guard", "GuardStats"]

log = logging.getLogger("holdfast.sockets")


class Gone(Enum):
    """Why a client counts as gone."""

    SILENT = "nothing came from it for interval * (misses + 1) + timeout seconds"
    LEFT = "it had ended the connection, and nobody closed our end"
    RESET = "it had reset the connection"
    VANISHED = "its host does not answer TCP any more"


@dataclass(frozen=True)
class GuardStats:
    """How a guard stands now, and what it did since it was made."""

    clients: int
    """Clients that are guarded now."""
    gone: Mapping[Gone, int]
    """Clients that were found to be gone. Those that were closed in good order are not counted."""
    dropped_writes: int
    """Writes to clients that were gone."""
    asked: int
    """Heartbeats that were sent."""
    answered: int
    """Heartbeats of clients that were answered."""


class Guard:
    """Guards the accepted sockets of a server, in whatever way it accepts them::

        guard = Guard(on_dead=lambda sock, reason: print(reason.name))

        def serve(conn):
            with guard.accept(conn) as client:
                while data := client.recv(4096):
                    client.sendall(data.upper())

    ``on_dead``
        ``on_dead(sock, reason)`` is called once for each client that is gone, in a worker thread, after
        the socket was shut down, which wakes whoever reads from it. The socket is not closed: that is
        for its server. What it raises is logged and dropped.
    ``interval``, ``timeout``, ``misses``
        A client that says nothing for ``interval * (misses + 1) + timeout`` seconds is gone. Defaults 15,
        5 and 1: 35 seconds.
    ``ping``, ``pong``
        A message to send to a client that says nothing for ``interval`` seconds, and its answer, which is
        taken out of what ``recv`` returns. Without them clients must say something by themselves.
    ``answers``
        Messages of clients that are heartbeats, and what to answer. They are taken out as well.
    ``framing``
        How the protocol separates its messages: :class:`Lines` or :class:`Frames`. The messages above
        are given without it.
    ``keepalive``
        TCP keepalive. By default it finds a host that vanished in about the same time.
    """

    def __init__(
        self,
        *,
        on_dead: Callable[[socket.socket, Gone], object] | None = None,
        interval: float = 15.0,
        timeout: float = 5.0,
        misses: int = 1,
        ping: bytes | None = None,
        pong: bytes | None = None,
        answers: Mapping[bytes, bytes] | None = None,
        framing: Framing | None = None,
        keepalive: TcpKeepalive | None = None,
    ) -> None:
        self._patience = Patience(interval=interval, timeout=timeout, misses=misses)
        if on_dead is not None and not callable(on_dead):
            raise PolicyError("on_dead", on_dead, "must be callable, and take the socket and the reason")
        if framing is None and (ping or pong or answers):
            raise PolicyError(
                "framing", framing, "must be given with ping, pong or answers: Lines() or Frames()"
            )
        self._on_dead = on_dead
        self._framing = framing
        self._ping = None if ping is None or framing is None else framing.wrap(ping)
        self._answers: dict[bytes, bytes] = {}
        if framing is not None:
            self._answers = {framing.wrap(a): framing.wrap(b) for a, b in (answers or {}).items()}
        self._hidden = set(self._answers)
        if pong is not None and framing is not None:
            self._hidden.add(framing.wrap(pong))
        self._keepalive = keepalive or _as_patient(self._patience)
        self._lock = threading.Lock()
        self._clients: dict[GuardedSocket, _Post] = {}
        self._gone: Counter[Gone] = Counter()
        self._dropped = self._asked = self._answered = 0
        reset_after_fork(self)

    def accept(self, sock: socket.socket) -> GuardedSocket:
        """Guards a socket until :meth:`GuardedSocket.close`, or :meth:`forget`."""
        if self._ping is not None and isinstance(sock, ssl.SSLSocket):
            raise PolicyError(
                "ping", self._ping, "cannot be sent over TLS while another thread reads from it"
            )
        apply_keepalive(sock, self._keepalive)
        sieve = Sieve(self._framing, self._hidden) if self._framing and self._hidden else None
        client = GuardedSocket(self, sock, Silence(self._patience, self._now()), sieve)
        post = _Post(self, client)
        with self._lock:
            self._clients[client] = post
        post.begin()
        return client

    def forget(self, client: GuardedSocket) -> None:
        """Guards it no more; the socket is left open. When this returns, nothing here touches it."""
        with self._lock:
            post = self._clients.pop(client, None)
        if post is not None:
            post.end()

    def stats(self) -> GuardStats:
        """How it stands, and what it did."""
        with self._lock:
            return GuardStats(
                clients=len(self._clients),
                gone=dict(self._gone),
                dropped_writes=self._dropped,
                asked=self._asked,
                answered=self._answered,
            )

    def close(self) -> None:
        """Forgets all clients. Their sockets are left open."""
        with self._lock:
            clients = list(self._clients)
        for client in clients:
            self.forget(client)
        the_watcher().join_if_idle()

    def _after_fork(self) -> None:
        """In the child: it may serve a client that its parent accepted, but guards none of them."""
        self._lock = threading.Lock()
        clients, self._clients = self._clients, {}
        for client in clients:
            client._send_lock = threading.Lock()

    # -- what clients and posts tell

    def _now(self) -> float:
        return time.monotonic()

    def _answer(self, client: GuardedSocket, heartbeat: bytes) -> None:
        answer = self._answers.get(heartbeat)
        if answer is not None and client.sendall(answer):
            with self._lock:
                self._answered += 1

    def _dropped_write(self) -> None:
        with self._lock:
            self._dropped += 1

    def _departed(self, client: GuardedSocket, error: OSError) -> None:
        self._is_gone(client, _reason(error.errno))

    def _is_gone(self, client: GuardedSocket, reason: Gone) -> None:
        with self._lock:
            post = self._clients.pop(client, None)
            if post is None:
                return
            self._gone[reason] += 1
            client.departed = True
        post.end()
        with suppress(OSError):
            # Whoever reads from it, or hangs in a write, wakes up. It is not closed: its number must
            # not go to another connection while somebody still holds it.
            client.sock.shutdown(socket.SHUT_RDWR)
        if self._on_dead is not None:
            on_dead = self._on_dead
            the_workers().do(lambda: on_dead(client.sock, reason))

    def _ask(self, client: GuardedSocket) -> None:
        """In the watcher's thread: it must not wait, neither for one who writes nor for room."""
        if self._ping is None or not client._send_lock.acquire(blocking=False):
            return
        try:
            if _has_room(client.sock):
                client.sock.send(self._ping)
                with self._lock:
                    self._asked += 1
        except OSError as error:
            self._departed(client, error)
        finally:
            client._send_lock.release()


class _Post:
    """The watch over one client."""

    __slots__ = ("_client", "_descriptor", "_guard", "_lock", "_over", "_timer")

    def __init__(self, guard: Guard, client: GuardedSocket) -> None:
        self._guard = guard
        self._client = client
        self._descriptor = client.sock.fileno()
        # By way of a call that is bound to the descriptor, so that it is over when `forget` returns.
        watcher = the_watcher()
        self._timer = Timer(lambda: watcher.call_soon(self._rang, self._descriptor, self.told))
        self._lock = threading.Lock()
        self._over = False

    def begin(self) -> None:
        the_watcher().watch(self._descriptor, self.told)
        self._sleep()

    def end(self) -> None:
        with self._lock:
            self._over = True
            the_watcher().set(self._timer, None)
        the_watcher().forget(self._descriptor, self.told)

    def _sleep(self) -> None:
        """Until the next time at which something may have to be done."""
        with self._lock:
            if not self._over:
                the_watcher().set(self._timer, self._client._silence.wake_at())

    def told(self, signs: int) -> None:
        if signs == READABLE:
            signs = _peek(self._client.sock)
        error = self._client.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if signs & BROKEN else 0
        if error:
            self._guard._is_gone(self._client, _reason(error))
        elif signs & (ENDED | BROKEN):
            # In good order, perhaps, and its last words are still to be read; or whoever reads was
            # told the error, which the kernel does once, and says what it was. But if nobody reads,
            # nobody closes it either.
            self._client._silence.ended(self._guard._now())
            self._sleep()

    def _rang(self) -> None:
        sock, silence, now = self._client.sock, self._client._silence, self._guard._now()
        if sock.fileno() < 0:
            # Closed by somebody who did not tell.
            self._guard.forget(self._client)
            return
        if the_watcher().is_one_shot:
            the_watcher().arm(self._descriptor, self.told)
        known = snapshot(sock)
        if known is not None:
            silence.heard(now - known.quiet_for)
        step = silence.step(now)
        if step is Step.GIVE_UP:
            self._guard._is_gone(self._client, Gone.SILENT if silence.leaves_at is None else Gone.LEFT)
            return
        if step is Step.ASK:
            self._guard._ask(self._client)
        self._sleep()


def _as_patient(patience: Patience) -> TcpKeepalive:
    """Finds a vanished host in about the time in which silence is found."""
    return TcpKeepalive(
        idle=max(1, round(patience.interval)),
        interval=max(1, round((patience.longest - patience.interval) / (patience.misses + 1))),
        count=patience.misses + 1,
        user_timeout=max(1.0, patience.longest),
    )


def _reason(error: int | None) -> Gone:
    if error in (errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH):
        return Gone.VANISHED
    return Gone.RESET


def _peek(sock: socket.socket) -> int:
    """Where there is no epoll: was it the end? What came is left for whoever reads it."""
    if isinstance(sock, ssl.SSLSocket):
        return READABLE
    try:
        return READABLE if sock.recv(1, socket.MSG_PEEK | getattr(socket, "MSG_DONTWAIT", 0)) else ENDED
    except (BlockingIOError, TimeoutError):
        return READABLE
    except OSError:
        return BROKEN


def _has_room(sock: Any) -> bool:
    if not hasattr(select, "poll"):
        return bool(select.select([], [sock], [], 0)[1])
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    return bool(poll.poll(0))
