"""Peers that misbehave on cue, and time that stands still: for our tests and for our users'.

Standard library only; `holdfast.testing.fixtures` alone needs pytest.
"""

from holdfast.testing._conversation import STRAY_BODY
from holdfast.testing._http import Headers, Request, Response
from holdfast.testing.clock import FakeClock
from holdfast.testing.fault_server import FaultServer
from holdfast.testing.faults import Fault, FaultServerError, Plan, Via, on_fresh, on_reuse
from holdfast.testing.ledger import Execution, Identity, Ledger

__all__ = [
    "STRAY_BODY",
    "Execution",
    "FakeClock",
    "Fault",
    "FaultServer",
    "FaultServerError",
    "Headers",
    "Identity",
    "Ledger",
    "Plan",
    "Request",
    "Response",
    "Via",
    "on_fresh",
    "on_reuse",
]
