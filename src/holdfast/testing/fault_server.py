"""A scripted HTTP/1.1 peer on loopback that misbehaves on cue and keeps a ledger of what it executed.

It runs in threads of this process. Nothing in it sleeps to win a race: where the order of two
events matters, one is held back until the other has happened.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING

from holdfast.testing import _race
from holdfast.testing._conversation import AS_REQUEST_LEAVES, Conversation
from holdfast.testing._door import Door
from holdfast.testing._http import Request, Response
from holdfast.testing._loopback import PATIENCE, Address
from holdfast.testing._service import Service, named_answer
from holdfast.testing._settling import Settling
from holdfast.testing._wire import Ending, Wire
from holdfast.testing.faults import (
    Fault,
    FaultServerError,
    Plan,
    Via,
    checked_plan,
    checked_script,
)
from holdfast.testing.ledger import Ledger

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["FaultServer"]


class FaultServer:
    """An HTTP/1.1 server whose every misdeed is written in its script::

        with FaultServer([[Fault.NONE, Fault.READ_THEN_RESET]]) as server:
            urllib3.request("GET", f"{server.url}/r/1")

    `script` holds one plan for each connection to come, a plan one `Fault` for each request on it;
    both run out into good behaviour. `ledger` tells what was executed. After a fault that strikes
    an idle connection call `settle()`. `respond` replaces the answer, which names its request:
    `b"GET /r/1"`. `headers` are added to every answer; `keep_alive_only_if_asked` withholds a
    `Keep-Alive` among them from requests without `Connection: keep-alive`, as Tomcat and httpd do.
    `close_notify`: say goodbye in TLS before a FIN; the default, as Node, is the bare FIN.
    """

    def __init__(
        self,
        script: Iterable[Iterable[Fault]] = (),
        *,
        ssl_context: ssl.SSLContext | None = None,
        via: Via = Via.DIRECT,
        headers: Mapping[str, str] | None = None,
        respond: Callable[[Request], Response] = named_answer,
        keep_alive_only_if_asked: bool = False,
        close_notify: bool = False,
    ) -> None:
        self.ledger = Ledger()
        self._service = Service(
            ssl_context=ssl_context,
            via=via,
            headers=dict(headers or {}),
            respond=respond,
            keep_alive_only_if_asked=keep_alive_only_if_asked,
            close_notify=close_notify,
        )
        self._coming = deque(checked_script(script, tls=ssl_context is not None))
        self._planned = len(self._coming)
        self._settling = Settling()
        self._changed = threading.Condition()
        # By the client's address. None: that connection is over, and nobody need wait for it.
        self._conversations: dict[Address, Conversation | None] = {}
        self._threads: set[threading.Thread] = set()
        self._connections = 0
        self._failures: list[Exception] = []
        self._door: Door | None = None
        self._stopped = False
        self._process = os.getpid()

    def start(self) -> Self:
        """Listen. A server starts once; make a new one for a new story."""
        if self._door is not None:
            raise RuntimeError("this FaultServer was started before: make a new one")
        self._door = Door(self._admit)
        self._watch(self._coming)
        self._door.open()
        return self

    def stop(self) -> None:
        """End every connection and thread; raise FaultServerError if anything had gone wrong inside.

        May be called again, and in a forked child, where it does nothing: the threads are the parent's.
        """
        if self._stopped or self._door is None or os.getpid() != self._process:
            return
        self._stopped = True
        _race.unwatch(self.address)
        self._door.close()
        threads = self._abort_all()
        for thread in threads:
            thread.join(2 * PATIENCE)
        stuck = [thread.name for thread in threads if thread.is_alive()]
        if stuck:
            raise FaultServerError(f"these threads do not end: {', '.join(stuck)}")
        self._raise_failures()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = "not started" if self._door is None else "stopped" if self._stopped else self.url
        return f"<FaultServer {state}>"

    # Where it is

    @property
    def address(self) -> Address:
        """Where it listens, for bare sockets: `("127.0.0.1", port)`."""
        return self._open_door().address

    @property
    def port(self) -> int:
        """The port it listens on, chosen by the kernel."""
        return self.address[1]

    @property
    def host(self) -> str:
        """The host in `url`: a name where a certificate has to match, else the address."""
        return "localhost" if self._speaks_tls_as_origin else self.address[0]

    @property
    def url(self) -> str:
        """The origin, without a path: `http://127.0.0.1:PORT` or `https://localhost:PORT`."""
        scheme = "https" if self._speaks_tls_as_origin else "http"
        return f"{scheme}://{self.host}:{self.port}"

    @property
    def proxy_url(self) -> str:
        """What a client configures as its proxy. The origin behind it is `url`."""
        if self._service.via is Via.DIRECT:
            raise ValueError("this FaultServer is no proxy: make it with via=Via.FORWARD or via=Via.CONNECT")
        if self._service.via is Via.FORWARD and self._service.ssl_context is not None:
            return f"https://localhost:{self.port}"
        return f"http://{self.address[0]}:{self.port}"

    @property
    def via(self) -> Via:
        """What it is to its client: the origin, or a proxy in front of it."""
        return self._service.via

    # What it saw

    @property
    def connections(self) -> int:
        """How many connections clients have made, those included that have sent nothing yet."""
        self._open_door().admit_waiting()
        return self._connections

    @property
    def tunnels(self) -> int:
        """How many tunnels it has opened. A CONNECT is no execution."""
        return self.ledger.tunnels

    # What it does

    def script(self, *faults: Fault) -> None:
        """Add the plan of the next connection that has none yet."""
        with self._changed:
            self._planned += 1
            plan = checked_plan(faults, number=self._planned, tls=self._service.ssl_context is not None)
            self._coming.append(plan)
        if self._door is not None:
            self._watch([plan])

    def settle(self, timeout: float = PATIENCE) -> None:
        """Wait until all that was to happen to idle connections has happened, and their clients' kernels know.

        Call it between a request that was answered and the next, instead of sleeping.
        """
        if not self._settling.wait(timeout):
            raise TimeoutError(
                f"the fault server has not settled within {timeout} s: was an answer left unread?"
            )

    def hang_up(self, *, reset: bool = False) -> int:
        """Close, or reset, every idle connection; return how many, once their clients' kernels know."""
        self.settle()
        self._open_door().admit_waiting()
        how = Ending.RESET if reset else Ending.FIN
        ordered = [conversation.wire for conversation in self._live() if conversation.wire.order(how)]
        for wire in ordered:
            if not wire.gone.wait(2 * PATIENCE):
                raise FaultServerError(f"hanging up did not reach the client at {wire.client} in time")
        return len(ordered)

    @contextlib.contextmanager
    def refusing(self) -> Iterator[None]:
        """Refuse new connections inside the `with` block; established ones stay."""
        door = self._open_door()
        door.shut()
        try:
            yield
        finally:
            if not self._stopped:
                door.open()

    @property
    def _speaks_tls_as_origin(self) -> bool:
        return self._service.ssl_context is not None and self._service.via is not Via.FORWARD

    def _open_door(self) -> Door:
        if self._door is None:
            raise RuntimeError(
                "this FaultServer was not started: use it in a `with` statement, or call start()"
            )
        return self._door

    # Connections

    def _admit(self, sock: socket.socket, client: Address) -> None:
        with self._changed:
            self._connections += 1
            conversation = Conversation(
                self._connections,
                Wire(sock, client, close_notify=self._service.close_notify),
                self._coming.popleft() if self._coming else (),
                service=self._service,
                ledger=self.ledger,
                settling=self._settling,
            )
            self._conversations[client] = conversation
            name = f"fault-server-{self.port}-connection-{conversation.number}"
            thread = threading.Thread(target=self._serve, args=(conversation,), name=name, daemon=True)
            self._threads.add(thread)
            thread.start()
            self._changed.notify_all()

    def _serve(self, conversation: Conversation) -> None:
        try:
            conversation.run()
        except Exception as error:  # noqa: BLE001 - stop() raises it
            self._failures.append(error)
        finally:
            self._forget(conversation)

    def _forget(self, conversation: Conversation) -> None:
        client = conversation.wire.client
        with self._changed:
            # The client's kernel may have given the same port to its next connection already.
            if self._conversations[client] is conversation:
                self._conversations[client] = None
            self._threads.discard(threading.current_thread())

    def _live(self) -> list[Conversation]:
        with self._changed:
            return [conversation for conversation in self._conversations.values() if conversation is not None]

    def _abort_all(self) -> list[threading.Thread]:
        with self._changed:
            threads = list(self._threads)
        for conversation in self._live():
            conversation.wire.abort()
        return threads

    def _raise_failures(self) -> None:
        if self._failures:
            first = self._failures[0]
            count = len(self._failures)
            raise FaultServerError(
                f"{count} of {self._connections} connections failed; the first: {first}"
            ) from first

    # The instant before a client sends

    def _watch(self, plans: Iterable[Plan]) -> None:
        if any(fault in AS_REQUEST_LEAVES for plan in plans for fault in plan):
            _race.watch(self.address, self._before_client_sends)

    def _before_client_sends(self, client: Address) -> None:
        """Runs in the client's thread: must hand no exception of ours to the client's code."""
        if os.getpid() != self._process:
            return
        try:
            self._hang_up_before_send(client)
        except Exception as error:  # noqa: BLE001 - stop() raises it
            self._failures.append(error)

    def _hang_up_before_send(self, client: Address) -> None:
        # A fresh connection may be one that nobody has accepted yet.
        if self._conversations.get(client) is None:
            self._open_door().admit_waiting()
        with self._changed:
            if not self._changed.wait_for(lambda: client in self._conversations, PATIENCE):
                raise FaultServerError(f"the connection from {client} was never accepted")
            conversation = self._conversations[client]
        if conversation is not None:
            conversation.hang_up_as_request_leaves()
