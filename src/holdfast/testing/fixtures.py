"""A pytest plugin: `pytest_plugins = ["holdfast.testing.fixtures"]` in your top conftest.py."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping

import pytest

from holdfast.testing._http import Request, Response
from holdfast.testing._service import named_answer
from holdfast.testing.clock import FakeClock
from holdfast.testing.fault_server import FaultServer
from holdfast.testing.faults import Fault, Via

__all__ = ["StartFaultServer", "fake_clock", "fault_server"]


class StartFaultServer:
    """Starts fault servers that stop at the end of the test: `fault_server([Fault.NONE, Fault.READ_THEN_RESET])`."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack

    def __call__(
        self,
        *plans: Iterable[Fault],
        ssl_context: ssl.SSLContext | None = None,
        via: Via = Via.DIRECT,
        headers: Mapping[str, str] | None = None,
        respond: Callable[[Request], Response] = named_answer,
        keep_alive_only_if_asked: bool = False,
        close_notify: bool = False,
    ) -> FaultServer:
        """Return a started server; the plans are those of its connections, the rest is as for FaultServer."""
        server = FaultServer(
            plans,
            ssl_context=ssl_context,
            via=via,
            headers=headers,
            respond=respond,
            keep_alive_only_if_asked=keep_alive_only_if_asked,
            close_notify=close_notify,
        )
        return self._stack.enter_context(server)


@pytest.fixture
def fault_server() -> Iterator[StartFaultServer]:
    """Start scripted servers; a failure inside one fails the test."""
    with contextlib.ExitStack() as stack:
        yield StartFaultServer(stack)


@pytest.fixture
def fake_clock() -> FakeClock:
    """A clock that stands still until the test advances it."""
    return FakeClock()
