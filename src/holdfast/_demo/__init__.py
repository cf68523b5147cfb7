"""``holdfast demo``: the same traffic through bare and wrapped clients, to servers that fail.

Needs the extra ``holdfast[cli]``. Private: what it prints is made for people, and ``--json`` for
machines.
"""

from __future__ import annotations

import json
import time

from holdfast._demo import show
from holdfast._demo.clients import ClientKind
from holdfast._demo.result import Result
from holdfast._demo.scenarios import SCENARIOS
from holdfast._demo.trial import trials

__all__ = ["run"]


def run(*, seed: int, rounds: int, as_json: bool) -> int:
    """Runs all of it, prints what came out, and returns the exit status."""
    began = time.monotonic()
    coming = trials(seed=seed, rounds=rounds)
    if not as_json:
        coming = show.progress(coming, len(SCENARIOS) * len(ClientKind))
    done = list(coming)
    result = Result(seed=seed, rounds=rounds, seconds=time.monotonic() - began, trials=done)
    if as_json:
        print(json.dumps(result.as_dict(), indent=2))
    else:
        screen = show.console()
        screen.print(show.story(result, screen.width))
    return 0 if result.ok else 1
