"""The vocabulary of misbehaviour: what a peer may do to a request, and in which order.

A *plan* is what befalls the consecutive requests of one connection; a *script* is the plans of
consecutive connections. Both run out into good behaviour.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum, unique
from typing import TypeAlias

__all__ = [
    "Fault",
    "FaultServerError",
    "Plan",
    "Via",
    "checked_plan",
    "checked_script",
    "on_fresh",
    "on_reuse",
]


class FaultServerError(Exception):
    """The fault server could not do what its script says, or what it met is no HTTP."""


@unique
class Fault(Enum):
    """What happens to one request. A member's value says what its client sees.

    "Executed" means: the whole request, head and body, was read, and the ledger shows it.
    """

    NONE = "the answer, and a connection that stays open"

    # After a good answer that promised to stay, and before the next request. Call `settle()` between
    # the two requests: it returns when the client's kernel knows.
    CLOSE_WHILE_IDLE = "the answer; once it was read, FIN"
    RESET_WHILE_IDLE = "the answer; once it was read, RST"
    HALF_CLOSE_WHILE_IDLE = (
        "the answer; once it was read, FIN; whatever comes later is swallowed, so never a RST"
    )
    IDLE_408 = "the answer; once it was read, an unsolicited 408 that says `Connection: close`, and FIN"
    STRAY_BYTES_WHILE_IDLE = "the answer; once it was read, an unsolicited 200; the connection stays open"
    STRAY_BYTES_AFTER = "the answer and, glued to it, an unsolicited 200; the connection stays open"

    # Between the client's last look at the connection and its first byte: forced, by holding the
    # client's send back until its kernel knows. Needs a client that is built on http.client
    # (urllib3, requests, botocore) and runs in this process. On a fresh connection it strikes at the
    # first request: after the TLS handshake, and never at a CONNECT.
    CLOSE_AS_REQUEST_LEAVES = "FIN between look and send; not executed, no response byte"
    RESET_AS_REQUEST_LEAVES = "RST between look and send; not executed, no response byte"
    HALF_CLOSE_AS_REQUEST_LEAVES = "FIN between look and send; the request is swallowed, so never a RST"

    # The request arrives, the answer does not.
    READ_HALF_THEN_RESET = (
        "RST when half of the body was read (no body: the head); not executed, no response byte"
    )
    READ_THEN_CLOSE = "executed, then FIN without a response byte"
    READ_THEN_RESET = "executed, then RST without a response byte"
    READ_THEN_SILENCE = "executed, then nothing at all; the connection stays open until one side gives up"

    # The answer begins and does not end.
    CUT_STATUS_LINE = "executed, then FIN inside the status line, after `HTTP/1.1 2`"
    CUT_HEAD = "executed, then FIN inside a header line, after a complete status line"
    CUT_BODY = "executed, then a 200 of 1000 bytes, of which 500 arrive, and FIN"
    CUT_CHUNK = "executed, then a chunked 200 with FIN in the middle of a chunk of 1000 bytes"
    CORRUPT_TLS_RECORD = (
        "executed, then a TLS record that fails its integrity check: ssl.SSLError, no response byte"
    )

    # The peer says how it ends.
    ANSWER_THEN_CLOSE = "the answer, which says `Connection: close`, and FIN: the honest one"
    ANNOUNCE_CLOSE_AND_STAY = (
        "the answer, which says `Connection: close`, but later requests are served all the same"
    )


@unique
class Via(Enum):
    """What the server is to its client."""

    DIRECT = "the origin itself"
    FORWARD = "a forward proxy and the origin behind it in one; with TLS, the proxy is an https one"
    CONNECT = "a plain proxy that opens a tunnel to itself; the origin, with TLS or without, speaks inside"


Plan: TypeAlias = Sequence[Fault]

NEEDS_TLS = frozenset({Fault.CORRUPT_TLS_RECORD})


def on_fresh(fault: Fault) -> Plan:
    """Return the plan in which `fault` meets the first request of a connection."""
    return (fault,)


def on_reuse(fault: Fault, *, after: int = 1) -> Plan:
    """Return the plan in which `after` requests are answered and `fault` meets the next one."""
    return (*[Fault.NONE] * after, fault)


def checked_script(script: object, *, tls: bool) -> list[Plan]:
    """Return the script as plans; raise TypeError or ValueError for what cannot be carried out."""
    if isinstance(script, (str, bytes)) or not isinstance(script, Iterable):
        raise TypeError(
            f"a script is a sequence of plans, such as [[Fault.NONE, Fault.READ_THEN_RESET]]; got {script!r}"
        )
    return [checked_plan(plan, number=number, tls=tls) for number, plan in enumerate(script, 1)]


def checked_plan(plan: object, *, number: int, tls: bool) -> Plan:
    """Return one plan; `number` is what an error calls it."""
    if isinstance(plan, Fault):
        raise TypeError(f"plan {number} is {plan}, but a plan is a sequence of faults: write [{plan}]")
    if isinstance(plan, (str, bytes)) or not isinstance(plan, Iterable):
        raise TypeError(f"plan {number} is {plan!r}, but a plan is a sequence of Fault members")
    faults = tuple(plan)
    for fault in faults:
        _check_fault(fault, number=number, tls=tls)
    return faults


def _check_fault(fault: object, *, number: int, tls: bool) -> None:
    if not isinstance(fault, Fault):
        raise TypeError(f"plan {number} contains {fault!r}, but a plan is a sequence of Fault members")
    if fault in NEEDS_TLS and not tls:
        raise ValueError(
            f"plan {number} contains {fault}, which happens below TLS: give the server an ssl_context"
        )
