"""pytest plugin: every pool and manager (or session and adapter) a test creates is wrapped.

PEER_WRAP says at which level. "urllib3": managers, and pools made without one. "requests":
sessions, and adapters made without one. What a wrapped object creates for itself is left
to holdfast: should it forget to, the requests over bare connections are in the counts.
"""

from __future__ import annotations

import functools
import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import requests.adapters
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager, ProxyManager
from urllib3.contrib.socks import SOCKSProxyManager
from urllib3.http2.connection import HTTP2Connection

import holdfast

LEVELS: dict[str, list[type[Any]]] = {
    "urllib3": [
        HTTPConnectionPool,
        HTTPSConnectionPool,
        PoolManager,
        ProxyManager,
        SOCKSProxyManager,
    ],
    "requests": [requests.adapters.HTTPAdapter, requests.Session],
}

SWITCHED_OFF = os.environ["PEER_WRAP_SWITCHED_OFF"] == "True"
POLICY = holdfast.Policy(
    limits=holdfast.PoolLimits(ask_keep_alive=not SWITCHED_OFF), accept_cut_heads=SWITCHED_OFF
)
counts: Counter[str] = Counter()
_thread = threading.local()


def is_wrapped(instance: object) -> bool:
    return any(cls.__module__.partition(".")[0] == "holdfast" for cls in type(instance).__mro__)


@contextmanager
def nested() -> Iterator[bool]:
    """True for the outermost of the calls which are nested in each other in this thread."""
    depth = getattr(_thread, "depth", 0)
    _thread.depth = depth + 1
    try:
        yield depth == 0
    finally:
        _thread.depth = depth


def hook_init(cls: type[Any]) -> None:
    original = cls.__init__

    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        with nested() as outermost:  # an __init__ calls its super().__init__ first
            original(self, *args, **kwargs)
        if outermost and not is_wrapped(self):
            holdfast.wrap(self, POLICY)
            counts["objects wrapped" if is_wrapped(self) else "objects unchanged"] += 1

    cls.__init__ = __init__


def hook_subclasses(base: type[Any]) -> None:
    """Tests define subclasses, some with an __init__ of their own."""

    def __init_subclass__(cls: type[Any], /, **kwargs: Any) -> None:
        super(base, cls).__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            hook_init(cls)

    base.__init_subclass__ = classmethod(__init_subclass__)  # type: ignore[assignment]


def leave_to_manager(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def _new_pool(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not is_wrapped(self):
            return original(self, *args, **kwargs)
        with nested():
            return original(self, *args, **kwargs)

    return _new_pool


def count_requests(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def _make_request(self: Any, conn: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(conn, HTTP2Connection):
            counts["requests http2"] += 1  # holdfast leaves these connections alone
        else:
            counts["requests wrapped" if is_wrapped(conn) else "requests bare"] += 1
        return original(self, conn, *args, **kwargs)

    return _make_request


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.write_line(f"wrap_everything: {dict(counts)}")
    Path(os.environ["PEER_WRAP_COUNTS"]).write_text(json.dumps(counts), encoding="utf-8")


hooked = LEVELS[os.environ["PEER_WRAP"]]
for hooked_class in hooked:
    hook_init(hooked_class)
    if hooked_class.__base__ not in hooked:
        hook_subclasses(hooked_class)
PoolManager._new_pool = leave_to_manager(PoolManager._new_pool)  # type: ignore[method-assign]
HTTPConnectionPool._make_request = count_requests(HTTPConnectionPool._make_request)  # type: ignore[method-assign]
