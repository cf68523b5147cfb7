"""The four clients, each as its users would make it: nothing configured but trust and a timeout.

Outside the adapters, the only place of the product that imports urllib3 and requests; it is
imported by the command line alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import requests
import urllib3

import holdfast
from holdfast._demo.traffic import Order

__all__ = ["OWN_ERRORS", "Answer", "Client", "ClientKind", "Site"]

OWN_ERRORS = (urllib3.exceptions.HTTPError, requests.RequestException)
"""What users of the two libraries expect to be raised. Anything else is a bug."""


class ClientKind(Enum):
    """In the order of the table."""

    URLLIB3 = "bare urllib3"
    REQUESTS = "bare requests"
    HOLDFAST_URLLIB3 = "holdfast + urllib3"
    HOLDFAST_REQUESTS = "holdfast + requests"

    @property
    def wrapped(self) -> bool:
        return self in (ClientKind.HOLDFAST_URLLIB3, ClientKind.HOLDFAST_REQUESTS)


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where a server is, and how to get there."""

    url: str
    proxy_url: str | None
    ca_file: str
    timeout: float


class Answer(NamedTuple):
    status: int
    body: bytes


class Client:
    """A new client of one of the four kinds, without any connection yet."""

    def __init__(self, kind: ClientKind, site: Site) -> None:
        in_urllib3 = kind in (ClientKind.URLLIB3, ClientKind.HOLDFAST_URLLIB3)
        self._client = _Urllib3(site) if in_urllib3 else _Requests(site)
        if kind.wrapped:
            holdfast.wrap(self._client.wrappable)

    def send(self, order: Order) -> Answer:
        """Returns the answer, read to its end, or raises what the library raises."""
        return self._client.send(order)

    def close(self) -> None:
        self._client.close()


class _Urllib3:
    def __init__(self, site: Site) -> None:
        self._url = site.url
        self.wrappable = (
            urllib3.PoolManager(ca_certs=site.ca_file, timeout=site.timeout)
            if site.proxy_url is None
            else urllib3.ProxyManager(site.proxy_url, ca_certs=site.ca_file, timeout=site.timeout)
        )

    def send(self, order: Order) -> Answer:
        response = self.wrappable.request(
            order.method, self._url + order.path, body=order.body, headers=order.headers
        )
        return Answer(response.status, response.data)

    def close(self) -> None:
        self.wrappable.clear()


class _Requests:
    def __init__(self, site: Site) -> None:
        self._url = site.url
        self._timeout = site.timeout
        self.wrappable = session = requests.Session()
        # The environment may name a proxy, which is no part of this experiment.
        session.trust_env = False
        session.verify = site.ca_file
        if site.proxy_url is not None:
            session.proxies = {"http": site.proxy_url, "https": site.proxy_url}

    def send(self, order: Order) -> Answer:
        response = self.wrappable.request(
            order.method,
            self._url + order.path,
            data=order.body,
            headers=order.headers,
            timeout=self._timeout,
        )
        return Answer(response.status_code, response.content)

    def close(self) -> None:
        self.wrappable.close()
