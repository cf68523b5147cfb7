"""Whatever a test leaves behind fails it: threads, descriptors, connections.

``-W error`` turns an unclosed socket into an error as well, but only when the garbage collector
finds it; counting descriptors does not depend on that.
"""

from __future__ import annotations

import gc
import os
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from holdfast.testing.fixtures import fake_clock, fault_server

__all__ = ["fake_clock", "fault_server"]

_DESCRIPTORS = Path("/proc/self/fd")


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    gc.collect()
    threads, descriptors = set(threading.enumerate()), _open_sockets()
    yield
    gc.collect()
    assert [thread.name for thread in set(threading.enumerate()) - threads] == []
    assert sorted(_open_sockets() - descriptors) == []


def _open_sockets() -> set[str]:
    if not _DESCRIPTORS.exists():
        return set()
    found = set()
    for entry in os.listdir(_DESCRIPTORS):
        try:
            target = os.readlink(_DESCRIPTORS / entry)
        except FileNotFoundError:
            continue
        if target.startswith("socket:"):
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
