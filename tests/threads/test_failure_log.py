"""The log ``holdfast.failures``: one line per cause and origin and interval, whoever fails how often."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from holdfast._core.aggregation import Aggregation
from holdfast._core.failure import FailureReport
from holdfast._threads import failure_log
from holdfast._threads.failure_log import log_failure
from holdfast.vocabulary import Cause, EndedBy, Evidence, Phase, Progress, Verdict

REPORT = FailureReport(
    origin="http://a:1",
    method="GET",
    phase=Phase.AWAIT,
    progress=Progress.MAYBE_PROCESSED,
    evidence=Evidence.NO_FIN,
    verdict=Verdict.REFUSED_ATTEMPTS,
    cause=Cause.CRASHED_ON_REQUEST,
    ended_by=EndedBy.RESET,
    error="ConnectionResetError: hush",
)


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[logging.LogRecord]]:
    """What is logged; the process's memory of earlier lines is put aside."""
    monkeypatch.setattr(failure_log, "_aggregation", Aggregation())
    log, handler = logging.getLogger("holdfast.failures"), Lines()
    before = log.level
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    yield handler.records
    log.removeHandler(handler)
    log.setLevel(before)


def test_a_thousand_failures_from_many_threads_are_a_line_for_each_cause_and_origin(
    lines: list[logging.LogRecord],
) -> None:
    kinds = [
        replace(REPORT, origin=origin, cause=cause)
        for origin in ("http://a:1", "http://b:1")
        for cause in (Cause.REFUSED, Cause.CRASHED_ON_REQUEST)
    ]
    threads = 20
    start = threading.Barrier(threads)

    def work() -> None:
        start.wait()
        for _ in range(50):
            for kind in kinds:
                log_failure(kind, 60.0)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(lines) == len(kinds)
    assert {record.getMessage().split(" ", 1)[0] for record in lines} == {"http://a:1:", "http://b:1:"}


def test_the_next_line_tells_how_many_there_were(
    lines: list[logging.LogRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    times = itertools.chain([100.0] * 500, itertools.repeat(161.0))
    monkeypatch.setattr("time.monotonic", lambda: next(times))
    for _ in range(501):
        log_failure(REPORT, 60.0)
    assert len(lines) == 2
    assert "[500 times since the last line]" in lines[1].getMessage()
    assert "times" not in lines[0].getMessage()


def test_a_line_names_origin_cause_and_decision_and_no_secret(lines: list[logging.LogRecord]) -> None:
    log_failure(REPORT, 60.0)
    (record,) = lines
    told = record.getMessage()
    assert told == f"http://a:1: {Cause.CRASHED_ON_REQUEST.value} ({Verdict.REFUSED_ATTEMPTS.value})"
    assert record.exc_info is None
    assert record.stack_info is None
    assert record.name == "holdfast.failures"


def test_what_was_repaired_is_less_than_a_warning(lines: list[logging.LogRecord]) -> None:
    log_failure(replace(REPORT, verdict=Verdict.REPEATED_STALE), 60.0)
    log_failure(replace(REPORT, origin="http://b:1"), 60.0)
    assert [record.levelno for record in lines] == [logging.INFO, logging.WARNING]


def test_what_nobody_listens_for_is_not_counted_as_told(lines: list[logging.LogRecord]) -> None:
    """Lines of repairs that are switched off must not keep the line of a failure back."""
    logging.getLogger("holdfast.failures").setLevel(logging.WARNING)
    for _ in range(9):
        log_failure(replace(REPORT, verdict=Verdict.REPEATED_STALE), 60.0)
    log_failure(REPORT, 60.0)
    assert [record.levelno for record in lines] == [logging.WARNING]


def test_a_handler_that_fails_again_does_not_wait_for_itself(lines: list[logging.LogRecord]) -> None:
    class Again(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            log_failure(replace(REPORT, origin="http://again:1"), 60.0)

    handler = Again()
    log = logging.getLogger("holdfast.failures")
    log.addHandler(handler)
    done = threading.Event()

    def work() -> None:
        log_failure(REPORT, 60.0)
        done.set()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        assert done.wait(10)
    finally:
        log.removeHandler(handler)
        thread.join(10)
