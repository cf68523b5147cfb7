"""``wrap`` and ``unwrap`` for urllib3's pools and managers, in place and while they are in use."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, TypeVar

import urllib3

from holdfast.adapters._swap import original, swap, swap_back
from holdfast.adapters.urllib3._connection import ResilientConnection
from holdfast.adapters.urllib3._context import PoolContext
from holdfast.adapters.urllib3._pool import ResilientManager, ResilientPool, adopt, is_being_read
from holdfast.errors import NotWrappableError, WrapConflictError
from holdfast.policy import Policy

__all__ = [
    "accepts",
    "changing",
    "give",
    "is_open",
    "pooled",
    "pools_of",
    "require_same_policy",
    "require_unwrappable",
    "take_back",
    "unwrap",
    "wrap",
]

_T = TypeVar("_T")

changing = threading.RLock()
"""Held while objects change their class: two threads may wrap the same one."""


def accepts(target: object) -> bool:
    # Not isinstance(): a mock with a spec pretends to be one.
    return issubclass(type(target), (urllib3.PoolManager, urllib3.HTTPConnectionPool))


def wrap(target: _T, policy: Policy | None, parent: PoolContext | None = None) -> _T:
    """Checks everything before it changes anything. What is wrapped already stays so, but is
    looked through for what is not."""
    with changing:
        if isinstance(target, urllib3.HTTPConnectionPool):
            if target.pool is None:
                raise WrapConflictError(f"{target} is closed; a closed pool cannot be wrapped")
            if not require_same_policy(target, policy):
                _wrap_pool(target, _context(policy, parent))
        elif isinstance(target, urllib3.PoolManager):
            for pool in pools_of(target):
                require_same_policy(pool, policy)
            _wrap_manager(target, policy, parent)
    return target


def unwrap(target: _T) -> _T:
    """A connection that is out at this moment finds out when it comes back to be lent."""
    with changing:
        require_unwrappable(target)
        for one in (*pools_of(target), target):
            if original(one) is None:
                continue  # never wrapped, or resilient by its own class
            take_back(one)
            for conn in pooled(one):
                if isinstance(conn, ResilientConnection):
                    conn.let_go()
    return target


def pools_of(target: Any) -> Iterator[urllib3.HTTPConnectionPool]:
    if isinstance(target, urllib3.HTTPConnectionPool):
        yield target
    elif isinstance(target, urllib3.PoolManager):
        # RecentlyUsedContainer cannot be iterated, and looking one up reorders it: hence the
        # lock, and the private mapping.
        with target.pools.lock:
            pools = list(target.pools._container.values())
        # Of whatever make the manager's pool classes are.
        yield from filter(accepts, pools)


def pooled(target: object) -> list[Any]:
    """The connections that lie in a pool."""
    queue = target.pool if isinstance(target, urllib3.HTTPConnectionPool) else None
    if queue is None:
        return []
    with queue.mutex:
        return [conn for conn in queue.queue if conn is not None]


def is_open(conn: Any) -> bool:
    """Whether a pooled connection is open; its socket may have been closed where it lies."""
    return conn.sock is not None and (not isinstance(conn, ResilientConnection) or conn._holdfast.is_open)


def require_same_policy(target: Any, policy: Policy | None) -> bool:
    """True if it is wrapped already, by this policy (None: by whichever)."""
    context = vars(target).get("_holdfast")
    if context is None or context.released:
        return False
    if policy is not None and context.policy != policy:
        raise WrapConflictError(
            f"{type(target).__name__} is wrapped by another policy; unwrap() it first. "
            f"Its policy: {context.policy!r}; the new one: {policy!r}"
        )
    return True


def require_unwrappable(target: Any) -> None:
    if original(target) is None and "_holdfast" in vars(target) and not target._holdfast.released:
        raise WrapConflictError(
            f"{type(target).__name__} is resilient by its own class; there is nothing to unwrap"
        )


def give(target: Any, context: PoolContext, mixin: type) -> None:
    """Makes it resilient, or leaves it as it was."""
    before = vars(target).get("_holdfast")
    target._holdfast = context
    try:
        swap(target, mixin)
    except TypeError as error:
        target._holdfast = before
        if before is None:
            del target._holdfast
        raise NotWrappableError(f"{type(target).__name__} cannot be given another class: {error}") from error


def take_back(target: Any) -> None:
    """The context stays, marked: a method of the class it had may still be running."""
    if original(target) is not None:
        swap_back(target)
        target._holdfast.released = True
        target._holdfast.give_up_outposts()


def _context(policy: Policy | None, parent: PoolContext | None) -> PoolContext:
    if parent is not None:
        return parent.child()
    return PoolContext(Policy() if policy is None else policy)


def _wrap_pool(pool: Any, context: PoolContext) -> None:
    give(pool, context, ResilientPool)
    queue = pool.pool
    # The queue itself stays, for the pool's finalizer holds it; who asks for a connection waits.
    with queue.mutex:
        for place, conn in enumerate(queue.queue):
            if conn is not None and is_being_read(conn):
                # Given back too early: it goes on with its reader, the pool makes another.
                sock, queue.queue[place] = conn.sock, None
                if sock is not None:
                    sock.close()
            elif (
                conn is not None
                and isinstance(adopt(pool, conn), ResilientConnection)
                and conn.sock is not None
            ):
                conn._holdfast.lie_down()


def _wrap_manager(manager: Any, policy: Policy | None, parent: PoolContext | None) -> None:
    wrapped_before = require_same_policy(manager, policy)
    if not wrapped_before:
        # From here on new pools come wrapped; those that are there already follow.
        give(manager, _context(policy, parent), ResilientManager)
    done = []
    try:
        for pool in pools_of(manager):
            if not isinstance(pool, ResilientPool) and pool.pool is not None:
                _wrap_pool(pool, manager._holdfast.child())
                done.append(pool)
    except NotWrappableError:
        for one in [*done, *([] if wrapped_before else [manager])]:
            unwrap(one) if one is not manager else take_back(one)
        raise
