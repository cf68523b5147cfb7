from __future__ import annotations

import io
from collections.abc import Iterator

import pytest

from holdfast._core.idempotency import has_idempotency_key, is_idempotent, is_replayable


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "get"])
def test_the_methods_of_rfc_9110_section_9_2_2_are_idempotent(method: str) -> None:
    assert is_idempotent(method, {})


@pytest.mark.parametrize("method", ["POST", "PATCH", "LOCK", "CONNECT", "PROPPATCH", ""])
def test_no_other_method_is(method: str) -> None:
    assert not is_idempotent(method, {"Accept": "*/*", b"Host": b"a"})


@pytest.mark.parametrize(
    "name", ["Idempotency-Key", "idempotency-key", b"IDEMPOTENCY-KEY", "X-Idempotency-Key"]
)
def test_a_key_makes_any_method_repeatable(name: str | bytes) -> None:
    assert is_idempotent("POST", {name: "k"})
    assert is_idempotent("POST", {name: b"k"})
    assert is_idempotent("POST", {"Accept": "*/*", name: "k" * 255})


@pytest.mark.parametrize("key", ["", " ", "\t", b"", b" ", "k" * 256, "k" * 1_000_000, b"k" * 1_000_000])
def test_a_key_that_no_server_keeps_is_none(key: str | bytes) -> None:
    assert not has_idempotency_key({"Idempotency-Key": key})
    assert not is_idempotent("POST", {"Idempotency-Key": key})
    assert is_idempotent("PUT", {"Idempotency-Key": key})


def test_one_good_key_of_two_is_enough() -> None:
    assert has_idempotency_key({"Idempotency-Key": "", "X-Idempotency-Key": "k"})


@pytest.mark.parametrize(
    "body", [None, "text", b"bytes", bytearray(b"x"), memoryview(b"x"), [b"a", b"b"], io.BytesIO()]
)
def test_what_can_be_read_twice_is_replayable(body: object) -> None:
    assert is_replayable(body)


def test_a_generator_is_not_replayable() -> None:
    def body() -> Iterator[bytes]:
        yield b"once"

    assert not is_replayable(body())
    assert not is_replayable(iter([b"once"]))
