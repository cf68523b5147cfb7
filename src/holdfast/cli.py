"""The command line. Reads arguments and hands over; what a command does is in a module of its own.

The library itself needs none of what the commands need, so that is an extra, and each command
imports its own module only when it is called.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import holdfast

__all__ = ["main"]

EXTRA = frozenset({"requests", "rich", "trustme"})
USAGE_ERROR = 2
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status: 0 good, 1 bad, 2 not run."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in EXTRA:
            raise
        _complain(f'this command needs {error.name}: pip install "holdfast[cli]"')
        return USAGE_ERROR
    except KeyboardInterrupt:
        _complain("interrupted")
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="holdfast", description="Pooled connections that survive.")
    parser.add_argument("--version", action="version", version=f"holdfast {holdfast.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    demo = commands.add_parser(
        "demo",
        help="what bare and wrapped clients make of the same broken connections",
        description=(
            "Sends the same requests through bare urllib3, bare requests and both wrapped by"
            " holdfast, to servers on this machine that break connections on cue. The exit status"
            " is 0 if the wrapped clients executed nothing twice that may run only once, returned"
            " nothing wrong and raised nothing that is not urllib3's or requests' own; else 1."
        ),
    )
    demo.add_argument("--json", action="store_true", help="one JSON document instead of the table")
    demo.add_argument("--seed", type=int, default=1, metavar="N", help="of the traffic (default 1)")
    demo.add_argument(
        "--rounds",
        type=_count,
        default=2,
        metavar="N",
        help="how often each fault strikes each kind of request (default 2)",
    )
    demo.set_defaults(run=_demo)
    return parser


def _demo(arguments: argparse.Namespace) -> int:
    from holdfast import _demo

    return _demo.run(seed=arguments.seed, rounds=arguments.rounds, as_json=arguments.json)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 1 or more")
    return int(text)


def _complain(message: str) -> None:
    print(f"holdfast: {message}", file=sys.stderr)
