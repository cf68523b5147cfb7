"""What is tried: which adversary, over which path, in which weather.

All of it can be written as JSON, because client, server and wire are processes of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

__all__ = [
    "CLIENT",
    "LIMITS",
    "PROXY_ORIGIN",
    "SERVER",
    "STRAYS",
    "Adversary",
    "Outcome",
    "Path",
    "Sky",
    "Trial",
    "port",
]

CLIENT = "10.77.0.1"
SERVER = "10.77.0.2"
PROXY_ORIGIN = "origin.test"
"""What a proxy is asked for. Only the proxy would resolve it."""


class Adversary(Enum):
    """What the server does to a connection after its first answer. T is a moment that it tells the
    client with that answer, so that the client's next request can cross it on the wire."""

    FIN_CROSSES = "FIN at T"
    RST_CROSSES = "RST at T"
    HALF_CLOSE_THEN_CLOSE = "half-closes at T, closes a little later, reads nothing"
    READS_ALL_THEN_RST = "executes the request, RST at once"
    READS_ALL_THEN_LATE_RST = "executes the request, RST after its ACK"
    READS_ALL_THEN_FIN = "executes the request, FIN without an answer"
    READS_HALF_THEN_RST = "reads half of the request, RST"
    LAST_BYTE_WITHHELD = "RST or FIN while the client still withholds the last byte"
    DIES_UNREAD = "dies with the request unread in its socket"
    IDLE_408 = "a 408 and FIN at T (HAProxy)"
    STRAY_200 = "a 200 that answers nothing at T; stays open and executes the request"

    # Beyond what a client can know: pinned, and kept apart from "never twice".
    HALF_CLOSES_EXECUTES_ABORTS = "limit: half-closes at T, executes the request all the same, RST at once"
    FORGED_FIN = "limit: a middlebox forges a FIN behind a request that is executed"


STRAYS = frozenset({Adversary.IDLE_408, Adversary.STRAY_200})
"""A good client hands out an answer to them, but never theirs."""

LIMITS = frozenset({Adversary.HALF_CLOSES_EXECUTES_ABORTS, Adversary.FORGED_FIN})


class Path(Enum):
    """How the client reaches the server."""

    PLAIN = "plain"
    TLS_1_2 = "TLS 1.2"
    TLS_1_2_SILENT = "TLS 1.2, no close_notify"
    TLS_1_3 = "TLS 1.3"
    TLS_1_3_SILENT = "TLS 1.3, no close_notify"
    FORWARD = "forward proxy"
    CONNECT = "CONNECT tunnel"

    @property
    def tls(self) -> bool:
        return self not in (Path.PLAIN, Path.FORWARD)

    @property
    def proxied(self) -> bool:
        return self in (Path.FORWARD, Path.CONNECT)


class Sky(Enum):
    """The weather on the wire."""

    CLEAR = "clear"
    LOSS = "5 % loss"
    REORDER = "reordering"


def port(path: Path, sky: Sky) -> int:
    """The server's port. The wire tells the weather by it, the server the path."""
    return 8000 + 10 * list(Path).index(path) + list(Sky).index(sky)


@dataclass(frozen=True)
class Trial:
    """One connection: a GET that is answered, and a request that meets the adversary."""

    number: int
    adversary: str
    path: str = "PLAIN"
    sky: str = "CLEAR"
    method: str = "POST"
    client: str = "holdfast"
    """``holdfast`` or ``urllib3``, which is the same without being wrapped."""
    offset: float = 0.0
    """When the request leaves: so many one-way delays after T. From -1 to 1 the two cross."""
    body: int = 10
    """Bytes."""
    late: float = 0.0
    """Seconds that the client is kept from looking for its answer, as by a busy machine."""


@dataclass
class Outcome:
    """What the client saw. The ledger has the rest."""

    trial: Trial
    answer: str = ""
    """``own``; ``stray``: somebody else's, or a cut one; ``error``; ``foreign``: an
    error that urllib3 does not raise; ``unwarmed``: the connection did not come that far."""
    first_port: int = 0
    """The client's port of the connection that met the adversary."""
    error: str = ""
    attempts: list[tuple[str, str]] = field(default_factory=list)
    """Progress and verdict of each attempt that failed, by name."""
    moment: float = 0.0
    """T."""
    sent: float = 0.0
    ended: float = 0.0
