"""What the tests of this directory share: the lab, and how many trials there are.

Without root, namespaces or TUN the tests are skipped and say why; on CI (``CI`` in the environment)
they fail. No conftest.py: mypy takes two of them for the same module.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Iterator

import pytest
from cases import Adversary, Path, Sky, Trial
from namespaces import why_not
from wire import Lab

__all__ = ["TRIALS", "demand", "lab", "trials"]

TRIALS = int(os.environ.get("HOLDFAST_WIRE_TRIALS", "30"))
"""Of each kind."""
SEED = int(os.environ.get("HOLDFAST_WIRE_SEED", "1"))
DELAY = 0.015


def demand(why_not: str | None) -> None:
    """Skips a test where what it needs is not to be had, or fails it on CI, which must have it."""
    if why_not is None:
        return
    if os.environ.get("CI"):
        pytest.fail(why_not)
    pytest.skip(why_not)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    demand(why_not())
    with Lab(delay=DELAY, seed=SEED) as lab:
        yield lab


def trials(
    lab: Lab,
    adversary: Adversary,
    *,
    count: int = TRIALS,
    paths: Iterable[Path] = Path,
    method: str = "POST",
    client: str = "holdfast",
    late: float = 0.0,
) -> list[Trial]:
    """So many on each path. The request leaves so that it crosses what the server sends at T; not in
    the outermost twentieths, where the scheduler decides which of the two was first."""
    chance = random.Random(f"{lab.seed} {adversary.name} {method} {client}")
    wanted = list(paths) * count
    return [
        Trial(
            number,
            adversary.name,
            path.name,
            Sky.CLEAR.name,
            method=method,
            client=client,
            offset=chance.uniform(-0.95, 0.95),
            late=late,
        )
        for number, path in zip(lab.numbers(len(wanted)), wanted, strict=True)
    ]
