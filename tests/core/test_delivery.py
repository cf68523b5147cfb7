from __future__ import annotations

from holdfast._core.delivery import ATOMIC_SEND, Delivery
from holdfast.vocabulary import Evidence, Phase, Progress


def delivery(**facts: int) -> Delivery:
    made = Delivery()
    for name, value in facts.items():
        setattr(made, name, value)
    return made


def test_nothing_sent_is_not_sent() -> None:
    assert delivery().progress is Progress.NOT_SENT
    assert delivery(failed_length=200).progress is Progress.NOT_SENT


def test_a_long_first_send_that_fails_may_have_been_taken_in_part() -> None:
    assert delivery(failed_length=ATOMIC_SEND).progress is Progress.NOT_SENT
    assert delivery(failed_length=ATOMIC_SEND + 1).progress is Progress.INCOMPLETE


def test_a_failed_later_send_leaves_it_incomplete() -> None:
    assert delivery(sends=1).progress is Progress.INCOMPLETE
    assert delivery(sends=1).phase is Phase.SEND


def test_a_complete_request_may_have_been_processed() -> None:
    assert delivery(sends=2, complete=True).progress is Progress.MAYBE_PROCESSED
    assert delivery(sends=2, complete=True).phase is Phase.AWAIT


def test_one_byte_of_the_response_is_enough() -> None:
    assert delivery(sends=1, complete=True, received=1).progress is Progress.RESPONSE_STARTED
    assert delivery(sends=1, complete=True, received=1).phase is Phase.HEAD
    # An early answer to a request that was never sent to its end.
    assert delivery(sends=1, received=1).progress is Progress.RESPONSE_STARTED


def test_after_the_head_it_is_the_body() -> None:
    assert delivery(sends=1, complete=True, received=9, head_read=True).phase is Phase.BODY


def test_only_the_kernels_proof_says_that_the_peer_had_hung_up() -> None:
    for evidence in Evidence:
        made = delivery(sends=1, complete=True)
        made.evidence = evidence
        proved = evidence is Evidence.FIN_BEFORE_REQUEST
        assert made.progress is (Progress.PEER_CLOSED_FIRST if proved else Progress.MAYBE_PROCESSED)


def test_a_byte_of_a_response_is_more_than_any_proof() -> None:
    made = delivery(sends=1, complete=True, received=1)
    made.evidence = Evidence.FIN_BEFORE_REQUEST
    assert made.progress is Progress.RESPONSE_STARTED


def test_the_start_of_one_request_is_not_the_end_of_another() -> None:
    made = delivery(sends=1, complete=True)
    made.evidence, made.needs_proof = Evidence.STRAY, True
    assert (Delivery().evidence, Delivery().needs_proof, Delivery().sends) == (Evidence.NOT_ASKED, False, 0)
