"""Of 50 idle connections whose server has hung up, how many stand in CLOSE_WAIT 100 ms later, without
any call?

    python benchmarks/close_wait.py [--quick]

The exit status is 0 if it is none with holdfast, 1 if not, 2 if it could not run. Linux only. See
README.md beside this file.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import urllib3

import holdfast
from _contest import ContestError, ask, line, process
from _rounds import Circumstances

__all__ = ["main"]

COUNT = 50
DELAY = 0.1
QUESTION = (
    f"Of {COUNT} idle connections whose server has hung up, are 0 in CLOSE_WAIT {DELAY * 1e3:g} ms later,"
    " without any call?"
)
_TABLE = Path("/proc/net/tcp")
_CLOSE_WAIT = "08"


@contextmanager
def _socket_pool(port: int) -> Iterator[None]:
    with holdfast.SocketPool(("127.0.0.1", port), maxsize=COUNT) as pool:
        leases = [pool.acquire() for _ in range(COUNT)]
        for lease in leases:
            lease.release()
        yield


@contextmanager
def _urllib3(port: int, *, wrapped: bool) -> Iterator[None]:
    pool = urllib3.HTTPConnectionPool("127.0.0.1", port, maxsize=COUNT)
    if wrapped:
        holdfast.wrap(pool)
    connections = [pool._get_conn() for _ in range(COUNT)]
    for connection in connections:
        connection.connect()
    for connection in connections:
        pool._put_conn(connection)
    yield
    pool.close()


POOLS: dict[str, Callable[[int], AbstractContextManager[None]]] = {
    "SocketPool": _socket_pool,
    "urllib3, wrapped": lambda port: _urllib3(port, wrapped=True),
    "urllib3": lambda port: _urllib3(port, wrapped=False),
}
OURS = ("SocketPool", "urllib3, wrapped")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="3 rounds instead of 20")
    rounds = 3 if parser.parse_args(argv).quick else 20
    circumstances = Circumstances(["holdfast", "urllib3"])
    found: dict[str, list[int]] = {name: [] for name in POOLS}
    try:
        with process("_peer.py") as peer:
            port = int(line(peer, "the peer"))
            for _ in range(rounds):
                for name in POOLS:
                    found[name].append(_round(peer, port, name))
    except ContestError as error:
        print(f"close_wait: {error}", file=sys.stderr)
        return 2
    return _tell(found, circumstances)


def _round(peer: subprocess.Popen[str], port: int, name: str) -> int:
    with POOLS[name](port):
        # Until the peer has seen these come, and those of the round before go.
        time.sleep(0.3)
        ask(peer, "the peer", str(COUNT))
        _, ended = (float(number) for number in line(peer, "the peer").split())
        time.sleep(max(0.0, ended + DELAY - time.monotonic()))
        return _in_close_wait(port)


def _in_close_wait(port: int) -> int:
    """Our ends of connections to it."""
    lines = (entry.split()[:4] for entry in _TABLE.read_text(encoding="ascii").splitlines()[1:])
    return sum(
        state == _CLOSE_WAIT and int(remote.partition(":")[2], 16) == port for _, _, remote, state in lines
    )


def _tell(found: dict[str, list[int]], circumstances: Circumstances) -> int:
    answer = all(max(found[name]) == 0 for name in OURS)
    print(QUESTION)
    print("Yes." if answer else "No.")
    print(f"\n  in CLOSE_WAIT     least   most   of {len(found['SocketPool'])} rounds")
    for name, counts in found.items():
        print(f"  {name:16}  {min(counts):5}  {max(counts):5}")
    print(f"\n{circumstances}")
    return 0 if answer else 1


if __name__ == "__main__":
    sys.exit(main())
