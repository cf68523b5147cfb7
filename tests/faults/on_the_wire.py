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

__all__ = ["TRIALS", "lab", "trials"]

TRIALS = int(os.environ.get("HOLDFAST_WIRE_TRIALS", "60"))
"""Of each kind."""
SEED = int(os.environ.get("HOLDFAST_WIRE_SEED", "1"))
DELAY = 0.015


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    reason = why_not()
    if reason is not None:
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
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
