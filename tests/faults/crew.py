"""A client process: many threads that take one trial after the other.

Its parent gives it the trials as JSON and gets the outcomes back; it keeps them busy, but not more
than the wire can carry without being late.
"""

from __future__ import annotations

import logging
import ssl
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import trial as one
from cases import Outcome, Trial
from child import Child, answer, configuration
from namespaces import enter
from wire import Lab

__all__ = ["run_trials"]


def run_trials(lab: Lab, trials: Sequence[Trial], *, threads: int = 16, processes: int = 1) -> list[Outcome]:
    """In the order in which they were given."""
    shares = [list(trials[start::processes]) for start in range(processes)]
    config = {"namespace": lab.client_namespace, "ca": lab.ca, "delay": lab.delay, "threads": threads}
    crew = [
        Child("crew.py", {**config, "trials": [asdict(trial) for trial in share]}, [lab.client_namespace])
        for share in shares
    ]
    try:
        told = [_outcomes(member.hear()) for member in crew]
    finally:
        for member in crew:
            member.stop()
    return sorted((outcome for share in told for outcome in share), key=lambda outcome: outcome.trial.number)


def _outcomes(told: list[dict[str, Any]]) -> list[Outcome]:
    return [
        Outcome(
            **{
                **facts,
                "trial": Trial(**facts["trial"]),
                "attempts": [(progress, verdict) for progress, verdict in facts["attempts"]],
            }
        )
        for facts in told
    ]


def main() -> None:
    config = configuration()
    enter(config["namespace"])
    # A thread whose moment has come should not wait 5 ms for the interpreter.
    sys.setswitchinterval(0.0005)
    logging.getLogger("urllib3").setLevel(logging.CRITICAL)
    one.let_clients_be_late()
    tls = ssl.create_default_context(cadata=config["ca"])
    trials = [Trial(**facts) for facts in config["trials"]]

    def run(number: int) -> Outcome:
        if number < config["threads"]:
            time.sleep(number * 0.02)  # or all of them would connect at the same time
        return one.run(trials[number], config["delay"], tls)

    with ThreadPoolExecutor(config["threads"]) as threads:
        outcomes = list(threads.map(run, range(len(trials))))
    answer([asdict(outcome) for outcome in outcomes])


if __name__ == "__main__":
    main()
