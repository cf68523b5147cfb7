"""A client process that gets good answers, and many of them: none may be refused.

Each thread keeps a connection alive over one path in one weather and asks for all that a good server
may do: small and large bodies, slow answers, answers that come before the body was read.
"""

from __future__ import annotations

import itertools
import logging
import random
import ssl
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field

import urllib3
from cases import Path, Sky
from child import Child, answer, configuration
from namespaces import enter
from trial import close, make_manager, origin_of
from wire import Lab

import holdfast
from holdfast.events import ConnectionClosed, Event, RepeatDecided

__all__ = ["Asker", "Refusals", "ask_for_answers"]

_THREADS = 42
"""A multiple of the number of paths and weathers."""
_FRESH_AFTER = 40
"""Requests that share a connection: the first answer on one can be refused as well."""
_PATIENCE = urllib3.Timeout(connect=50.0, read=50.0)
"""Where packets are lost, four losses in a row are a silence of ten seconds, and no refusal."""


@dataclass
class Refusals:
    answered: int = 0
    complaints: list[str] = field(default_factory=list)
    """Whatever else happened."""


def ask_for_answers(lab: Lab, count: int, *, skies: Iterable[Sky] = Sky, slowest: float = 0.05) -> Refusals:
    """So many at least, and on every path and in each weather alike. ``slowest``: seconds that the
    server takes for an answer, at the most."""
    each = -(-count // _THREADS)
    first = lab.numbers(each * _THREADS)[0]
    config = {"namespace": lab.client_namespace, "ca": lab.ca, "each": each, "first": first}
    config |= {"seed": lab.seed, "slowest": slowest, "skies": [sky.name for sky in skies]}
    child = Child("answers.py", config, [lab.client_namespace])
    try:
        return Refusals(**child.hear())
    finally:
        child.stop()


class Asker:
    """One client, with one connection at a time."""

    def __init__(
        self, path: Path, sky: Sky, tls: ssl.SSLContext, *, seed: str, slowest: float = 0.05
    ) -> None:
        self._path, self._sky = path, sky
        self._slowest = slowest
        self._chance = random.Random(seed)
        self._manager = make_manager(path, sky, tls, timeout=_PATIENCE)
        holdfast.wrap(self._manager, holdfast.Policy(listener=self._listen))
        self.seen = Refusals()

    def run(self, numbers: Sequence[int]) -> Refusals:
        for count, number in enumerate(numbers):
            if count % _FRESH_AFTER == 0:
                self.leave()
            self.ask(number)
        self.leave()
        return self.seen

    def leave(self) -> None:
        close(self._manager)

    def ask(self, number: int) -> None:
        kind, method, size = self._chance.choice(
            [
                ("do", "GET", 0),
                ("do", "POST", 10),
                ("do", "POST", 2_000),
                ("do", "POST", 20_000),
                (f"slow/{self._chance.uniform(0, self._slowest):.3f}", "GET", 0),
                (f"slow/{self._chance.uniform(0, self._slowest):.3f}", "POST", 10),
                ("early", "POST", 20_000),
            ]
        )
        url = f"{origin_of(self._path, self._sky)}/{kind}/{number}"
        try:
            response = self._manager.request(method, url, body=b"x" * size if method == "POST" else None)
        except Exception as error:
            self._complain(f"{kind}: {error!r}")
            return
        if response.status == 200 and response.data == str(number).encode():
            self.seen.answered += 1
        else:
            self._complain(f"{kind}: answered {response.status} {response.data!r}")

    def _listen(self, event: Event) -> None:
        closed = (
            isinstance(event, ConnectionClosed)
            and event.reason is not holdfast.CloseReason.CLOSED_LOCALLY
            and not self._is_lost_question(event)
        )
        if closed or isinstance(event, RepeatDecided):
            self._complain(repr(event))

    def _is_lost_question(self, event: ConnectionClosed) -> bool:
        """Who lay idle for a second while others waited for a lost segment is asked about, and where
        segments are lost that may be lost as well. No answer was refused."""
        return self._sky is Sky.LOSS and event.reason is holdfast.CloseReason.UNANSWERED

    def _complain(self, what: str) -> None:
        self.seen.complaints.append(f"{self._path.value}, {self._sky.value}: {what}")


def main() -> None:
    config = configuration()
    enter(config["namespace"])
    sys.setswitchinterval(0.0005)
    logging.getLogger("urllib3").setLevel(logging.CRITICAL)
    tls = ssl.create_default_context(cadata=config["ca"])
    each, first = config["each"], config["first"]
    shares = [range(start, start + each) for start in range(first, first + each * _THREADS, each)]
    places = list(itertools.product(Path, [Sky[name] for name in config["skies"]]))
    places *= _THREADS // len(places)
    askers = [
        Asker(path, sky, tls, seed=f"{config['seed']} {share[0]}", slowest=config["slowest"])
        for share, (path, sky) in zip(shares, places, strict=True)
    ]
    with ThreadPoolExecutor(_THREADS) as threads:
        seen = list(threads.map(Asker.run, askers, shares))
    complaints = [complaint for one in seen for complaint in one.complaints]
    answer(asdict(Refusals(sum(one.answered for one in seen), complaints)))


if __name__ == "__main__":
    main()
