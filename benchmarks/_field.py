"""Who competes, and in what.

Imports none of the competitors: each process imports only the one that it is.
"""

from __future__ import annotations

from enum import Enum

__all__ = ["FAMILIES", "PAIRS", "REFERENCE", "USUAL", "Contestant", "Workload", "label"]


class Contestant(Enum):
    """One client library, as its users get it."""

    POOL = "urllib3 pool"
    POOL_AGAIN = "urllib3 pool, again"
    POOL_WRAPPED = "urllib3 pool, wrapped"
    MANAGER = "urllib3 manager"
    MANAGER_WRAPPED = "urllib3 manager, wrapped"
    REQUESTS = "requests"
    REQUESTS_WRAPPED = "requests, wrapped"
    HTTPX = "httpx"
    AIOHTTP = "aiohttp"

    @property
    def wrapped(self) -> bool:
        return self.name.endswith("_WRAPPED")


REFERENCE = Contestant.POOL
"""What everybody is compared with."""

PAIRS = {
    Contestant.POOL_AGAIN: Contestant.POOL,
    Contestant.POOL_WRAPPED: Contestant.POOL,
    Contestant.MANAGER_WRAPPED: Contestant.MANAGER,
    Contestant.REQUESTS_WRAPPED: Contestant.REQUESTS,
}
"""Each with what it is to be like. The first is the control: it differs in nothing, so what it
shows is the error of the measurement."""


def label(one: Contestant) -> str:
    """As a row of a table or plot of pairs."""
    return f"{one.value} (control)" if one is Contestant.POOL_AGAIN else one.value


FAMILIES = (
    (Contestant.POOL, Contestant.POOL_AGAIN, Contestant.POOL_WRAPPED),
    (Contestant.MANAGER, Contestant.MANAGER_WRAPPED),
    (Contestant.REQUESTS, Contestant.REQUESTS_WRAPPED),
    (Contestant.HTTPX,),
    (Contestant.AIOHTTP,),
)
"""Who is compared to the percent runs one after the other; the rest may be further apart."""


class Workload(Enum):
    """A keep-alive request. The value is what it is called in tables and between processes. The
    path makes the server choose the head of its response."""

    GET = "GET"
    POST = "POST 200 B"
    POST_LARGE = "POST 10 kB"
    GET_TOLD = "GET, told Keep-Alive"
    """The response head says so, as nginx's and Apache's do."""
    GET_SHORT = "GET, short head"
    """Two fields, as few as a server can do with."""
    GET_CHUNKED = "GET, chunked"
    GET_FOLDED = "GET, folded head"
    """A field folded over two lines, which no server sends any more: holdfast leaves such a head to
    http.client, so this is what it costs where it cannot be quicker. Shown, not judged."""

    @property
    def method(self) -> str:
        return self.value.partition(" ")[0].rstrip(",")

    @property
    def path(self) -> str:
        return _PATHS.get(self, "/")

    @property
    def body(self) -> bytes | None:
        return {Workload.POST: b"x" * 200, Workload.POST_LARGE: b"x" * 10_000}.get(self)


USUAL = (Workload.GET, Workload.POST)
"""What is measured if nothing else is asked for, and what plot and table of all clients show."""

_PATHS = {
    Workload.GET_TOLD: "/told",
    Workload.GET_SHORT: "/short",
    Workload.GET_CHUNKED: "/chunked",
    Workload.GET_FOLDED: "/folded",
}
