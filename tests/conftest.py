"""Whatever a test leaves behind fails it: threads, descriptors, connections.

``-W error`` turns an unclosed socket into an error as well, but only when the garbage collector
finds it; counting descriptors does not depend on that.
"""

from __future__ import annotations

import gc
import logging
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
import urllib3

import holdfast
from holdfast._threads.watcher import the_watcher
from holdfast._threads.workers import the_beaters
from holdfast.testing import FaultServer, Via
from holdfast.testing.fixtures import fake_clock, fault_server

__all__ = ["fake_clock", "fault_server"]

MakeClient = Callable[..., Any]
PATIENCE = 5.0
_DESCRIPTORS = Path("/proc/self/fd")


@pytest.fixture(autouse=True, scope="session")
def _no_retries_in_the_log() -> None:
    # pytest keeps log records, these keep the exceptions, and those the pool, which urllib3 closes
    # when nobody refers to it any more.
    logging.getLogger("urllib3").setLevel(logging.ERROR)


@pytest.fixture(autouse=True)
def _nothing_is_known() -> None:
    # A port comes round again, with another server behind it.
    holdfast.learned().forget()


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    gc.collect()
    threads, descriptors = set(threading.enumerate()), _open_descriptors()
    yield
    gc.collect()
    the_beaters().join(PATIENCE)  # what is under way when its pool is closed ends by itself
    the_watcher().join_if_idle()  # it would stay for a moment longer
    assert [thread.name for thread in set(threading.enumerate()) - threads] == []
    assert sorted(_open_descriptors() - descriptors) == []


def _open_descriptors() -> set[str]:
    if not _DESCRIPTORS.exists():
        return set()
    found = set()
    for entry in _DESCRIPTORS.iterdir():
        try:
            target = str(entry.readlink())
        except FileNotFoundError:
            continue
        # Not files: pytest opens its own meanwhile, and an unclosed one of ours is a ResourceWarning.
        if target.startswith(("socket:", "pipe:", "anon_inode:")):
            found.add(target)
    return found


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return context


@pytest.fixture(scope="session")
def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def client(client_tls: ssl.SSLContext) -> Iterator[MakeClient]:
    """Makes a wrapped manager that reaches a server the way the server wants to be reached."""
    made: list[urllib3.PoolManager] = []

    def make(
        server: FaultServer, policy: holdfast.Policy | None = None, **settings: Any
    ) -> urllib3.PoolManager:
        settings.setdefault("ssl_context", client_tls)
        if server.via is Via.DIRECT:
            manager = urllib3.PoolManager(**settings)
        else:
            manager = urllib3.ProxyManager(server.proxy_url, **settings)
        made.append(manager)
        return holdfast.wrap(manager, policy)

    yield make
    for manager in made:
        for pool in list(manager.pools._container.values()):
            pool.close()
        manager.clear()
