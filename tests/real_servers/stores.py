"""Real servers that speak something other than HTTP, and the few bytes of it that the tests need.

Each is also its own client: ``store.ask(sock, number)`` is one small exchange in its protocol, whose
answer proves that it is the answer to this question.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
from abc import abstractmethod
from pathlib import Path

from servers import HOST, NOBODY, RealServer, eventually

from holdfast import Heartbeat
from holdfast.adapters.sockets import heartbeats

__all__ = ["STORES", "Memcached", "Postgresql", "Redis", "Store", "StoreError"]

PATIENCE = 10.0


class StoreError(Exception):
    """The server answered, and said no."""


class Store(RealServer):
    drops_root = True

    @staticmethod
    @abstractmethod
    def heartbeat(*, interval: float, timeout: float = 1.0) -> Heartbeat:
        """The ready-made one."""

    @staticmethod
    def log_in(sock: socket.socket) -> None:
        """What has to be said first."""

    @abstractmethod
    def ask(self, sock: socket.socket, number: int) -> int:
        """Gives the number back, if the answer is one to this."""

    def restart(self) -> None:
        """On the same port."""
        self.stop()
        process = self._spawn(self.command(), drop_root=self.drops_root)
        assert self._comes_up(process, self.port), self._tail()

    def connect(self) -> socket.socket:
        """Past every pool."""
        sock = socket.create_connection((HOST, self.port), PATIENCE)
        try:
            self.log_in(sock)
        except BaseException:
            sock.close()
            raise
        return sock

    def wait_for_hang_up(self) -> None:
        """Until it has hung up on a connection that lies idle from now on."""
        with self.connect() as sock:
            assert self.ask(sock, 0) == 0
            while sock.recv(4096):
                pass

    def _comes_up(self, process: subprocess.Popen[bytes], port: int) -> bool:
        return eventually(lambda: process.poll() is None and self._answers())

    def _answers(self) -> bool:
        try:
            with self.connect() as sock:
                return self.ask(sock, 1) == 1
        except (OSError, StoreError):
            return False


class Redis(Store):
    name = "redis"
    program = "redis-server"

    def command(self) -> list[str]:
        return [
            *("redis-server", "--bind", HOST, "--port", str(self.port), "--timeout", str(self.settings.idle)),
            *("--save", "", "--appendonly", "no", "--protected-mode", "no", "--dir", str(self.directory)),
        ]

    @staticmethod
    def heartbeat(*, interval: float, timeout: float = 1.0) -> Heartbeat:
        return heartbeats.redis(interval=interval, timeout=timeout)

    @classmethod
    def say(cls, sock: socket.socket, *words: str) -> str:
        """One command; its answer must be of one line."""
        sock.sendall((" ".join(words) + "\r\n").encode())
        answer = _line(sock)
        if answer.startswith("-"):
            raise StoreError(answer)
        return answer[1:]

    def ask(self, sock: socket.socket, number: int) -> int:
        assert self.say(sock, "SET", f"key-{number}", str(number)) == "OK"
        length = int(self.say(sock, "GET", f"key-{number}"))
        value = _line(sock)
        assert length == len(value)
        return int(value)


class Memcached(Store):
    name = "memcached"
    program = "memcached"

    def command(self) -> list[str]:
        return [
            *("memcached", "-l", HOST, "-p", str(self.port), "-U", "0", "-m", "16", "-t", "1"),
            *("-o", f"idle_timeout={self.settings.idle}"),
        ]

    @staticmethod
    def heartbeat(*, interval: float, timeout: float = 1.0) -> Heartbeat:
        return heartbeats.memcached(interval=interval, timeout=timeout)

    def ask(self, sock: socket.socket, number: int) -> int:
        key, value = f"key-{number}", str(number)
        sock.sendall(f"set {key} 0 0 {len(value)}\r\n{value}\r\n".encode())
        stored = _line(sock)
        if stored != "STORED":
            raise StoreError(stored)
        sock.sendall(f"get {key}\r\n".encode())
        assert _line(sock) == f"VALUE {key} 0 {len(value)}"
        value = _line(sock)
        assert _line(sock) == "END"
        return int(value)


class Postgresql(Store):
    """Says goodbye before it hangs up, which is what makes it special."""

    name = "postgresql"
    program = "postgres"
    most_clients = 30

    @classmethod
    def missing(cls) -> str | None:
        return None if _postgresql_program("postgres") else "postgresql"

    def command(self) -> list[str]:
        data = self.directory / "data"
        if not data.exists():
            initdb = _postgresql_program("initdb")
            self._run([initdb, "-D", str(data), "-U", "postgres", "-A", "trust", "-N", "--locale=C"])
        settings = {
            "port": self.port,
            "listen_addresses": HOST,
            "unix_socket_directories": self.directory,
            "fsync": "off",
            "shared_buffers": "16MB",
            "max_connections": self.most_clients,
            "superuser_reserved_connections": 0,
            "idle_session_timeout": f"{self.settings.idle}s",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [_postgresql_program("postgres"), "-D", str(data), *options]

    @staticmethod
    def heartbeat(*, interval: float, timeout: float = 1.0) -> Heartbeat:
        return heartbeats.postgresql(interval=interval, timeout=timeout)

    @staticmethod
    def log_in(sock: socket.socket) -> None:
        """Trust authentication, as postgres."""
        startup = b"\x00\x03\x00\x00user\x00postgres\x00\x00"
        sock.sendall((len(startup) + 4).to_bytes(4, "big") + startup)
        _messages_until_ready(sock)

    @classmethod
    def query(cls, sock: socket.socket, sql: str) -> str:
        """The first column of the first row."""
        text = sql.encode() + b"\x00"
        sock.sendall(b"Q" + (len(text) + 4).to_bytes(4, "big") + text)
        messages = _messages_until_ready(sock)
        row = next((content for kind, content in messages if kind == b"D"), b"")
        return row[6 : 6 + int.from_bytes(row[2:6], "big")].decode()

    def ask(self, sock: socket.socket, number: int) -> int:
        return int(self.query(sock, f"SELECT {number}"))

    def _run(self, command: list[str]) -> None:
        # It refuses to be root.
        nobody = pwd.getpwnam(NOBODY) if os.geteuid() == 0 else None
        if nobody is not None:
            os.chown(self.directory, nobody.pw_uid, -1)
        subprocess.run(
            command,
            cwd=self.directory,
            check=True,
            capture_output=True,
            user=None if nobody is None else nobody.pw_uid,
            group=None if nobody is None else nobody.pw_gid,
            extra_groups=None if nobody is None else [],
        )

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        # TERM would wait until all clients have left.
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
        super()._end(process)


STORES: list[type[Store]] = [Redis, Memcached, Postgresql]


def _messages_until_ready(sock: socket.socket) -> list[tuple[bytes, bytes]]:
    messages: list[tuple[bytes, bytes]] = []
    error = None
    while True:
        kind = _exactly(sock, 1)
        content = _exactly(sock, int.from_bytes(_exactly(sock, 4), "big") - 4)
        messages.append((kind, content))
        if kind == b"E":
            fields = {part[:1]: part[1:].decode() for part in content.split(b"\x00") if part}
            error = StoreError(f"{fields[b'V']} {fields[b'C']}: {fields[b'M']}")
            if fields[b"V"] in ("FATAL", "PANIC"):
                raise error
        if kind == b"Z":
            if error is not None:
                raise error
            return messages


def _line(sock: socket.socket) -> str:
    line = b""
    while not line.endswith(b"\r\n"):
        line += _exactly(sock, 1)
    return line[:-2].decode()


def _exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = sock.recv(count - len(data))
        if not piece:
            raise ConnectionResetError(f"the server hung up after {len(data)} of {count} bytes")
        data += piece
    return data


def _postgresql_program(name: str) -> str:
    """Debian keeps them off the PATH, by version."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else shutil.which(name) or ""
