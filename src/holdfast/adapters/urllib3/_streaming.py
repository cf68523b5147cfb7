"""Bodies that are read after ``getresponse()`` has returned (``preload_content=False``: requests,
botocore). What fails there is explained as well."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from urllib3.exceptions import ProtocolError, ReadTimeoutError, SSLError
from urllib3.response import HTTPResponse

from holdfast.adapters._swap import swap
from holdfast.adapters.urllib3._exchange import Exchange
from holdfast.adapters.urllib3._faults import find_report
from holdfast.adapters.urllib3._judging import Source, body_failed

if TYPE_CHECKING:
    from holdfast.adapters.urllib3._record import ConnectionRecord

__all__ = ["follow_body"]

_BROKEN = (ProtocolError, ReadTimeoutError, SSLError)
"""How urllib3 raises what breaks off while it is read."""


class StreamedResponse(HTTPResponse):
    """In front of the class of a response that is still to be read. These three are what all other
    ways of reading it come down to."""

    _holdfast: Source

    def read(self, *args: Any, **kwargs: Any) -> bytes:
        try:
            return super().read(*args, **kwargs)
        except _BROKEN as error:
            self._tell_of(error)
            raise

    def read1(self, *args: Any, **kwargs: Any) -> bytes:
        try:
            return super().read1(*args, **kwargs)
        except _BROKEN as error:
            self._tell_of(error)
            raise

    def read_chunked(self, *args: Any, **kwargs: Any) -> Iterator[bytes]:  # type: ignore[override]
        try:
            yield from super().read_chunked(*args, **kwargs)
        except _BROKEN as error:
            self._tell_of(error)
            raise

    def _tell_of(self, error: Exception) -> None:
        if find_report(error) is None:
            body_failed(self._holdfast, error, getattr(self._original_response, "end", None))


def follow_body(response: HTTPResponse, record: ConnectionRecord, exchange: Exchange) -> None:
    if exchange.response is not None and exchange.response.has_all_of_body:
        return  # an object whose class was exchanged is dearer to use
    response._holdfast = Source(  # type: ignore[attr-defined]
        record, record.entry, exchange.method, exchange.reused, exchange.idle(record.context.clock())
    )
    swap(response, StreamedResponse)
