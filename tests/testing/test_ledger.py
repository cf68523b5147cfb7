from __future__ import annotations

from holdfast.testing import Execution, Headers, Ledger, Request


def entry(method: str = "POST", target: str = "/a", body: bytes = b"secret") -> Execution:
    headers = Headers([("Idempotency-Key", "k"), ("Authorization", "secret")])
    return Execution.of(Request(method, target, "HTTP/1.1", headers, body), connection=1)


def ledger(*entries: Execution) -> Ledger:
    book = Ledger()
    for each in entries:
        book.record(each)
    return book


def test_a_ledger_reads_like_a_list() -> None:
    one, two = entry(target="/1"), entry(target="/2")
    book = ledger(one, two)
    assert (len(book), list(book), book[0], book[-1], book[1:]) == (2, [one, two], one, two, [two])
    assert not Ledger()


def test_executions_are_counted_by_method_and_target() -> None:
    book = ledger(entry("POST"), entry("POST"), entry("GET"))
    assert (book.count("POST", "/a"), book.count("GET", "/a"), book.count("GET", "/b")) == (2, 1, 0)


def test_what_was_executed_twice_is_named_once() -> None:
    book = ledger(entry("POST"), entry("GET"), entry("POST"), entry("POST"))
    assert book.executed_twice() == [("POST", "/a")]


def test_a_cleared_ledger_is_empty() -> None:
    book = ledger(entry())
    book.record_tunnel()
    book.clear()
    assert (len(book), book.tunnels) == (0, 0)


def test_neither_body_nor_headers_show_in_a_repr() -> None:
    book = ledger(entry())
    assert "secret" not in repr(book)
    assert "/a" in repr(book)
