"""Drop-in subclasses of urllib3's pools and managers, for those who make their own::

    from holdfast.adapters.urllib3 import PoolManager

    http = PoolManager(policy=Policy(...))

They take what their parents take, and ``policy``. For objects that somebody else made there is
:func:`holdfast.wrap`.
"""

from __future__ import annotations

from typing import Any

import urllib3

from holdfast.adapters.urllib3._context import PoolContext
from holdfast.adapters.urllib3._pool import ResilientManager, ResilientPool
from holdfast.policy import Policy

__all__ = ["HTTPConnectionPool", "HTTPSConnectionPool", "PoolManager", "ProxyManager"]


class HTTPConnectionPool(ResilientPool):
    """:class:`urllib3.HTTPConnectionPool` with a ``policy`` (default: ``Policy()``)."""

    def __init__(self, *args: Any, policy: Policy | None = None, **kwargs: Any) -> None:
        self._holdfast = _context(policy)
        super().__init__(*args, **kwargs)


class HTTPSConnectionPool(ResilientPool, urllib3.HTTPSConnectionPool):
    """:class:`urllib3.HTTPSConnectionPool` with a ``policy`` (default: ``Policy()``)."""

    def __init__(self, *args: Any, policy: Policy | None = None, **kwargs: Any) -> None:
        self._holdfast = _context(policy)
        super().__init__(*args, **kwargs)


class PoolManager(ResilientManager):
    """:class:`urllib3.PoolManager` with a ``policy`` (default: ``Policy()``)."""

    def __init__(self, *args: Any, policy: Policy | None = None, **kwargs: Any) -> None:
        self._holdfast = _context(policy)
        super().__init__(*args, **kwargs)


class ProxyManager(ResilientManager, urllib3.ProxyManager):
    """:class:`urllib3.ProxyManager` with a ``policy`` (default: ``Policy()``)."""

    def __init__(self, *args: Any, policy: Policy | None = None, **kwargs: Any) -> None:
        self._holdfast = _context(policy)
        super().__init__(*args, **kwargs)


def _context(policy: Policy | None) -> PoolContext:
    return PoolContext(Policy() if policy is None else policy)
