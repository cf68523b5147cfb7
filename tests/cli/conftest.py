"""The demo runs threads, sockets and files: no test may leave any behind."""

from __future__ import annotations

import gc
import logging
import os
import threading
from collections.abc import Iterator

import pytest

DESCRIPTORS = "/proc/self/fd"


@pytest.fixture(autouse=True, scope="package")
def _no_retries_in_the_log() -> Iterator[None]:
    # pytest keeps log records, these keep the exceptions, and those the pool, which urllib3 closes
    # when nobody refers to it any more.
    logger = logging.getLogger("urllib3")
    before = logger.level
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(before)


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    gc.collect()
    threads, descriptors = set(threading.enumerate()), _descriptors()
    yield
    gc.collect()
    assert [thread.name for thread in set(threading.enumerate()) - threads] == []
    assert _descriptors() == descriptors


def _descriptors() -> int:
    return len(os.listdir(DESCRIPTORS)) if os.path.isdir(DESCRIPTORS) else 0
