"""Does taking a connection out of a SocketPool, with a look, and putting it back take at most 3 times
as long as the least there is, and less than in every other pool?

    python benchmarks/socket_pool_cost.py [--quick] [--heats N]

The exit status is 0 for yes, 1 for no, 2 if it could not run, 3 if this run cannot tell. Needs the extra ``holdfast[benchmarks]``.
See README.md beside this file.
"""

from __future__ import annotations

import argparse
import sys

from _contest import ContestError
from _rounds import Circumstances, Times, measure
from _takers import TAKERS

__all__ = ["main"]

LIMIT = 3.0
QUESTION = (
    f"Does acquire, look and release take at most {LIMIT:g} times the floor (a deque and one poll), and"
    " less than in every other pool?"
)
_FLOOR, _OURS = "floor", "holdfast"
_OTHERS = [name for name in TAKERS if name != _FLOOR and not name.startswith(_OURS)]
_LOOKS = {_FLOOR, _OURS, "holdfast, with, heartbeat", "holdfast, counting sleep", "urllib3", "redis-py"}
_PACKAGES = ("holdfast", "urllib3", "redis", "SQLAlchemy", "generic-connection-pool", "psycopg-pool")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--heats", type=int, default=7, metavar="N", help="sets of processes (default 7)")
    parser.add_argument("--quick", action="store_true", help="2 heats of 5 rounds, to see that it works")
    arguments = parser.parse_args(argv)
    circumstances = Circumstances(_PACKAGES)
    try:
        times = measure(
            "_takers.py",
            list(TAKERS),
            heats=2 if arguments.quick else arguments.heats,
            rounds=5 if arguments.quick else 30,
            block=2000,
        )
    except ContestError as error:
        print(f"socket_pool_cost: {error}", file=sys.stderr)
        return 2
    return _tell(times, circumstances)


def _tell(times: Times, circumstances: Circumstances) -> int:
    to_floor = times.ratio(_OURS, _FLOOR)
    slower = [name for name in _OTHERS if times.ratio(name, _OURS).low <= 1]
    fails, holds = bool(slower) or to_floor.low > LIMIT, to_floor.high <= LIMIT
    print(QUESTION)
    print("No." if fails else "Yes." if holds else "This run cannot tell: the limit lies within the range.")
    if not holds:
        print(f"  it takes {to_floor} times the floor")
    for name in slower:
        print(f"  {name} takes {times.ratio(name, _OURS)} times as long as holdfast")
    print("\n  pool                        looks        time      times the floor          times holdfast")
    for name in TAKERS:
        looks = "yes" if name in _LOOKS else "no"
        print(
            f"  {name:26}  {looks:5}  {times.time(name) * 1e6:7.2f} µs  "
            f"{times.ratio(name, _FLOOR)!s:>22}  {times.ratio(name, _OURS)!s:>22}"
        )
    print(f"\n{circumstances}")
    return 1 if fails else 0 if holds else 3


if __name__ == "__main__":
    sys.exit(main())
