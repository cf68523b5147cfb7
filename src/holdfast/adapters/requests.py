"""requests: the session and its adapters, so that what they create later is covered as well
(pools are made anew after pickling, proxy managers at the first use of a proxy)."""

from __future__ import annotations

from typing import Any, TypeVar

import requests
import requests.adapters

from holdfast.adapters._swap import mixed, original
from holdfast.adapters.urllib3 import _wrapping
from holdfast.adapters.urllib3._context import PoolContext
from holdfast.policy import Policy

__all__ = ["HTTPAdapter"]

_T = TypeVar("_T")


class ResilientAdapter(requests.adapters.HTTPAdapter):
    """Goes in front of the class of a wrapped adapter."""

    _holdfast: PoolContext

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        _wrapping.wrap(self.poolmanager, None, self._holdfast)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        return _wrapping.wrap(super().proxy_manager_for(proxy, **kwargs), None, self._holdfast)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _reduce(self, ResilientAdapter)


class ResilientSession(requests.Session):
    """Goes in front of the class of a wrapped session."""

    _holdfast: PoolContext

    def mount(self, prefix: Any, adapter: Any) -> None:
        if isinstance(adapter, requests.adapters.HTTPAdapter):
            _wrap_adapter(adapter, None, self._holdfast)
        super().mount(prefix, adapter)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _reduce(self, ResilientSession)

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state)  # type: ignore[misc]
        for adapter in _adapters(self):
            # Unpickled one by one, each with a context of its own: back under the session's.
            if original(adapter) is not None:
                _wrap_adapter(unwrap(adapter), None, self._holdfast)


class HTTPAdapter(ResilientAdapter):
    """:class:`requests.adapters.HTTPAdapter` with a ``policy`` (default: ``Policy()``).

    For example ``session.mount("https://", HTTPAdapter(policy=Policy(...)))``.
    """

    def __init__(self, *args: Any, policy: Policy | None = None, **kwargs: Any) -> None:
        self._holdfast = PoolContext(Policy() if policy is None else policy)
        super().__init__(*args, **kwargs)


def accepts(target: object) -> bool:
    # Not isinstance(): a mock with a spec pretends to be one.
    return issubclass(type(target), (requests.Session, requests.adapters.HTTPAdapter))


def wrap(target: _T, policy: Policy | None) -> _T:
    """Checks everything before it changes anything."""
    with _wrapping.changing:
        if isinstance(target, requests.adapters.HTTPAdapter):
            _wrap_adapter(target, policy, None)
        elif isinstance(target, requests.Session):
            adapters = _adapters(target)
            for adapter in adapters:
                _check_adapter(adapter, policy)
            if not _wrapping.require_same_policy(target, policy):
                context = PoolContext(Policy() if policy is None else policy)
                _wrapping.give(target, context, ResilientSession)
            for adapter in adapters:
                _wrap_adapter(adapter, None, vars(target)["_holdfast"])
    return target


def unwrap(target: _T) -> _T:
    with _wrapping.changing:
        adapters = _adapters(target) if isinstance(target, requests.Session) else [target]
        _wrapping.require_unwrappable(target)
        for adapter in adapters:
            if original(adapter) is None:
                continue  # never wrapped, or resilient by its own class
            for manager in managers_of(adapter):
                _wrapping.unwrap(manager)
            _wrapping.take_back(adapter)
        _wrapping.take_back(target)
    return target


def managers_of(target: object) -> list[Any]:
    if isinstance(target, requests.Session):
        return [manager for adapter in _adapters(target) for manager in managers_of(adapter)]
    # An adapter of another make may have neither.
    manager, proxies = getattr(target, "poolmanager", None), getattr(target, "proxy_manager", {})
    return [one for one in (manager, *proxies.values()) if _wrapping.accepts(one)]


def _adapters(session: requests.Session) -> list[requests.adapters.HTTPAdapter]:
    """Each once, though usually mounted twice. Others (files, tests) are not ours."""
    mounted = {id(adapter): adapter for adapter in session.adapters.values()}
    return [a for a in mounted.values() if isinstance(a, requests.adapters.HTTPAdapter)]


def _wrap_adapter(adapter: Any, policy: Policy | None, parent: PoolContext | None) -> None:
    _check_adapter(adapter, policy)
    if _wrapping.require_same_policy(adapter, policy):
        return
    context = parent.child() if parent is not None else PoolContext(Policy() if policy is None else policy)
    _wrapping.give(adapter, context, ResilientAdapter)
    for manager in managers_of(adapter):
        _wrapping.wrap(manager, None, context)


def _check_adapter(adapter: Any, policy: Policy | None) -> None:
    _wrapping.require_same_policy(adapter, policy)
    for manager in managers_of(adapter):
        _wrapping.require_same_policy(manager, policy)
        for pool in _wrapping.pools_of(manager):
            _wrapping.require_same_policy(pool, policy)


# Pickling goes by the original class and the policy: the class in between is made at run time,
# and pools do not survive pickling anyway.
def _reduce(target: Any, mixin: type) -> Any:
    kind = original(target) or type(target)
    return _rebuild, (kind, mixin, target._holdfast.policy), target.__getstate__()


def _rebuild(kind: type, mixin: type, policy: Policy) -> Any:
    made: Any = kind if issubclass(kind, mixin) else mixed(mixin, kind)
    target: Any = made.__new__(made)
    target._holdfast = PoolContext(policy)
    return target
