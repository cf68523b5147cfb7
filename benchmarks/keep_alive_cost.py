"""Does a keep-alive request through a wrapped client take at most 1.03 times as long?

    python benchmarks/keep_alive_cost.py [--json FILE|-] [--plot FILE.png] [--rounds N] [--quick]

The exit status is 0 for yes, 1 for no, 3 if this run cannot tell. Needs the extra
``holdfast[benchmarks]``. See README.md beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

import trustme
from rich.console import Console

from _contest import ContestError, Heat, Settings, heats
from _field import USUAL, Workload
from _plot import plot
from _result import Answer, Result
from _show import story

__all__ = ["main"]

_STATUS = {Answer.YES: 0, Answer.NO: 1, Answer.OPEN: 3}
_NOT_RUN = 2
_BUDGET = 165.0
"""Seconds. With the last round and the plot it stays below three minutes."""
_WIDTH = 120


def main(argv: list[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    try:
        result = _measure(_settings(arguments), tls=arguments.tls)
    except ContestError as error:
        print(f"keep_alive_cost: {error}", file=sys.stderr)
        return _NOT_RUN
    # With "--json -" stdout belongs to the machine.
    _screen(stderr=arguments.json == "-").print(story(result))
    if arguments.json:
        _write(json.dumps(result.as_dict()), arguments.json)
    if arguments.plot:
        plot(result, arguments.plot)
    return _STATUS[result.answer]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", metavar="FILE", help="every sample and ratio; - for stdout")
    parser.add_argument("--plot", metavar="FILE", help="the ratios as a PNG")
    parser.add_argument("--heats", type=_count, default=9, metavar="N", help="sets of processes (default 9)")
    parser.add_argument("--rounds", type=_count, default=40, metavar="N", help="in a heat (default 40)")
    parser.add_argument("--quick", action="store_true", help="2 heats of 10 rounds, to see that it works")
    parser.add_argument("--all", action="store_true", help="further kinds of requests as well")
    parser.add_argument("--tls", action="store_true", help="over TLS")
    return parser


def _settings(arguments: argparse.Namespace) -> Settings:
    return Settings(
        workloads=tuple(Workload) if arguments.all else USUAL,
        heats=2 if arguments.quick else arguments.heats,
        rounds=10 if arguments.quick else arguments.rounds,
        budget=_BUDGET * (3 if arguments.all else 1),
    )


def _measure(settings: Settings, *, tls: bool) -> Result:
    began, load = time.monotonic(), os.getloadavg()[0]
    date = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    with _certificates(needed=tls) as certificates:
        done = list(_told(heats(settings, certificates), settings.heats))
    return Result(
        settings=settings,
        tls=tls,
        heats=done,
        began=date,
        seconds=time.monotonic() - began,
        load=(load, os.getloadavg()[0]),
    )


def _told(coming: Iterator[Heat], total: int) -> Iterator[Heat]:
    for number, heat in enumerate(coming, 1):
        print(f"heat {number} of {total}", file=sys.stderr)
        yield heat


@contextmanager
def _certificates(*, needed: bool) -> Iterator[tuple[str, str] | None]:
    if not needed:
        yield None
        return
    authority = trustme.CA()
    with tempfile.TemporaryDirectory() as folder:
        own, ca = Path(folder, "own.pem"), Path(folder, "authority.pem")
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(own))
        authority.cert_pem.write_to_path(str(ca))
        yield str(own), str(ca)


def _screen(*, stderr: bool) -> Console:
    """Where it is no terminal, as wide as the tables."""
    screen = Console(stderr=stderr, highlight=False)
    return screen if screen.is_terminal else Console(stderr=stderr, highlight=False, width=_WIDTH)


def _write(text: str, file: str) -> None:
    if file == "-":
        print(text)
    else:
        Path(file).write_text(text + "\n", encoding="utf-8")


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 1 or more")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
