"""Do 8 threads that share 4 connections get at least twice as much done with a SocketPool as with a
queue.LifoQueue of connections?

    python benchmarks/contention.py [--quick] [--heats N]

The exit status is 0 for yes, 1 for no, 2 if it could not run. See README.md beside this file.
"""

from __future__ import annotations

import argparse
import sys

from _contest import ContestError, line, process
from _crowd import CONNECTIONS, CROWDS, THREADS
from _rounds import Circumstances, Times, measure

__all__ = ["main"]

LIMIT = 2.0
QUESTION = (
    f"Do {THREADS} threads with {CONNECTIONS} connections get at least {LIMIT:g} times as much done with a"
    " SocketPool as with a queue.LifoQueue?"
)
_USES = {
    "nothing": "take, look, put back",
    "exchange": "an exchange of 100 bytes",
    "millisecond": "1 ms of waiting",
}
_POOLS = {
    "holdfast": "SocketPool",
    "lifo": "LifoQueue",
    "fair": "fair floor",
    "psycopg_pool": "psycopg_pool",
}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--heats", type=int, default=5, metavar="N", help="sets of processes (default 5)")
    parser.add_argument("--quick", action="store_true", help="2 heats of 3 rounds, to see that it works")
    arguments = parser.parse_args(argv)
    circumstances = Circumstances(["holdfast", "psycopg-pool"])
    try:
        with process("_peer.py") as peer:
            times = measure(
                "_crowd.py",
                list(CROWDS),
                heats=2 if arguments.quick else arguments.heats,
                rounds=3 if arguments.quick else 8,
                block=1600,
                arguments=[line(peer, "the peer").strip()],
            )
    except ContestError as error:
        print(f"contention: {error}", file=sys.stderr)
        return 2
    return _tell(times, circumstances)


def _tell(times: Times, circumstances: Circumstances) -> int:
    # How much more is done in the same time: the other's time to ours.
    gains = {use: times.ratio(f"lifo, {use}", f"holdfast, {use}") for use in _USES}
    answer = gains["nothing"].low >= LIMIT
    print(QUESTION)
    print("Yes." if answer else "No.")
    print(
        "\n  each turn                  pool             turns a second   times LifoQueue        longest wait"
    )
    print(
        "                                                                                     usual    ever"
    )
    for use, title in _USES.items():
        for pool, name in _POOLS.items():
            one = f"{pool}, {use}"
            print(
                f"  {title:25}  {name:15}  {1 / times.time(one):14,.0f}   {times.ratio(f'lifo, {use}', one)!s:20}"
                f"  {times.usual_worst(one) * 1e3:6.1f}  {times.worst(one) * 1e3:6.1f} ms"
            )
    print(f"\n{circumstances}")
    return 0 if answer else 1


if __name__ == "__main__":
    sys.exit(main())
