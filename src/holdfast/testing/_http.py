"""As much HTTP/1.1 as a scripted peer needs: whole requests in, bytes out.

Knows no socket: it asks for bytes through a callable. What is not HTTP raises `BadRequest`, because
a client that loses its place in the stream is exactly what tests want to hear about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import urlsplit

__all__ = [
    "BadRequest",
    "ClientLeft",
    "Headers",
    "Request",
    "RequestHead",
    "RequestReader",
    "Response",
    "render",
]

_SEGMENT = 65536
_BODILESS_STATUSES = frozenset({204, 304})


class BadRequest(Exception):  # noqa: N818 - what RFC 9110 calls it
    """The client sent something that is no HTTP/1.x request."""


class ClientLeft(Exception):  # noqa: N818 - a fact and no error
    """The client hung up: between two requests or inside one."""


class Headers(Mapping[str, str]):
    """Header fields: names match in any case; a repeated field is joined with commas."""

    def __init__(self, fields: Iterable[tuple[str, str]] = ()) -> None:
        self.fields = tuple(fields)
        self._joined: dict[str, str] = {}
        for name, value in self.fields:
            earlier = self._joined.get(name.lower())
            self._joined[name.lower()] = value if earlier is None else f"{earlier}, {value}"

    def __getitem__(self, name: str) -> str:
        return self._joined[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._joined)

    def __len__(self) -> int:
        return len(self._joined)

    def has_token(self, name: str, token: str) -> bool:
        """Whether the comma-separated field `name` contains `token`."""
        return token in (part.strip().lower() for part in self.get(name, "").split(","))


@dataclass(frozen=True)
class RequestHead:
    """Everything before the body. `target` is what the request line said."""

    method: str
    target: str
    version: str
    headers: Headers = field(repr=False)

    @property
    def chunked(self) -> bool:
        """Whether the body comes in chunks."""
        return self.headers.has_token("Transfer-Encoding", "chunked")

    @property
    def content_length(self) -> int:
        """The length the head announces; 0 where it announces none."""
        announced = self.headers.get("Content-Length", "0")
        if not announced.isascii() or not announced.isdigit():
            raise BadRequest(f"Content-Length is {announced!r}")
        return int(announced)

    @property
    def expects_continue(self) -> bool:
        """Whether the client waits for a 100 before it sends the body."""
        return self.version == "HTTP/1.1" and self.headers.has_token("Expect", "100-continue")


@dataclass(frozen=True)
class Request:
    """A request that was read completely. `target` is path and query, also where a proxy was asked."""

    method: str
    target: str
    version: str
    headers: Headers = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def wants_to_stay(self) -> bool:
        """Whether the client leaves the connection open (RFC 9112 section 9.3)."""
        if self.version == "HTTP/1.0":
            return self.asks_for_keep_alive
        return not self.headers.has_token("Connection", "close")

    @property
    def asks_for_keep_alive(self) -> bool:
        """Whether the client says `Connection: keep-alive`."""
        return self.headers.has_token("Connection", "keep-alive")


@dataclass(frozen=True)
class Response:
    """An answer. Content-Length and Connection are added where `headers` does not give them."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class RequestReader:
    """Cuts one connection's byte stream into requests."""

    def __init__(self, receive: Callable[[int], bytes], say_continue: Callable[[], None]) -> None:
        self._receive = receive
        self._say_continue = say_continue
        self._buffer = bytearray()

    @property
    def has_bytes(self) -> bool:
        """Whether bytes of a further request were read along with the last one."""
        return bool(self._buffer)

    def head(self) -> RequestHead:
        """Read up to the blank line."""
        lines = self._through(b"\r\n\r\n").decode("latin-1").split("\r\n")
        method, target, version = _request_line(lines[0])
        return RequestHead(method, target, version, Headers(_field(line) for line in lines[1:] if line))

    def request(self, head: RequestHead) -> Request:
        """Read the body that belongs to `head`."""
        if head.expects_continue:
            self._say_continue()
        body = self._chunks() if head.chunked else self._exactly(head.content_length)
        return Request(head.method, _origin_form(head.target), head.version, head.headers, body)

    def half_a_body(self, head: RequestHead) -> None:
        """Read half of the announced body, or the first chunk, and leave the rest where it is."""
        if head.expects_continue:
            self._say_continue()
        if head.chunked:
            self._through(b"\r\n")
        else:
            self._exactly(head.content_length // 2)

    def _chunks(self) -> bytes:
        body = bytearray()
        while size := self._chunk_size():
            body += self._exactly(size)
            if self._exactly(2) != b"\r\n":
                raise BadRequest(f"a chunk of {size} bytes does not end where it should")
        while self._through(b"\r\n") != b"\r\n":
            pass  # trailer fields: read, and nobody's business here
        return bytes(body)

    def _chunk_size(self) -> int:
        line = self._through(b"\r\n")
        try:
            return int(line.partition(b";")[0], 16)
        except ValueError:
            raise BadRequest(f"a chunk size is {line!r}") from None

    def _through(self, mark: bytes) -> bytes:
        while (at := self._buffer.find(mark)) < 0:
            self._fill(_SEGMENT)
        return self._take(at + len(mark))

    def _exactly(self, size: int) -> bytes:
        # Never asks for more than is missing: half a body must leave the rest in the kernel, where
        # it fills the window and stops the client's send.
        while len(self._buffer) < size:
            self._fill(min(_SEGMENT, size - len(self._buffer)))
        return self._take(size)

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def _fill(self, limit: int) -> None:
        received = self._receive(limit)
        if not received:
            raise ClientLeft
        self._buffer += received


def _request_line(line: str) -> tuple[str, str, str]:
    method, _, rest = line.partition(" ")
    target, _, version = rest.partition(" ")
    if not method or not target or version not in ("HTTP/1.1", "HTTP/1.0"):
        raise BadRequest(f"the request line is {line!r}")
    return method, target, version


def _field(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not name or name != name.strip():
        raise BadRequest(f"a header line is {line!r}")
    return name, value.strip()


def _origin_form(target: str) -> str:
    """Reduce the absolute form, which proxies are sent, to path and query."""
    if not target.lower().startswith(("http://", "https://")):
        return target
    url = urlsplit(target)
    return (url.path or "/") + (f"?{url.query}" if url.query else "")


def render(response: Response, *, to: str) -> bytes:
    """Return the bytes of a response to a request whose method is `to`."""
    bodiless = response.status in _BODILESS_STATUSES
    fields = dict(response.headers)
    names = {name.lower() for name in fields}
    if not bodiless and not names & {"content-length", "transfer-encoding"}:
        fields["Content-Length"] = str(len(response.body))
    lines = [
        f"HTTP/1.1 {response.status} {_reason(response.status)}",
        *(f"{k}: {v}" for k, v in fields.items()),
    ]
    body = b"" if bodiless or to == "HEAD" else response.body
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unassigned"
