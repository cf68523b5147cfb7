"""Heartbeats of HTTP: whether and when one is due, what it says, what is an answer to it.

It is a request like any other to the server, so it goes by the limits of the connection: it is not
sent where none may be, and it uses up one of ``max_uses`` and of the peer's ``max``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from holdfast._core import reuse
from holdfast._core.entry import Entry
from holdfast._core.peer import HTTP_1_1, PeerTerms, read_terms
from holdfast.policy import HttpRequest, PoolLimits

__all__ = ["MOST", "USER_AGENT", "Place", "answered", "compose", "is_answer", "next_beat", "place_of"]

MOST = 65_536
"""Bytes of an answer's body. What sends more is not answering a heartbeat."""
USER_AGENT = "holdfast"
"""Not that of the client, so that heartbeats can be told apart in the server's log."""
REQUEST_TIMEOUT = 408
SERVER_ERROR = 500
NOT_IMPLEMENTED = 501

_ABSOLUTE = re.compile(r"(https?://)(?:[^/?#@]*@)?([^/?#@]+)", re.IGNORECASE)
_HOST = re.compile(r"[!-~]+")


@dataclass(frozen=True)
class Place:
    """Where on a connection its requests go; a forward proxy takes those for many origins."""

    host: str
    """The Host header."""
    prefix: str = ""
    """What stands before the path, to a forward proxy: ``http://example.com``."""
    authorization: str | None = field(default=None, repr=False)
    """For the proxy; not shown."""


def place_of(url: str, host: str | None, authorization: str | None = None) -> Place | None:
    """Where a request went that said so itself: in its address, or by a Host header of its own. None for
    any other, and where it cannot be told."""
    absolute = _ABSOLUTE.match(url)
    if absolute is not None:
        place = Place(host or absolute[2], absolute[1] + absolute[2], authorization)
    elif host is not None:
        place = Place(host)
    else:
        return None
    return place if _HOST.fullmatch(place.prefix + place.host) else None


def next_beat(entry: Entry, every: float, limits: PoolLimits, now: float) -> float | None:
    """Seconds until a connection that lies idle is to be asked; None if it need not be any more.
    ``every``: seconds it lies idle before that.

    Not the one whose first request is still to come: it is new to the server, and what fails on it must
    not be taken for staleness. Nor the one that has one request left, which is somebody's."""
    if not entry.uses or entry.uses + 1 >= entry.last_use or entry.terms.remaining in (0, 1):
        return None
    if reuse.why_not_reuse(entry, limits, now) is not None:
        return None
    return max(0.0, entry.idle_since + every - now)


def compose(request: HttpRequest, place: Place, *, keep_alive: bool) -> bytes:
    """The bytes to send (RFC 9112 §3)."""
    target = request.target
    if place.prefix:
        # RFC 9112 §3.2.4: to a proxy, "*" is said by leaving the path out.
        target = place.prefix + ("" if target == "*" else target)
    lines = [f"{request.method} {target} HTTP/1.1", *_fields(request, place, keep_alive=keep_alive), "", ""]
    return "\r\n".join(lines).encode("iso-8859-1")


def _fields(request: HttpRequest, place: Place, *, keep_alive: bool) -> Iterator[str]:
    given = {name.lower() for name, _ in request.headers}
    ours = {"Host": place.host, "User-Agent": USER_AGENT, "Proxy-Authorization": place.authorization}
    if keep_alive:
        ours["Connection"] = "keep-alive"
    yield from (f"{name}: {value}" for name, value in ours.items() if value and name.lower() not in given)
    yield from (f"{name}: {value}" for name, value in request.headers)


def is_answer(status: int) -> bool:
    """Whether it speaks for the connection: it was understood and answered, be it by "not found" or "who
    are you". So does 501, which like 405 is about the method. Any other error of the server says that a new
    connection, which may lead to another, is better. And 408 is what some servers say to a connection that
    was idle for too long, with or without a close."""
    return (status < SERVER_ERROR and status != REQUEST_TIMEOUT) or status == NOT_IMPLEMENTED


def answered(
    entry: Entry,
    version: int,
    connection: str | None,
    keep_alive: str | None,
    limits: PoolLimits,
    now: float,
    kept: float = 0.0,
) -> None:
    """Takes in a good answer, as one to a request; it dooms the entry if it was the last. ``kept``: as
    for :func:`reuse.heard`."""
    entry.idle_since = now
    # Not ``uses``, which says whether, and how often, it carried somebody's request.
    entry.last_use -= 1
    said = read_terms(version, connection, keep_alive)
    if keep_alive is None and version == HTTP_1_1:
        said = _one_less(entry.terms, persistent=said.persistent)
    reuse.heard(entry, said, limits, kept)


def _one_less(terms: PeerTerms, *, persistent: bool) -> PeerTerms:
    remaining = None if terms.remaining is None else terms.remaining - 1
    return replace(terms, persistent=persistent, remaining=remaining)
