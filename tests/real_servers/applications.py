"""What the servers that need an application run: answers, and keeps a journal of what it executed.

Copied into the server's directory and run or imported there, so it knows nothing of holdfast.
``JOURNAL`` in the environment names the file; a line is ``METHOD path?query``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


def note(method: str, target: str) -> None:
    # Unbuffered and with O_APPEND: workers of several processes do not tear each other's lines.
    with Path(os.environ["JOURNAL"]).open("ab", buffering=0) as journal:
        journal.write(f"{method} {target}\n".encode())


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    note(environ["REQUEST_METHOD"], f"{environ['PATH_INFO']}?{environ['QUERY_STRING']}")
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]


async def asgi(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    while (await receive()).get("more_body"):
        pass
    note(scope["method"], f"{scope['path']}?{scope['query_string'].decode()}")
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


class Backend(BaseHTTPRequestHandler):
    """What HAProxy stands in front of."""

    protocol_version = "HTTP/1.1"
    # Head and body in one segment; in two, Nagle's algorithm holds the second back for 40 ms.
    wbufsize = -1

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        note(self.command, self.path)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    do_POST = do_GET  # noqa: N815 - http.server's name

    def log_message(self, *_: object) -> None:
        pass


class BackendServer(ThreadingHTTPServer):
    daemon_threads = True
    # The default of 5 refuses some of HAProxy's connections when all tries come at once.
    request_queue_size = 128


if __name__ == "__main__":
    with BackendServer(("127.0.0.1", int(sys.argv[1])), Backend) as backend:
        backend.serve_forever()
