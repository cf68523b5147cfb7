"""What each adversary does, as a short script; and how a well-behaved server answers.

A script is called when the connection has had its first answer, with the number of the trial and
the moment T; when it returns, the connection is over.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial

from cases import Adversary
from peer import Peer, Request

__all__ = ["CUTS", "SCRIPTS", "answer", "serve_one"]

Script = Callable[[Peer, int, float], None]

STRAY = b"stray"
_AFTER_THE_ACK = 0.1
"""Seconds. A delayed ACK takes 40 ms on Linux."""


def answer(peer: Peer, request: Request, extra: str = "") -> None:
    """A 200 whose body is the number of the request, so that the client knows it for its own."""
    body = str(request.number).encode()
    peer.send(_head(f"Content-Length: {len(body)}", *([extra] if extra else [])) + body)


def serve_one(peer: Peer) -> None:
    answer(peer, peer.execute())


def _head(*fields: str) -> bytes:
    return "\r\n".join(["HTTP/1.1 200 OK", *fields, "", ""]).encode()


def _wait_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))


# -- what crosses a request


def _at_t(act: Callable[[Peer], None]) -> Script:
    """As servers do it: who is not idle any more at T is served, and left at the next chance."""

    def script(peer: Peer, number: int, moment: float) -> None:
        if not peer.quiet_until(moment):
            serve_one(peer)
        act(peer)
        peer.ledger.acted(number)

    return script


def _half_close_then_close(peer: Peer, number: int, moment: float) -> None:
    if not peer.quiet_until(moment):
        serve_one(peer)
    peer.half_close()
    peer.ledger.acted(number)
    _wait_until(moment + random.Random(number).uniform(0.0, 0.06))
    peer.fin()


def _idle_408(peer: Peer) -> None:
    peer.send(b"HTTP/1.1 408 Request Time-out\r\nContent-Length: 5\r\nConnection: close\r\n\r\nstray")
    peer.fin()


def _stray_200(peer: Peer, number: int, moment: float) -> None:
    peer.quiet_until(moment)
    peer.send(_head(f"Content-Length: {len(STRAY)}") + STRAY)
    peer.ledger.acted(number)
    while True:
        serve_one(peer)


# -- what befalls a request that has arrived


def _executes(then: Callable[[Peer], None], after: float = 0.0) -> Script:
    def script(peer: Peer, number: int, moment: float) -> None:
        peer.execute()
        time.sleep(after)
        then(peer)

    return script


def _reads_half(peer: Peer, number: int, moment: float) -> None:
    peer.read_half()
    peer.rst()


def _ends_a_half(peer: Peer, number: int, moment: float) -> None:
    peer.read_half()
    random.Random(number).choice([peer.rst, peer.fin])()


def _dies_unread(peer: Peer, number: int, moment: float) -> None:
    peer.wait_for_bytes()
    time.sleep(random.Random(number).choice([0.0, 0.0, 0.02, 0.06]))
    peer.fin()


# -- beyond what a client can know


def _half_closes_executes_aborts(peer: Peer, number: int, moment: float) -> None:
    peer.quiet_until(moment)
    peer.half_close()
    peer.ledger.acted(number)
    peer.execute()
    peer.rst()


def _forged_fin(peer: Peer, number: int, moment: float) -> None:
    while True:
        serve_one(peer)


SCRIPTS: dict[Adversary, Script] = {
    Adversary.FIN_CROSSES: _at_t(Peer.fin),
    Adversary.RST_CROSSES: _at_t(Peer.rst),
    Adversary.HALF_CLOSE_THEN_CLOSE: _half_close_then_close,
    Adversary.READS_ALL_THEN_RST: _executes(Peer.rst),
    Adversary.READS_ALL_THEN_LATE_RST: _executes(Peer.rst, after=_AFTER_THE_ACK),
    Adversary.READS_ALL_THEN_FIN: _executes(Peer.fin),
    Adversary.READS_HALF_THEN_RST: _reads_half,
    Adversary.LAST_BYTE_WITHHELD: _ends_a_half,
    Adversary.DIES_UNREAD: _dies_unread,
    Adversary.IDLE_408: _at_t(_idle_408),
    Adversary.STRAY_200: _stray_200,
    Adversary.HALF_CLOSES_EXECUTES_ABORTS: _half_closes_executes_aborts,
    Adversary.FORGED_FIN: _forged_fin,
}


# -- answers that break off


def _cut(data: bytes, end: Callable[[Peer], None], peer: Peer) -> None:
    peer.send(data)
    end(peer)


def _late_rst(peer: Peer) -> None:
    """When the client has read what there is."""
    time.sleep(_AFTER_THE_ACK)
    peer.rst()


_BODIES = {
    "status-line": b"HTTP/1.1 2",
    "head-in-line": _head("X-Some: header", "Content-Length: 4")[:-12],
    "head-at-line": _head("X-Some: header", "Content-Length: 4")[: -len("Content-Length: 4\r\n\r\n")],
    "length": _head("Content-Length: 1000") + b"x" * 500,
    "chunked": _head("Transfer-Encoding: chunked") + b"3e8\r\n" + b"x" * 500,
    "between-chunks": _head("Transfer-Encoding: chunked") + b"1f4\r\n" + b"x" * 500 + b"\r\n",
    "last-chunk": _head("Transfer-Encoding: chunked") + b"1f4\r\n" + b"x" * 500 + b"\r\n0\r\n",
    "until-close": _head("Connection: close") + b"x" * 500,
}

CUTS: dict[str, Callable[[Peer], None]] = {
    f"{what}-{name}": partial(_cut, data, end)
    for what, data in _BODIES.items()
    for name, end in {"fin": Peer.fin, "rst": Peer.rst, "late-rst": _late_rst}.items()
}
"""``until-close-fin`` is a good answer; it is here to show that the others are not."""
