"""One contestant, a process of its own, for as long as a heat lasts.

CPython specialises bytecode by the types it meets: two clients in one process, one bare and one
wrapped, spoil each other's inline caches, and both come out slower than in anybody's service.

    python _client.py CONTESTANT URL [CA.pem]

reads lines ``N WORKLOAD``, sends N such requests, and prints the seconds one of them took, by the
clock and of this process's CPU time. It ends when its standard input does.
"""

# ruff: noqa: PLC0415 - a process imports the one client that it is

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from _field import Contestant, Workload

__all__: list[str] = []

_Send = Callable[[Workload, int], bytes]
"""Sends a request that often, one after the other, and returns the last body."""


def _pool(url: str, ca: str | None, *, wrapped: bool) -> _Send:
    import urllib3

    address = urlsplit(url)
    assert address.hostname is not None
    pool = (
        urllib3.HTTPConnectionPool(address.hostname, address.port)
        if ca is None
        else urllib3.HTTPSConnectionPool(address.hostname, address.port, ca_certs=ca)
    )
    return _through_urllib3(pool, "", wrapped=wrapped)


def _manager(url: str, ca: str | None, *, wrapped: bool) -> _Send:
    import urllib3

    manager = urllib3.PoolManager() if ca is None else urllib3.PoolManager(ca_certs=ca)
    return _through_urllib3(manager, url, wrapped=wrapped)


def _through_urllib3(client: Any, prefix: str, *, wrapped: bool) -> _Send:
    if wrapped:
        import holdfast

        holdfast.wrap(client)

    def send(what: Workload, times: int) -> bytes:
        method, url, body = what.method, prefix + what.path, what.body
        if body is None:
            for _ in range(times):
                answer = client.request(method, url)
        else:
            for _ in range(times):
                answer = client.request(method, url, body=body)
        return bytes(answer.data)

    return send


def _requests(url: str, ca: str | None, *, wrapped: bool) -> _Send:
    import requests

    session = requests.Session()
    if ca is not None:
        session.verify = ca
    if wrapped:
        import holdfast

        holdfast.wrap(session)

    def send(what: Workload, times: int) -> bytes:
        method, target, body = what.method, url + what.path, what.body
        for _ in range(times):
            answer = session.request(method, target, data=body)
        return answer.content

    return send


def _httpx(url: str, ca: str | None) -> _Send:
    import httpx

    client = httpx.Client(verify=True if ca is None else ssl.create_default_context(cafile=ca))

    def send(what: Workload, times: int) -> bytes:
        method, target, body = what.method, url + what.path, what.body
        for _ in range(times):
            answer = client.request(method, target, content=body)
        return answer.content

    return send


def _aiohttp(url: str, ca: str | None) -> _Send:
    import aiohttp

    loop = asyncio.new_event_loop()
    tls = True if ca is None else ssl.create_default_context(cafile=ca)

    async def open_session() -> aiohttp.ClientSession:
        return aiohttp.ClientSession()

    session = loop.run_until_complete(open_session())

    async def send(what: Workload, times: int) -> bytes:
        method, target, body = what.method, url + what.path, what.body
        for _ in range(times):
            async with session.request(method, target, data=body, ssl=tls) as answer:
                content = await answer.read()
        return content

    return lambda what, times: loop.run_until_complete(send(what, times))


def _enter(contestant: Contestant, url: str, ca: str | None) -> _Send:
    if contestant is Contestant.HTTPX:
        return _httpx(url, ca)
    if contestant is Contestant.AIOHTTP:
        return _aiohttp(url, ca)
    if contestant in {Contestant.REQUESTS, Contestant.REQUESTS_WRAPPED}:
        return _requests(url, ca, wrapped=contestant.wrapped)
    if contestant in {Contestant.MANAGER, Contestant.MANAGER_WRAPPED}:
        return _manager(url, ca, wrapped=contestant.wrapped)
    return _pool(url, ca, wrapped=contestant.wrapped)


def _main(name: str, url: str, ca: str | None = None) -> None:
    send, sent = _enter(Contestant(name), url, ca), 0
    for line in sys.stdin:
        count, _, workload = line.strip().partition(" ")
        what, times = Workload(workload), int(count)
        began, cpu_began = time.perf_counter(), time.process_time()
        content = send(what, times)
        cpu, seconds = time.process_time() - cpu_began, time.perf_counter() - began
        sent += times
        answered = json.loads(content)["answered"]
        if answered != sent:
            raise SystemExit(
                f"{name} sent {sent} requests, its last connection carried {answered}:"
                " it did not keep it, which is not what is measured here"
            )
        print(seconds / times, cpu / times, flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
