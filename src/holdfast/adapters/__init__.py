"""Plugging holdfast into the libraries people use.

``wrap``, ``unwrap`` and the collecting of contexts, for any target. requests is imported only if
its user has done so: a Session cannot exist otherwise.
"""

from __future__ import annotations

import sys
from typing import Any, TypeVar

from holdfast._threads.options import request_options
from holdfast.adapters.urllib3 import _wrapping as _urllib3
from holdfast.errors import NotWrappableError, PolicyError
from holdfast.policy import Policy

__all__ = ["pools_below", "request_options", "unwrap", "wrap"]

_T = TypeVar("_T")

_ACCEPTED = (
    "a urllib3 PoolManager, ProxyManager, HTTPConnectionPool or HTTPSConnectionPool, "
    "a requests.Session or a requests.adapters.HTTPAdapter"
)


def wrap(target: _T, policy: Policy | None = None) -> _T:
    """Makes a pool, manager, session or adapter resilient, in place, and returns it.

    Works on objects in use: connections that lie in the pool are adopted, those that are out
    are when they come back, and whatever the target creates later is covered as well. HTTP/2
    connections go on as they are; unix sockets have no TCP options to set. Wrapping again with the same policy, or none,
    changes nothing.

    ``policy``: default ``Policy()``.

    Raises :class:`~holdfast.errors.NotWrappableError` (a TypeError) for anything else, and
    :class:`~holdfast.errors.WrapConflictError` (a ValueError) if the target is closed or wrapped
    by a different policy; then nothing has been changed.
    """
    if policy is not None and not isinstance(policy, Policy):
        raise PolicyError("policy", policy, "must be a holdfast.Policy or None")
    return _adapter_for(target).wrap(target, policy)  # type: ignore[no-any-return]


def unwrap(target: _T) -> _T:
    """Gives the target and all below it their own classes back, and returns it.

    Connections stay open. One that is in use finds out when it is lent again. A target that was
    never wrapped is left as it is. For a drop-in class of holdfast, which is resilient by itself,
    it raises :class:`~holdfast.errors.WrapConflictError`, and nothing has been changed.
    """
    return _adapter_for(target).unwrap(target)  # type: ignore[no-any-return]


def pools_below(target: object) -> list[Any]:
    """The pools below a target, whatever it is."""
    adapter = _adapter_for(target)
    managers = [target] if adapter is _urllib3 else adapter.managers_of(target)
    return [pool for manager in managers for pool in _urllib3.pools_of(manager)]


def _adapter_for(target: object) -> Any:
    if _urllib3.accepts(target):
        return _urllib3
    if "requests" in sys.modules:
        from holdfast.adapters import requests  # noqa: PLC0415 - it is optional

        if requests.accepts(target):
            return requests
    raise NotWrappableError(f"{target!r} ({type(target).__name__}) is none of: {_ACCEPTED}")
