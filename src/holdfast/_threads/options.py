"""What a caller says about the requests he is about to make, through whatever libraries lie between.

A context variable carries it: it holds for this thread (or task), and for no other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from holdfast.policy import RequestOptions

__all__ = ["current_options", "request_options"]


current_options: ContextVar[RequestOptions | None] = ContextVar("holdfast_request_options", default=None)


@contextmanager
def request_options(
    *, idempotent: bool | None = None, repeat: bool = True, deadline: float | None = None
) -> Iterator[None]:
    """Says something about the requests that this thread makes inside the ``with`` block.

    ``idempotent``: True, these requests may be executed twice, whatever their method; False, they
    must not, even a GET. Default None: the method and the ``Idempotency-Key`` say.

    ``repeat``: False, none of them is sent again for any reason, nor by the caller's ``Retry``.

    ``deadline``: seconds for all attempts at each of them, in place of ``RetryPolicy.deadline``.

    An inner block replaces what an outer one says. Not around the ``yield`` of a generator: there the block
    is open in whoever runs it meanwhile. Raises :class:`~holdfast.errors.PolicyError`.
    """
    options = RequestOptions(idempotent=idempotent, repeat=repeat, deadline=deadline)
    token = current_options.set(options)
    try:
        yield
    finally:
        current_options.reset(token)
