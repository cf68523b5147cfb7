"""Opening a connection again and again, for as long as the policy and the caller have patience."""

from __future__ import annotations

from typing import Any

from urllib3.exceptions import ConnectTimeoutError, NameResolutionError

from holdfast._core.retry import EXHAUSTED, Caller, Campaign
from holdfast._net.deadline import DeadlineOverError
from holdfast.adapters.urllib3._faults import is_worth_reconnecting
from holdfast.adapters.urllib3._judging import NotToBeRepeated, call_of, connect_failed
from holdfast.adapters.urllib3._patience import Patience
from holdfast.adapters.urllib3._record import tunnel_of
from holdfast.adapters.urllib3._repeating import RepeatingConnection
from holdfast.vocabulary import Phase, Verdict

__all__ = ["OpeningConnection"]

_KEPT = 10
"""Failures of one opening that its report keeps; of the further ones, the latest."""


class ConnectPatience:
    """The caller's connect timeout, over all that is tried to open one connection; and the policy's."""

    def __init__(self, conn: RepeatingConnection) -> None:
        self.granted = conn.timeout
        self._conn = conn
        self._record = record = conn._holdfast
        self._call = call_of(record)
        self._patience = Patience(conn.timeout, record.context.clock(), record.context.clock)
        self._began = record.context.clock()
        self._failures = 0
        self._left_out = 0
        self._waited, self._slept = 0.0, 0.0
        self._latest = None if record.exchange is None else record.exchange.earlier

    def for_next(self) -> Any:
        """The timeout of the next attempt."""
        timeout = self._patience.left() if self._failures else self.granted
        if self._call is None or self._call.deadline is None:
            return timeout
        try:
            return self._call.deadline.shorten(timeout if isinstance(timeout, (int, float)) else None)
        except DeadlineOverError as error:
            raise ConnectTimeoutError(self._conn, str(error)) from error

    def outlasts(self, error: Exception, phase: Phase) -> bool:
        """Whether there is another attempt; then the wait for it is over. Tells of the failure."""
        self._failures += 1
        worth = is_worth_reconnecting(error, phase)
        verdict, waits = self._verdict(worth=worth)
        report = connect_failed(
            self._record,
            error,
            phase,
            verdict,
            waited=self._waited,
            earlier=self._latest,
            left_out=self._left_out,
        )
        self._waited, self._slept = waits, self._slept + waits
        if self._failures < _KEPT:
            self._latest = report
        else:
            self._left_out += 1
        if verdict.repeats:
            return True
        if self._is_final(verdict, worth=worth) and self._would_repeat(error):
            conn = self._conn
            before_proxy = conn.proxy is not None and not conn.has_connected_to_proxy
            raise NotToBeRepeated(error, report, before_proxy=before_proxy) from error
        return False

    def _verdict(self, *, worth: bool) -> tuple[Verdict, float]:
        """And how long it was waited."""
        campaign = Campaign() if self._call is None else self._call.started_campaign()
        context = self._record.context
        if campaign.forbidden:
            return Verdict.REFUSED_FORBIDDEN, 0.0
        if campaign.is_over(context.clock()):
            return Verdict.REFUSED_DEADLINE, 0.0
        if not worth:
            return Verdict.LEFT_UNSENT, 0.0
        return context.retrying.await_reconnect(
            campaign,
            self._says,
            self._failures,
            # The last try needs some time as well.
            give_up_at=self._patience.ends - context.policy.retry.base_delay,
            not_before=self._began + self._slept,
        )

    @property
    def _says(self) -> Caller:
        return Caller.REFUSES if self._call is None else self._call.says_to_connecting()

    def _is_final(self, verdict: Verdict, *, worth: bool) -> bool:
        """Where the caller left it to the policy, urllib3's own Retry must not go on from there."""
        if verdict in EXHAUSTED or verdict is Verdict.REFUSED_FORBIDDEN:
            return True
        return worth and self._says is Caller.SILENT and self._record.context.policy.retry.reconnect > 0

    def _would_repeat(self, error: Exception) -> bool:
        call = self._call
        return call is not None and call.would_repeat(call.method, error, opening=True)


class OpeningConnection(RepeatingConnection):
    def connect(self) -> None:
        record = self._holdfast
        record.opening = True
        record.reached_proxy = False
        record.tunnel = tunnel_of(self)
        before, patience = _Unopened(self), ConnectPatience(self)
        try:
            while not self._connects(patience):
                before.restore()
        finally:
            self.timeout = patience.granted
            record.opening = False
        record.connected(self)

    def _connects(self, patience: ConnectPatience) -> bool:
        """False: it did not, and shall be tried again."""
        self._holdfast.phase = Phase.CONNECT
        try:
            self.timeout = patience.for_next()
            super().connect()
        except Exception as error:
            phase = Phase.RESOLVE if isinstance(error, NameResolutionError) else self._holdfast.phase
            if not patience.outlasts(error, phase):
                raise
            return False
        return True

    def _new_conn(self) -> Any:
        sock = super()._new_conn()
        self._holdfast.phase = Phase.TLS if self._holdfast.tunnel is None else Phase.TUNNEL
        return sock

    def _tunnel(self) -> None:
        super()._tunnel()
        self._holdfast.phase = Phase.TLS


class _Unopened:
    """A connection as it was before connect() was called, which may be in the middle of a request: it
    is opened with the first send. A TLS handshake or tunnel that fails closes it, and it forgets."""

    _FORGOTTEN = ("_HTTPConnection__state", "_response_options")

    def __init__(self, conn: OpeningConnection) -> None:
        self._conn = conn
        self._exchange = conn._holdfast.exchange
        # Not by vars(): whoever was asked for his dictionary keeps it, and each use of an attribute costs more.
        self._state = {name: getattr(conn, name) for name in self._FORGOTTEN if hasattr(conn, name)}

    def restore(self) -> None:
        conn = self._conn
        sock, conn.sock = conn.sock, None
        if sock is not None:
            sock.close()
        if conn._holdfast.tunnel is not None:
            conn.set_tunnel(*conn._holdfast.tunnel)
        conn._holdfast.exchange = self._exchange
        for name, value in self._state.items():
            setattr(conn, name, value)
