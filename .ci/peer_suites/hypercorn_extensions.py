"""pytest plugin: give a released Hypercorn what urllib3's dummy server and proxy ask of it.

urllib3 tests with its own branch of Hypercorn 0.15 (github.com/urllib3/hypercorn, branch
urllib3-changes), which adds two ASGI extensions: "_transport", which the dummy proxy needs
for CONNECT, and "tls". Without them 44 tests, most of those with tunnels, fail bare.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

import trio
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer

_stream: ContextVar[Any] = ContextVar("stream")  # inherited by the tasks of the connection
_run = TCPServer.run
_spawn_app = TaskGroup.spawn_app


async def run(self: Any) -> None:
    _stream.set(self.stream)
    await _run(self)


async def spawn_app(self: Any, app: Any, config: Any, scope: Any, send: Any) -> Any:
    stream = _stream.get()
    scope["extensions"]["_transport"] = stream
    if isinstance(stream, trio.SSLStream):
        tls = {"alpn_protocol": stream.selected_alpn_protocol()}
        certificate = stream.getpeercert(binary_form=False)
        if certificate:
            names = (part[0] for part in certificate["subject"])
            tls["client_cert_name"] = ", ".join(f"{key}={value}" for key, value in names)
        scope["extensions"]["tls"] = tls
    return await _spawn_app(self, app, config, scope, send)


TCPServer.run = run  # type: ignore[method-assign]
TaskGroup.spawn_app = spawn_app  # type: ignore[method-assign]
