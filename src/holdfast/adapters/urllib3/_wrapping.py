"""``wrap`` and ``unwrap`` for urllib3's pools and managers, in place and while they are in use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import urllib3

from holdfast.adapters._swap import original, swap, swap_back
from holdfast.adapters.urllib3._connection import ResilientConnection
from holdfast.adapters.urllib3._context import PoolContext
from holdfast.adapters.urllib3._pool import ResilientManager, ResilientPool, adopt
from holdfast.errors import NotWrappableError, WrapConflictError
from holdfast.policy import Policy

__all__ = ["accepts", "pooled", "pools_of", "require_same_policy", "unwrap", "wrap"]

_T = TypeVar("_T")


def accepts(target: object) -> bool:
    return isinstance(target, (urllib3.PoolManager, urllib3.HTTPConnectionPool))


def wrap(target: _T, policy: Policy | None, parent: PoolContext | None = None) -> _T:
    """Checks everything before it changes anything."""
    if isinstance(target, urllib3.HTTPConnectionPool):
        if target.pool is None:
            raise WrapConflictError(f"{target} is closed; a closed pool cannot be wrapped")
        if not require_same_policy(target, policy):
            _wrap_pool(target, _context(policy, parent))
    elif isinstance(target, urllib3.PoolManager):
        pools = list(pools_of(target))
        for pool in pools:
            require_same_policy(pool, policy)
        if not require_same_policy(target, policy):
            _wrap_manager(target, _context(policy, parent))
    return target


def unwrap(target: _T) -> _T:
    """A connection that is out at this moment finds out when it is lent again."""
    for pool in pools_of(target):
        _unwrap_one(pool)
    if isinstance(target, ResilientManager):
        _unwrap_one(target)
    return target


def pools_of(target: Any) -> Iterator[urllib3.HTTPConnectionPool]:
    if isinstance(target, urllib3.HTTPConnectionPool):
        yield target
    elif isinstance(target, urllib3.PoolManager):
        # RecentlyUsedContainer cannot be iterated, and looking one up reorders it: hence the
        # lock, and the private mapping.
        with target.pools.lock:
            pools = list(target.pools._container.values())
        yield from pools


def require_same_policy(target: Any, policy: Policy | None) -> bool:
    """True if it is wrapped already, by this policy (None: by whichever)."""
    context = getattr(target, "_holdfast", None)
    if context is None:
        return False
    if policy is not None and context.policy != policy:
        raise WrapConflictError(
            f"{type(target).__name__} is wrapped by another policy; unwrap() it first. "
            f"Its policy: {context.policy!r}; the new one: {policy!r}"
        )
    return True


def _context(policy: Policy | None, parent: PoolContext | None) -> PoolContext:
    if parent is not None:
        return parent.child()
    return PoolContext(Policy() if policy is None else policy)


def _wrap_pool(pool: Any, context: PoolContext) -> None:
    pool._holdfast = context
    try:
        swap(pool, ResilientPool)
    except TypeError as error:
        del pool._holdfast
        raise NotWrappableError(f"{type(pool).__name__} cannot be given another class: {error}") from error
    for conn in pooled(pool):
        adopt(pool, conn)


def _wrap_manager(manager: Any, context: PoolContext) -> None:
    manager._holdfast = context
    # From here on new pools come wrapped; those that are there already follow.
    swap(manager, ResilientManager)
    for pool in pools_of(manager):
        if not isinstance(pool, ResilientPool):
            _wrap_pool(pool, context.child())


def _unwrap_one(target: Any) -> None:
    if original(target) is None:
        if isinstance(target, (ResilientPool, ResilientManager)):
            raise WrapConflictError(
                f"{type(target).__name__} is resilient by its own class; there is nothing to unwrap"
            )
        return
    swap_back(target)
    context: PoolContext = target.__dict__.pop("_holdfast")
    context.released = True
    if isinstance(target, urllib3.HTTPConnectionPool):
        for conn in pooled(target):
            if isinstance(conn, ResilientConnection):
                swap_back(conn)


def pooled(pool: urllib3.HTTPConnectionPool) -> list[Any]:
    """The connections that lie in the pool. They are changed in place: the pool's finalizer holds
    this very queue."""
    queue = pool.pool
    if queue is None:
        return []
    with queue.mutex:
        return [conn for conn in queue.queue if conn is not None]
