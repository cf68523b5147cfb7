"""What do 10,000 idle connections with a heartbeat every 30 s cost, and how soon is one closed whose
peer hangs up?

    python benchmarks/idle_connections.py [--quick] [--connections N] [--seconds S]

The exit status is 0 if all bounds are kept, 1 if not, 2 if it could not run. See README.md beside this
file.
"""

from __future__ import annotations

import argparse
import gc
import os
import resource
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from _contest import ContestError, ask, line, process
from _rounds import Circumstances
from holdfast import Heartbeat, Policy, PoolLimits, SocketPool
from holdfast.events import ConnectionClosed, Event

__all__ = ["main"]

INTERVAL = 30.0
MOST_CPU, MOST_MEMORY, MOST_DELAY = 0.03, 4096, 0.1
QUESTION = (
    f"Do {{count:,}} idle connections with a heartbeat every {INTERVAL:g} s take less than {MOST_CPU:.0%} of"
    f" a core and at most {MOST_MEMORY:,} bytes of Python memory each, and are {{burst:,}} of them, hung up"
    f" on at once, closed within {MOST_DELAY * 1e3:g} ms (99th percentile; the median burst)?"
)
SAMPLE = 1.0
SPARE = 200
"""Descriptors for everything else."""
PING = b"PING\r\n"


@dataclass
class Result:
    count: int
    burst: int
    shares: list[float] = field(default_factory=list)
    """Of a core, in each second."""
    average: float = 0.0
    beats: int = 0
    resident: float = 0.0
    """Bytes for each connection, of the whole process."""
    traced: float = 0.0
    """The same, only what Python allocated."""
    delays: list[list[float]] = field(default_factory=list)
    """Seconds from the first FIN of a burst to each close, in order."""
    hang_ups: list[float] = field(default_factory=list)
    """Seconds that the peer needed to hang up on all of them."""
    efforts: list[float] = field(default_factory=list)
    """Seconds of CPU time that it took to close a burst."""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--connections", type=int, default=10_000, metavar="N")
    parser.add_argument("--seconds", type=float, default=60.0, metavar="S", help="to look at its CPU time")
    parser.add_argument("--quick", action="store_true", help="2,000 connections, 5 s: to see that it works")
    arguments = parser.parse_args(argv)
    count = 2000 if arguments.quick else arguments.connections
    seconds = 5.0 if arguments.quick else arguments.seconds
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if most < count + SPARE:
        print(
            f"idle_connections: {count} connections need {count + SPARE} descriptors, the hard limit is {most}"
        )
        return 2
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    circumstances = Circumstances(["holdfast"])
    try:
        with process("_peer.py") as peer:
            result = _measure(peer, ("127.0.0.1", int(line(peer, "the peer"))), count, seconds)
    except ContestError as error:
        print(f"idle_connections: {error}", file=sys.stderr)
        return 2
    return _tell(result, circumstances)


def _measure(peer: subprocess.Popen[str], address: tuple[str, int], count: int, seconds: float) -> Result:
    result = Result(count, burst=count // 10)
    closes: list[float] = []

    def listener(event: Event) -> None:
        if isinstance(event, ConnectionClosed):
            closes.append(time.monotonic())

    before = _resident()
    with _full(address, count, listener) as pool:
        result.resident = (_resident() - before) / count
        _watch(result, pool, seconds)
        for _ in range(9):
            closes.clear()
            cpu_began = time.process_time()
            ask(peer, "the peer", str(result.burst))
            began, ended = (float(number) for number in line(peer, "the peer").split())
            _wait_for(closes, result.burst)
            result.efforts.append(time.process_time() - cpu_began)
            result.delays.append([when - began for when in closes])
            result.hang_ups.append(ended - began)
    # The peer has to see the end of the others before they come again.
    time.sleep(1)
    tracemalloc.start()
    try:
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        with _full(address, count, None):
            gc.collect()
            result.traced = (tracemalloc.get_traced_memory()[0] - before) / count
    finally:
        tracemalloc.stop()
    return result


@contextmanager
def _full(address: tuple[str, int], count: int, listener: object) -> Iterator[SocketPool]:
    """A pool in which so many lie idle, opened one right after the other."""
    policy = Policy(
        heartbeat=Heartbeat(send=PING, expect=PING, interval=INTERVAL, timeout=5),
        limits=PoolLimits(idle_timeout=None),
        listener=listener,  # type: ignore[arg-type]
    )
    with SocketPool(address, policy=policy, maxsize=count) as pool:
        leases = [pool.acquire() for _ in range(count)]
        while leases:
            leases.pop().release()
        yield pool


def _watch(result: Result, pool: SocketPool, seconds: float) -> None:
    print(f"{result.count} connections are open; looking on for {seconds:g} s", file=sys.stderr)
    began, cpu_began = time.monotonic(), time.process_time()
    ends, cpu = began + seconds, cpu_began
    while (now := time.monotonic()) < ends:
        time.sleep(min(SAMPLE, ends - now))
        cpu, before = time.process_time(), cpu
        result.shares.append((cpu - before) / (time.monotonic() - now))
    result.average = (cpu - cpu_began) / (time.monotonic() - began)
    stats = pool.stats()
    result.beats = stats.heartbeats
    if stats.closed or stats.open != result.count:
        raise ContestError(f"some were closed, which is not what is measured here: {stats}")


def _wait_for(closes: list[float], count: int) -> None:
    ends = time.monotonic() + 10
    while len(closes) < count:
        if time.monotonic() > ends:
            raise ContestError(f"{len(closes)} of {count} were closed within 10 s")
        time.sleep(0.05)


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _tell(result: Result, circumstances: Circumstances) -> int:
    late = [sorted(burst)[int(len(burst) * 0.99) - 1] for burst in result.delays]
    kept = {
        "CPU": result.average < MOST_CPU,
        "memory": result.traced <= MOST_MEMORY,
        "delay": median(late) < MOST_DELAY,
    }
    print(QUESTION.format(count=result.count, burst=result.burst))
    print("Yes." if all(kept.values()) else f"No: {', '.join(name for name, it in kept.items() if not it)}.")
    cost = f", {result.average * len(result.shares) / result.beats * 1e6:.0f} µs each" if result.beats else ""
    print(f"\n  CPU, average of {len(result.shares)} s    {result.average:.2%} of a core")
    print(f"  CPU, busiest second     {max(result.shares):.2%} of a core")
    print(f"  heartbeats in that time {result.beats:,}{cost}")
    print(f"  memory (tracemalloc)    {result.traced:,.0f} bytes for each connection")
    print(f"  memory (resident)       {result.resident:,.0f} bytes for each connection")
    each = ", ".join(f"{it * 1e3:.0f}" for it in sorted(late))
    print(
        f"  {result.burst:,} FINs, {len(late)} times: the peer took {median(result.hang_ups) * 1e3:.1f} ms to send them,"
        f" closing took {median(result.efforts) * 1e3:.1f} ms of CPU time,"
    )
    print(f"  from the first of them until 99 % were closed {median(late) * 1e3:.1f} ms ({each})")
    print(f"\n{circumstances}")
    return 0 if all(kept.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
