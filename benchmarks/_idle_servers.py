"""Servers, and what stands between them and a client, as far as idle connections are concerned. No socket,
no waiting: told when a connection became idle, each says when it ends.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["SERVERS", "THINKING", "Backend", "Server", "Thinking"]

Thinking = Callable[[float, random.Random], float]
"""Seconds between two requests of a user, by the limit around which they lie."""

THINKING: dict[str, Thinking] = {
    "worst": lambda limit, chance: limit * chance.uniform(0.9, 1.1),
    "exponential": lambda limit, chance: chance.expovariate(1 / limit),
}

Late = Callable[[float, random.Random], float]
"""When a connection ends whose limit was up at this second."""


def _on_time(due: float, _: random.Random) -> float:
    return due


def _up_to(seconds: float) -> Late:
    return lambda due, chance: due + chance.uniform(0, seconds)


def _in_rounds(seconds: float) -> Late:
    """The server looks round every so often."""
    return lambda due, _: math.ceil(due / seconds) * seconds


@dataclass(frozen=True)
class Backend:
    """One server process."""

    limit: Callable[[float], float]
    """Seconds it keeps an idle connection, by the time at which that became idle."""
    late: Late = _on_time

    def end(self, idle_from: float, chance: random.Random) -> float:
        return self.late(idle_from + self.limit(idle_from), chance)


@dataclass(frozen=True, kw_only=True)
class Server:
    """What stands behind one address."""

    name: str
    backends: tuple[Backend, ...]
    around: Callable[[float], float]
    """The limit around which the thinking times of the clients lie, by the time: the worst for them."""
    hint: float | None = None
    """What it says in ``Keep-Alive: timeout=``."""
    most_uses: float = math.inf
    closes_behind: bool = True
    """The last answer is followed by its end; otherwise the next request is."""
    restarts: tuple[float, float] = (math.inf, math.inf)
    """The least and the most seconds between two restarts of a backend: all of its connections end."""
    forgets: float = math.inf
    """Seconds after which something in between forgets an idle flow, in silence."""
    probed: bool = False
    """The client asks the kernel about what is doubtful."""
    learned_after: int = 20
    """Requests in which the client may learn; they count apart."""
    missed: str = ""
    """Why a target cannot be met here, if it cannot."""

    def known(self, now: float) -> float:
        """What an oracle knows: the smallest limit, since nobody can tell which backend he gets."""
        return min(self.forgets, *(backend.limit(now) for backend in self.backends))


def _always(seconds: float) -> Callable[[float], float]:
    return lambda _: seconds


def _plain(name: str, seconds: float, late: Late = _on_time, *, around: float = 0, **more: object) -> Server:
    backends, thoughts = (Backend(_always(seconds), late),), _always(around or seconds)
    return Server(name=name, backends=backends, around=thoughts, **more)  # type: ignore[arg-type]


def _counting(name: str, *, closes_behind: bool) -> Server:
    """Its idle limit is far from the thinking times."""
    backend = Backend(_always(60))
    # Of the first 20 requests of 4 users, none is the 11th of a connection.
    return Server(
        name=name,
        backends=(backend,),
        around=_always(3),
        most_uses=10,
        closes_behind=closes_behind,
        learned_after=100,
    )


def _forgetting(name: str, seconds: float, *, probed: bool) -> Server:
    """The server itself waits for ever."""
    around = _always(seconds)
    return Server(
        name=name, backends=(Backend(_always(math.inf)),), around=around, forgets=seconds, probed=probed
    )


def _changed(now: float) -> float:
    """Seconds: 10, then 4, then 15, then 16."""
    for until, limit in ((1500.0, 10.0), (3000.0, 4.0), (6000.0, 15.0)):
        if now < until:
            return limit
    return 16.0


def _restless(now: float) -> float:
    """Another one every minute."""
    return (3.0, 8.0, 5.0, 12.0, 4.0, 10.0)[int(now / 60) % 6]


_FAST, _SLOW = Backend(_always(2.5)), Backend(_always(5.0))

SERVERS = (
    _plain("nginx, httpd, HAProxy, Jetty: 5 s to the millisecond", 5),
    _plain("the same: 1 s", 1),
    _plain("Tomcat: 20 s, 0 to 2 s late", 20, _up_to(2)),
    _plain("Tomcat: 5 s, 0 to 2 s late", 5, _up_to(2)),
    _plain("Tomcat: 1 s, 0 to 2 s late", 1, _up_to(2)),
    _plain("gunicorn, Redis: 2 s, rounds of 1 s", 2, _in_rounds(1)),
    _plain("waitress: 120 s, rounds of 30 s", 120, _in_rounds(30)),
    _plain("httpd: 5 s, says so", 5, hint=5),
    _plain("Tomcat: 20 s, 0 to 2 s late, says 20", 20, _up_to(2), hint=20),
    _plain("Node: 6 s, says 5; thinking around 5", 6, hint=5, around=5),
    _plain("Node: 6 s, says 5; thinking around 6", 6, hint=5),
    _plain("says 3, keeps 5 s; thinking around 3", 5, hint=3, around=3),
    _plain("says 3, keeps 5 s; thinking around 5", 5, hint=3),
    _plain("says 10, keeps 5 s", 5, hint=10),
    Server(name="changed: 10, 4, 15, 16 s", backends=(Backend(_changed),), around=_changed),
    Server(
        name="changed every minute: 3 to 12 s",
        backends=(Backend(_restless),),
        around=_restless,
        missed="what was learned is never right for long",
    ),
    _plain("restarted every 30 to 90 s: 5 s", 5, restarts=(30, 90)),
    Server(name="two backends: 2.5 s and 5 s", backends=(_FAST, _SLOW), around=_always(2.5)),
    _counting("ends after 10 requests, without a word", closes_behind=True),
    _counting("ends on the 11th request", closes_behind=False),
    _forgetting("firewall forgets after 20 s; probes", 20, probed=True),
    _forgetting("firewall forgets after 20 s; no probes", 20, probed=False),
)
