"""Bodies that are read after ``getresponse()`` has returned (``preload_content=False``: requests,
botocore). What fails there is explained as well."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from urllib3.exceptions import ProtocolError, ReadTimeoutError, SSLError
from urllib3.response import HTTPResponse

from holdfast._core.entry import Entry
from holdfast.adapters._swap import swap
from holdfast.adapters.urllib3._exchange import Exchange

if TYPE_CHECKING:
    from holdfast.adapters.urllib3._record import ConnectionRecord

__all__ = ["Origin", "follow_body"]


class Origin(NamedTuple):
    """Where a body comes from. Not the request itself: it would be kept for as long."""

    record: ConnectionRecord
    entry: Entry
    method: str
    reused: bool
    idle: float


class StreamedResponse(HTTPResponse):
    """In front of the class of a response that is still to be read."""

    _holdfast: Origin

    @contextmanager
    def _error_catcher(self) -> Iterator[None]:
        # The one place where urllib3 gives errors of reading their final form.
        try:
            with super()._error_catcher():
                yield
        except (ProtocolError, ReadTimeoutError, SSLError) as error:
            self._holdfast.record.body_failed(self._holdfast, error)
            raise


def follow_body(response: HTTPResponse, record: ConnectionRecord, exchange: Exchange) -> None:
    response._holdfast = Origin(  # type: ignore[attr-defined]
        record, record.entry, exchange.method, exchange.reused, exchange.idle(record.context.clock())
    )
    swap(response, StreamedResponse)
