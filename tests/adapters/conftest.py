from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import urllib3

import holdfast
from holdfast.testing import FaultServer, Via

MakeClient = Callable[..., Any]


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
